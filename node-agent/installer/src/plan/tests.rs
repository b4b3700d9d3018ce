#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use super::*;
use crate::file::{Age, Content};
use crate::testing::{entry, file, other_entry};
use crate::undo::uninstall;

const DIRECTORY: &str = "/etc/cni/net.d";
const CALICO: &str = include_str!("../../tests/lists/10-calico.conflist");
const BRIDGE: &str = "{ \"type\": \"bridge\",\n\t\"name\": \"b\", \"cniVersion\": \"0.4.0\" }\n";
const FLANNEL: &str = r#"{"name":"cbr0","cniVersion":"1.0.0","plugins":[{"type":"flannel"}]}"#;
const JUNK: &str = "junk";

fn wanted(mode: CniMode, entry: &Entry) -> Wanted<'_> {
    Wanted {
        mode,
        directory: Path::new(DIRECTORY),
        own: if mode == CniMode::Standalone {
            "zzz-ambient-cni.conf"
        } else {
            "02-ambient.conflist"
        },
        primary: None,
        entry,
    }
}

/// A directory and the record beside it, as they would be on disk.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    files: Vec<File>,
    record: Record,
}

impl Node {
    fn with(files: &[(&str, &str)]) -> Self {
        let mut files: Vec<File> = files.iter().map(|(n, t)| file(n, t)).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            files,
            record: Record::default(),
        }
    }

    fn plan(&self, wanted: &Wanted<'_>) -> Plan {
        plan(wanted, &self.files, &self.record)
    }

    fn act(&mut self, act: &Act) {
        let (name, was) = match act {
            Act::Put {
                name, instead_of, ..
            } => (name, instead_of.clone()),
            Act::Drop { name, was, .. } => (name, Some(was.clone())),
        };
        let there = find(&self.files, name).and_then(File::text);
        assert_eq!(there, was.as_deref(), "{name}");
        self.files.retain(|file| file.name != *name);
        if let Act::Put {
            name, text, looks, ..
        } = act
        {
            self.files.push(File {
                looks: *looks,
                ..file(name, text)
            });
            self.files.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    /// Carries out the first `steps` of a plan, the writing of records being two of them.
    fn carry_out(&mut self, plan: &Plan, steps: usize) {
        if steps > 0 {
            self.record.files.clone_from(&plan.first);
        }
        for act in plan.acts.iter().take(steps.saturating_sub(1)) {
            self.act(act);
        }
        if steps > plan.acts.len() + 1 {
            self.record.files.clone_from(&plan.last);
        }
    }

    fn install(&mut self, wanted: &Wanted<'_>) -> Option<Refusal> {
        let plan = self.plan(wanted);
        self.carry_out(&plan, usize::MAX);
        plan.refusal
    }

    fn uninstall(&mut self, steps: usize) {
        let own = ["02-ambient.conflist", "zzz-ambient-cni.conf"];
        let acts = uninstall(Path::new(DIRECTORY), &own, &self.files, &self.record);
        for act in acts.iter().take(steps) {
            self.act(act);
        }
        if steps > acts.len() {
            self.record = Record::default();
        }
    }

    /// What a runtime runs for each pod: the plugins of the first file, in order.
    fn runs(&self) -> Vec<String> {
        let mut good = self.files.iter().filter_map(|file| {
            Document::read(&file.name, file.text()?).ok()?;
            serde_json::from_str::<serde_json::Value>(file.text()?).ok()
        });
        let Some(first) = good.next() else {
            return Vec::new();
        };
        let kind = |part: &serde_json::Value| part["type"].as_str().unwrap_or("").to_owned();
        match first["plugins"].as_array() {
            Some(parts) => parts.iter().map(kind).collect(),
            None => vec![kind(&first)],
        }
    }

    fn texts(&self) -> Vec<(String, String)> {
        self.files
            .iter()
            .map(|file| (file.name.clone(), file.text().unwrap().to_owned()))
            .collect()
    }
}

/// Directories with somebody to join, and what a runtime runs there with us.
fn shapes() -> Vec<(Node, &'static [&'static str])> {
    let calico: &[&str] = &["calico", "bandwidth", "portmap", "ambient-cni"];
    let bridge: &[&str] = &["bridge", "ambient-cni"];
    let flannel: &[&str] = &["flannel", "ambient-cni"];
    let list = ("10-calico.conflist", CALICO);
    let single = ("20-bridge.conf", BRIDGE);
    vec![
        (Node::with(&[list]), calico),
        (Node::with(&[single]), bridge),
        (Node::with(&[("20-bridge.json", BRIDGE)]), bridge),
        (Node::with(&[list, single]), calico),
        (Node::with(&[("05-b.conf", BRIDGE), list]), bridge),
        (Node::with(&[("03-junk.conf", JUNK), single, list]), calico),
        (Node::with(&[("03-junk.conf", JUNK), single]), bridge),
        (
            Node::with(&[("03-no-type.conf", "{\"name\":\"n\"}"), list]),
            calico,
        ),
        (
            Node::with(&[
                ("03-no-name.conflist", r#"{"plugins":[{"type":"a"}]}"#),
                ("04-odd.conflist", r#"{"name":"n","plugin":[]}"#),
                single,
            ]),
            bridge,
        ),
        (
            Node::with(&[("10-f.conflist", FLANNEL), ("README", "x")]),
            flannel,
        ),
    ]
}

const MODES: [CniMode; 2] = [CniMode::Chained, CniMode::Owned];

#[test]
fn every_shape_is_joined_once_and_given_back_to_the_byte() {
    let entry = entry();
    for (before, runs) in shapes() {
        for mode in MODES {
            let mut node = before.clone();
            assert_eq!(node.install(&wanted(mode, &entry)), None);
            assert_eq!(node.runs(), runs, "{mode:?} {before:?}");
            let again = node.plan(&wanted(mode, &entry));
            assert_eq!(again.acts, [], "{mode:?} {before:?}");
            assert_eq!(again.first, node.record.files);
            node.uninstall(usize::MAX);
            assert_eq!(node, before, "{mode:?}");
        }
    }
}

#[test]
fn stopped_anywhere_it_goes_on_and_nothing_is_lost() {
    let entry = entry();
    for (before, runs) in shapes() {
        for mode in MODES {
            let wanted = wanted(mode, &entry);
            let plan = before.plan(&wanted);
            for steps in 0..=plan.acts.len() + 2 {
                let mut half = before.clone();
                half.carry_out(&plan, steps);
                assert!(!half.runs().is_empty(), "{steps} {before:?}");
                let mut on = half.clone();
                assert_eq!(on.install(&wanted), None);
                assert_eq!(on.runs(), runs, "{steps} {before:?}");
                on.uninstall(usize::MAX);
                assert_eq!(on, before, "{steps}");
                half.uninstall(usize::MAX);
                assert_eq!(half, before, "{steps}");
            }
        }
    }
}

#[test]
fn an_uninstall_stopped_anywhere_goes_on() {
    let entry = entry();
    for (before, _) in shapes() {
        for mode in [CniMode::Chained, CniMode::Owned, CniMode::Standalone] {
            for steps in 0..4 {
                let mut node = before.clone();
                node.install(&wanted(mode, &entry));
                node.uninstall(steps);
                assert!(!node.runs().is_empty());
                node.uninstall(usize::MAX);
                assert_eq!(node, before, "{mode:?} {steps}");
            }
        }
    }
}

#[test]
fn the_primary_plugin_may_rewrite_its_file_at_any_time() {
    let entry = entry();
    for mode in MODES {
        let mut node = Node::with(&[("10-calico.conflist", CALICO)]);
        node.install(&wanted(mode, &entry));
        for text in [
            CALICO.replace("\"mtu\": 0", "\"mtu\": 1400"),
            FLANNEL.to_owned(),
        ] {
            node.files.retain(|file| file.name != "10-calico.conflist");
            node.files.push(file("10-calico.conflist", &text));
            assert_eq!(node.install(&wanted(mode, &entry)), None);
            let first = node.files[0].text().unwrap();
            let bare = List::read(first).unwrap().without();
            assert_eq!(bare, text, "{mode:?}: what is ours follows");
            let mut gone = node.clone();
            gone.uninstall(usize::MAX);
            let expected = [("10-calico.conflist".to_owned(), text)];
            assert_eq!(gone.texts(), expected, "{mode:?}");
        }
    }
}

#[test]
fn what_was_rewritten_behind_our_back_only_loses_our_entry() {
    let entry = entry();
    let mut node = Node::with(&[("10-calico.conflist", CALICO)]);
    node.install(&wanted(CniMode::Chained, &entry));
    let text = node.files[0]
        .text()
        .unwrap()
        .replace("\"mtu\": 0", "\"mtu\": 9000");
    node.files = vec![file("10-calico.conflist", &text)];
    node.uninstall(usize::MAX);
    let expected = CALICO.replace("\"mtu\": 0", "\"mtu\": 9000");
    assert_eq!(node.files[0].text(), Some(&*expected));
    // Rewritten without us, it is not touched at all.
    let mut node = Node::with(&[("20-b.conf", BRIDGE)]);
    node.install(&wanted(CniMode::Chained, &entry));
    let anew = BRIDGE.replace("bridge", "macvlan");
    node.files.insert(0, file("20-b.conf", &anew));
    node.uninstall(usize::MAX);
    assert_eq!(node.texts(), [("20-b.conf".to_owned(), anew)]);
}

#[test]
fn a_single_configuration_that_comes_back_is_wrapped_again() {
    let entry = entry();
    for (name, at) in [("20-b.conf", 0), ("20-b.json", 1)] {
        let mut node = Node::with(&[(name, BRIDGE)]);
        node.install(&wanted(CniMode::Chained, &entry));
        assert_eq!(node.files[0].name, "20-b.conflist");
        let anew = BRIDGE.replace("bridge", "macvlan");
        node.files.insert(at, file(name, &anew));
        assert_eq!(node.install(&wanted(CniMode::Chained, &entry)), None);
        assert_eq!(node.runs(), ["macvlan", "ambient-cni"]);
        assert_eq!(node.files.len(), 1);
        // New settings do not make it forget what the list was.
        node.install(&wanted(CniMode::Chained, &other_entry()));
        node.uninstall(usize::MAX);
        assert_eq!(node.texts(), [(name.to_owned(), anew)]);
    }
}

#[test]
fn other_settings_change_our_entry_and_nothing_else() {
    let (before, after) = (entry(), other_entry());
    for mode in [CniMode::Chained, CniMode::Owned, CniMode::Standalone] {
        let mut node = Node::with(&[("10-calico.conflist", CALICO)]);
        node.install(&wanted(mode, &before));
        assert_eq!(node.install(&wanted(mode, &after)), None);
        let ours = node
            .files
            .iter()
            .find(|f| f.text().unwrap().contains("ambient-cni"));
        assert!(ours.unwrap().text().unwrap().contains("/elsewhere.sock"));
        node.uninstall(usize::MAX);
        assert_eq!(node, Node::with(&[("10-calico.conflist", CALICO)]));
    }
}

#[test]
fn a_change_of_mode_is_never_without_us_and_leaves_nothing() {
    let entry = entry();
    for (before, runs) in shapes() {
        for (from, to) in [(MODES[0], MODES[1]), (MODES[1], MODES[0])] {
            let mut node = before.clone();
            node.install(&wanted(from, &entry));
            let change = node.plan(&wanted(to, &entry));
            for steps in 0..=change.acts.len() + 2 {
                let mut half = node.clone();
                half.carry_out(&change, steps);
                assert_eq!(half.runs(), runs, "{from:?} to {to:?}, {steps}: {before:?}");
                half.install(&wanted(to, &entry));
                let mut fresh = before.clone();
                fresh.install(&wanted(to, &entry));
                assert_eq!(half, fresh, "{from:?} to {to:?}, {steps}");
            }
        }
    }
}

#[test]
fn without_its_record_an_uninstall_takes_out_what_it_knows() {
    let entry = entry();
    for mode in [CniMode::Chained, CniMode::Owned, CniMode::Standalone] {
        let before = Node::with(&[("10-calico.conflist", CALICO)]);
        let mut node = before.clone();
        node.install(&wanted(mode, &entry));
        node.record = Record::default();
        node.uninstall(usize::MAX);
        assert_eq!(node.texts(), before.texts(), "{mode:?}");
    }
}

#[test]
fn an_entry_that_is_there_without_a_record_is_taken_for_ours() {
    let entry = entry();
    let mut node = Node::with(&[("10-calico.conflist", CALICO)]);
    node.install(&wanted(CniMode::Chained, &entry));
    node.record = Record::default();
    assert_eq!(node.plan(&wanted(CniMode::Chained, &entry)).acts, []);
    node.install(&wanted(CniMode::Chained, &entry));
    node.uninstall(usize::MAX);
    assert_eq!(node, Node::with(&[("10-calico.conflist", CALICO)]));
}

#[test]
fn a_new_first_file_is_joined_and_the_old_one_stays_joined() {
    let entry = entry();
    let before = [("10-calico.conflist", CALICO), ("05-f.conflist", FLANNEL)];
    let mut node = Node::with(&before[..1]);
    node.install(&wanted(CniMode::Chained, &entry));
    node.files.insert(0, file("05-f.conflist", FLANNEL));
    node.install(&wanted(CniMode::Chained, &entry));
    assert_eq!(node.runs(), ["flannel", "ambient-cni"]);
    node.files.remove(0);
    assert_eq!(node.runs().last().unwrap(), "ambient-cni");
    node.files.insert(0, file("05-f.conflist", FLANNEL));
    node.install(&wanted(CniMode::Chained, &entry));
    node.uninstall(usize::MAX);
    assert_eq!(node, Node::with(&before));
}

#[test]
fn owned_keeps_pods_back_while_the_primary_plugin_is_away() {
    let entry = entry();
    let mut node = Node::with(&[("10-calico.conflist", CALICO)]);
    node.install(&wanted(CniMode::Owned, &entry));
    node.files.retain(|file| file.name != "10-calico.conflist");
    let refusal = node.install(&wanted(CniMode::Owned, &other_entry()));
    assert!(matches!(refusal, Some(Refusal::NoPrimary { .. })));
    assert_eq!(
        node.runs(),
        ["calico", "bandwidth", "portmap", "ambient-cni"]
    );
    assert!(node.files[0].text().unwrap().contains("/elsewhere.sock"));
}

#[test]
fn a_named_file_is_joined_whatever_sorts_before_it() {
    let entry = entry();
    let all = [("05-f.conflist", FLANNEL), ("20-b.conf", BRIDGE)];
    for (name, at) in [("20-b.conf", 1), ("20-b.conflist", 1), ("05-f.json", 0)] {
        let mut node = Node::with(&all);
        let mut wanted = wanted(CniMode::Chained, &entry);
        wanted.primary = Some(name);
        assert_eq!(node.install(&wanted), None, "{name}");
        assert!(
            node.files[at].text().unwrap().contains("ambient-cni"),
            "{name}"
        );
        assert!(!node.files[1 - at].text().unwrap().contains("ambient-cni"));
        assert_eq!(node.plan(&wanted).acts, [], "{name}");
        node.uninstall(usize::MAX);
        assert_eq!(node, Node::with(&all));
    }
}

#[test]
fn what_is_not_understood_is_left_alone_with_a_reason() {
    let entry = entry();
    let old = FLANNEL.replace("1.0.0", "0.2.0");
    let newer = FLANNEL.replace("1.0.0", "1.9.0");
    let twice = r#"{"name":"n","plugins":[{"type":"a"}],"plugins":[{"type":"b"}]}"#;
    let list = "10-f.conflist";
    let cases: Vec<(Node, CniMode, &str)> = vec![
        (Node::with(&[]), CniMode::Chained, "waiting for the primary"),
        (Node::with(&[]), CniMode::Owned, "waiting for the primary"),
        (
            Node::with(&[("a.conf", JUNK)]),
            CniMode::Chained,
            "passed over: a.conf: it is no conf",
        ),
        (
            Node::with(&[(list, &old)]),
            CniMode::Chained,
            "cniVersion is 0.2.0",
        ),
        (
            Node::with(&[(list, &newer)]),
            CniMode::Owned,
            "cniVersion is 1.9.0",
        ),
        (
            Node::with(&[(list, twice), ("20-b.conf", BRIDGE)]),
            CniMode::Chained,
            "more than one way",
        ),
        (
            Node::with(&[("01-f.conflist", FLANNEL)]),
            CniMode::Owned,
            "would not be used",
        ),
        (
            Node::with(&[("02-ambient.conflist", FLANNEL), ("10-f.conflist", FLANNEL)]),
            CniMode::Owned,
            "somebody else's",
        ),
        (
            Node::with(&[("10-f.conf", BRIDGE), (list, FLANNEL)]),
            CniMode::Chained,
            "a list made of it would be 10-f.conflist",
        ),
    ];
    for (before, mode, expected) in cases {
        let mut node = before.clone();
        let refusal = node.install(&wanted(mode, &entry)).unwrap().to_string();
        assert!(refusal.contains(expected), "{refusal}");
        assert_eq!(node, before);
        node.uninstall(usize::MAX);
        assert_eq!(node, before);
    }
}

#[test]
fn what_cannot_be_read_or_is_being_written_is_not_passed_over() {
    let entry = entry();
    let bridge = ("20-b.conf", BRIDGE);
    let with = |change: &dyn Fn(&mut File)| {
        let mut node = Node::with(&[("10-f.conflist", "{"), bridge]);
        change(&mut node.files[0]);
        node.install(&wanted(CniMode::Chained, &entry))
    };
    assert_eq!(with(&|_| {}), None);
    let unreadable = with(&|file| file.content = Content::Unreadable("not mounted".to_owned()));
    assert!(matches!(unreadable, Some(Refusal::Unreadable { .. })));
    let fresh = with(&|file| file.age = Age::Fresh);
    assert!(matches!(fresh, Some(Refusal::Unfinished { .. })));
    assert_eq!(with(&|file| file.content = Content::NotText), None);
    let mut linked = Node::with(&[bridge]);
    linked.files[0].kind = FileKind::Link;
    let refusal = linked.install(&wanted(CniMode::Chained, &entry));
    assert!(matches!(refusal, Some(Refusal::Linked { .. })));
    assert_eq!(linked.install(&wanted(CniMode::Owned, &entry)), None);
}

#[test]
fn the_record_is_read_again() {
    let entry = entry();
    let mut node = Node::with(&[("20-b.conf", BRIDGE)]);
    node.install(&wanted(CniMode::Chained, &entry));
    node.record.generation = 7;
    node.record.bin_dirs = vec![PathBuf::from("/opt/cni/bin")];
    assert_eq!(Record::decode(&node.record.encode()), Ok(node.record));
    assert!(Record::decode(b"{}").is_err());
}
