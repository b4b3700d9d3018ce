//! Each kind of node: installed, rewritten by others, repaired, given back.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::keep;

const ANEW: &str =
    r#"{"name":"k8s-pod-network","cniVersion":"1.0.0","plugins":[{"type":"calico","mtu":1400}]}"#;
const LIST: &str = "10-calico.conflist";

/// Waits until it holds, and says how long that took.
async fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// An installer at work.
struct Keeping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Keeping {
    fn start(node: &Node) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(keep(node.installer(), async move {
            let _ended = stopped.await;
        }));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// As primary plugins do it: in one step, or over the old file.
#[derive(Clone, Copy)]
enum Writing {
    Rename,
    InPlace,
}

fn rewrite(node: &Node, text: &str, how: Writing) {
    let path = node.conf().join(LIST);
    match how {
        Writing::Rename => {
            let temp = node.conf().join("primary.new");
            fs::write(&temp, text).unwrap();
            fs::rename(&temp, &path).unwrap();
        }
        Writing::InPlace => fs::write(&path, text).unwrap(),
    }
}

/// Whether a configuration names us that has this part.
fn joined(node: &Node, part: &str) -> bool {
    let contents = Node::contents(&node.conf());
    contents
        .values()
        .any(|(text, _)| text.contains(PLUGIN) && text.contains(part))
}

async fn under_fire(node: &Node) -> Duration {
    let program = node.program();
    let good = || fs::read_to_string(&program).is_ok_and(|text| text == "version one");
    until("installed", || good() && joined(node, "")).await;
    let mut worst = Duration::ZERO;
    fs::remove_file(&program).unwrap();
    worst = worst.max(until("the plugin is back", good).await);
    fs::write(&program, "half").unwrap();
    worst = worst.max(until("the plugin is whole", good).await);
    if node.mode != CniMode::Standalone {
        let versions = [
            (ANEW, "1400", Writing::Rename),
            (CALICO, "portmap", Writing::InPlace),
        ];
        for (text, part, how) in versions {
            rewrite(node, text, how);
            worst = worst.max(until("the list is followed", || joined(node, part)).await);
        }
    }
    let own = match node.mode {
        CniMode::Owned => "02-ambient.conflist",
        CniMode::Standalone => "zzz-ambient-cni.conf",
        CniMode::Chained => return worst,
    };
    fs::remove_file(node.conf().join(own)).unwrap();
    worst.max(until("our file is back", || joined(node, "")).await)
}

/// The whole life of a node's installation; the longest repair.
async fn life(facts: &CniFacts, mode: CniMode) -> Duration {
    let node = Node::new(*facts, mode, &[(LIST, CALICO)]);
    let mut before = node.all();
    let keeping = Keeping::start(&node);
    let worst = under_fire(&node).await;
    keeping.stop().await;
    node.check_whole();
    node.uninstall();
    let after = node.all();
    // The primary plugin wrote its file anew, with its own permissions.
    let anew = after[0][LIST].1;
    before[0].get_mut(LIST).unwrap().1 = anew;
    assert_eq!(after, before, "{facts:?} {mode:?}");
    worst
}

async fn all_profiles(mode: impl Fn(&CniFacts) -> CniMode) {
    for facts in CniProfile::all() {
        let worst = life(facts, mode(facts)).await;
        assert!(worst < SOON, "{facts:?}: {worst:?}");
    }
}

#[tokio::test]
async fn every_profile_as_it_is() {
    all_profiles(|facts| facts.mode).await;
}

#[tokio::test]
async fn every_profile_chained() {
    all_profiles(|_| CniMode::Chained).await;
}

#[tokio::test]
async fn every_profile_standalone() {
    all_profiles(|_| CniMode::Standalone).await;
}

#[tokio::test]
async fn a_primary_plugin_that_comes_late_is_waited_for() {
    let node = Node::usual(CniMode::Owned, &[]);
    fs::remove_dir_all(node.below("etc")).unwrap();
    let keeping = Keeping::start(&node);
    fs::create_dir_all(node.conf()).unwrap();
    until("the plugin is there first", || node.program().exists()).await;
    assert!(!joined(&node, ""));
    rewrite(&node, CALICO, Writing::InPlace);
    let took = until("joined", || joined(&node, "portmap")).await;
    assert!(took < SOON, "{took:?}");
    keeping.stop().await;
}

#[tokio::test]
async fn somebody_who_undoes_everything_is_repaired_and_keeps_nobody_busy() {
    let node = Node::usual(CniMode::Chained, &[(LIST, CALICO)]);
    let keeping = Keeping::start(&node);
    until("joined", || joined(&node, "")).await;
    let (began, mut rounds, mut worst) = (Instant::now(), 0, Duration::ZERO);
    while began.elapsed() < Duration::from_secs(5) {
        rewrite(&node, CALICO, Writing::Rename);
        worst = worst.max(until("repaired", || joined(&node, "")).await);
        rounds += 1;
    }
    assert!(worst < SOON, "{worst:?}");
    assert!(rounds < 20, "{rounds} repairs in 5 s");
    keeping.stop().await;
}

/// What operators are promised.
const SOON: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
