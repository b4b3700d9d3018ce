//! Pods are added while things befall the agent: each ADD succeeds, or fails leaving nothing and succeeds when it is repeated.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use e2e_netlab::Node;
use e2e_tests::continuity::{Admission, Event, REPETITIONS, Scene, Tenant};
use e2e_tests::runtime::Network;
use serde_json::json;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// Between the moments of an ADD, which takes some ten milliseconds, at which things happen.
const STEP: Duration = Duration::from_micros(1_500);
const NAME: &str = "tenant";

struct Stage {
    scene: Scene,
    networks: [Network; 2],
}

impl Stage {
    fn set() -> Self {
        let settings =
            json!({"drainDeadline": "60s", "successionDeadline": "60s", "linger": "30s"});
        let settings = serde_json::from_value(settings).unwrap();
        let scene = Scene::set(&settings, &[Tenant::spec(NAME)]).unwrap();
        let network = |place: u8| {
            let node = &scene.lab.nodes()[usize::from(place)];
            Tenant::network(&scene.lab, node, 97 + place).unwrap()
        };
        let networks = [network(0), network(1)];
        Self { scene, networks }
    }

    /// An ADD, something that happens so much after its beginning, and a DEL.
    fn add_during(&self, turn: usize, act: impl FnOnce(&Node)) -> Admission {
        let (node, network) = (&self.scene.lab.nodes()[turn % 2], &self.networks[turn % 2]);
        let tenant = Tenant::create(&self.scene.lab, node, network, NAME).unwrap();
        let admission = thread::scope(|scope| {
            let adding = scope.spawn(|| tenant.add());
            thread::sleep(STEP * u32::try_from(turn).unwrap());
            act(node);
            adding.join().unwrap().unwrap()
        });
        for status in node.wait_for_former(Duration::from_secs(10)).unwrap() {
            assert!(status.success(), "{status}");
        }
        tenant.is_in().unwrap();
        self.scene.whole().unwrap();
        tenant.delete().unwrap();
        tenant.is_out().unwrap();
        tenant.leave().unwrap();
        admission
    }

    fn judge(&self, what: &str, act: impl Fn(&Node)) {
        println!("ADD while {what}:");
        for turn in 0..REPETITIONS {
            let admission = self.add_during(turn, &act);
            let after = STEP * u32::try_from(turn).unwrap();
            let kinds: BTreeSet<&String> = admission.refused.iter().collect();
            println!(
                "  {after:?} after its beginning: in after {:.1?}, {} attempts failed {kinds:?}",
                admission.took,
                admission.refused.len()
            );
        }
    }
}

#[test]
fn add_succeeds_whatever_befalls_the_agent() {
    let stage = Stage::set();
    for (what, event) in [
        ("the worker is killed", Event::WorkerKilled),
        ("the holder is killed", Event::HolderKilled),
        (
            "both are killed, away for 1 s",
            Event::AllKilled(Duration::from_secs(1)),
        ),
        ("a successor takes over", Event::Succeeded),
        ("the agent is replaced", Event::Replaced),
    ] {
        stage.judge(what, |node| drop(event.befall(node).unwrap()));
    }
    stage.scene.lab.down().unwrap();
}
