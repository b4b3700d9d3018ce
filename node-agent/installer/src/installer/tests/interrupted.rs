//! Stopped at every step, as by a kill: nothing clears up, and the next run must converge.

use std::sync::Arc;

use super::*;
use crate::step::Step;

/// Directories with which the runs begin.
fn shapes() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("10-calico.conflist", CALICO)],
        vec![
            ("20-bridge.conf", BRIDGE),
            ("99-loopback.conf", "{\"type\":\"loopback\"}"),
        ],
        vec![("03-junk.conf", "junk"), ("20-bridge.json", BRIDGE)],
    ]
}

const MODES: [CniMode; 3] = [CniMode::Chained, CniMode::Owned, CniMode::Standalone];

/// Takes the first `count` steps, and half of the next one if it can be halved.
fn take_until(steps: &[Step], count: usize) {
    for step in steps.iter().take(count) {
        step.take().unwrap();
    }
    if let Some(Step::Fill(temp, bytes)) = steps.get(count) {
        let half: Arc<[u8]> = bytes[..bytes.len() / 2].into();
        Step::Fill(temp.clone(), half).take().unwrap();
    }
}

fn check_clean(node: &Node) {
    let mut all = node.all();
    all.push(Node::contents(&node.below("state")));
    let names: Vec<_> = all.iter().flat_map(BTreeMap::keys).collect();
    assert!(names.iter().all(|name| !name.contains("tmp")), "{names:?}");
}

/// Runs with every number of steps up to the one that it returns.
fn each_step(mut run: impl FnMut(usize) -> usize) {
    let mut count = 0;
    while count <= run(count) {
        count += 1;
    }
    assert!(count > 10, "only {count} steps");
}

#[test]
fn an_installation() {
    for files in shapes() {
        for mode in MODES {
            let good = Node::usual(mode, &files);
            let before = good.all();
            good.install().unwrap();
            each_step(|count| {
                let node = Node::usual(mode, &files);
                let steps = node.installer().prepare().unwrap().steps;
                take_until(&steps, count);
                node.check_whole();
                node.install().unwrap();
                assert_eq!(node.all(), good.all(), "{mode:?} {count} {files:?}");
                check_clean(&node);
                node.uninstall();
                assert_eq!(node.all(), before, "{mode:?} {count} {files:?}");
                steps.len()
            });
        }
    }
}

#[test]
fn an_installation_that_is_taken_back_half_way() {
    for files in shapes() {
        for mode in MODES {
            each_step(|count| {
                let node = Node::usual(mode, &files);
                let before = node.all();
                let steps = node.installer().prepare().unwrap().steps;
                take_until(&steps, count);
                node.uninstall();
                assert_eq!(node.all(), before, "{mode:?} {count} {files:?}");
                assert!(!node.below("state").exists());
                steps.len()
            });
        }
    }
}

#[test]
fn an_upgrade_with_another_mode() {
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
        let (from, to) = (MODES[from], MODES[to]);
        for files in shapes() {
            let good = Node::usual(to, &files);
            let before = good.all();
            good.image("version two");
            good.install().unwrap();
            each_step(|count| {
                let mut node = Node::usual(from, &files);
                node.install().unwrap();
                node.mode = to;
                node.image("version two");
                let steps = node.installer().prepare().unwrap().steps;
                take_until(&steps, count);
                node.check_whole();
                let alone = [from, to].contains(&CniMode::Standalone);
                assert!(alone || node.first().contains(PLUGIN), "{count}");
                node.install().unwrap();
                assert_eq!(node.all(), good.all(), "{from:?} {to:?} {count} {files:?}");
                check_clean(&node);
                node.uninstall();
                assert_eq!(node.all(), before, "{from:?} {to:?} {count} {files:?}");
                steps.len()
            });
        }
    }
}

#[test]
fn an_uninstallation() {
    for files in shapes() {
        for mode in MODES {
            each_step(|count| {
                let node = Node::usual(mode, &files);
                let before = node.all();
                node.install().unwrap();
                let settings = node.settings();
                let lock = FlockArg::LockExclusiveNonblock;
                let store = Store::open(&settings.cni_state_dir, lock).unwrap();
                let steps = uninstall::prepare(&settings, &store).unwrap();
                drop(store);
                take_until(&steps, count);
                node.check_whole();
                node.uninstall();
                assert_eq!(node.all(), before, "{mode:?} {count} {files:?}");
                assert!(!node.below("state").exists());
                steps.len()
            });
        }
    }
}

#[test]
fn a_write_that_comes_between_decision_and_act_is_not_lost() {
    let node = Node::usual(CniMode::Chained, &[("10-calico.conflist", CALICO)]);
    let mut installer = node.installer();
    let steps = installer.prepare().unwrap().steps;
    let anew = CALICO.replace("\"mtu\": 0", "\"mtu\": 1400");
    node.write("10-calico.conflist", &anew);
    let error = step::take(&steps).unwrap_err();
    assert!(matches!(error, InstallError::Changed { .. }), "{error}");
    check_clean(&node);
    installer.pass().unwrap();
    assert!(node.first().contains("1400") && node.first().contains(PLUGIN));
    drop(installer);
    node.uninstall();
    let after = Node::contents(&node.conf());
    assert_eq!(after["10-calico.conflist"].0, anew);
}
