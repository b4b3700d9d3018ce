//! What the parts of a running agent may do, and what they know.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; what was found is part of their answer"
)]

use e2e_netlab::Part;
use e2e_tests::app;
use e2e_tests::inside::{occurrences, only, shapes_of_key, status, writable_mounts};
use e2e_tests::siege::Siege;
use nix::sys::signal::Signal;

const NOTHING: &str = "0000000000000000";

#[test]
fn the_worker_serves_without_a_privilege() {
    let siege = Siege::lay().unwrap();
    app::echo(&siege.friend, siege.server.at(8080), "it serves").unwrap();
    let worker = only(&siege.agent, Part::Worker).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(worker, set).unwrap(), NOTHING, "{set}");
    }
    assert_eq!(status(worker, "NoNewPrivs").unwrap(), "1");
    assert_eq!(status(worker, "Seccomp").unwrap(), "2");
    // The holder has what the worker lacks, or the above would show nothing.
    let holder = only(&siege.agent, Part::Holder).unwrap();
    assert_ne!(status(holder, "CapEff").unwrap(), NOTHING);
    assert_eq!(status(holder, "Threads").unwrap(), "1");
    let state = siege.world.directory().join("node/state");
    assert_eq!(writable_mounts(worker).unwrap(), [state]);
    let node = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", worker.pid)).unwrap();
    let [node, score] = [node, score].map(|text| text.trim().parse::<i32>().unwrap());
    assert!(
        score > node,
        "the worker is to die first: {score}, the node {node}"
    );
}

#[test]
fn the_holder_knows_no_key() {
    let siege = Siege::lay().unwrap();
    let shapes = shapes_of_key(&siege.world.ca_key()).unwrap();
    let holder = only(&siege.agent, Part::Holder).unwrap();
    // Also after it has started another worker, in whose memory the key is.
    for round in ["first", "second"] {
        app::echo(&siege.friend, siege.server.at(8080), round).unwrap();
        let worker = only(&siege.agent, Part::Worker).unwrap();
        let counts = [holder, worker].map(|part| occurrences(part, &shapes).unwrap());
        println!("{round} worker: the key is {counts:?} times in holder and worker");
        assert_eq!(counts[0], 0);
        assert!(counts[1] > 0, "the search does not find what is there");
        worker.signal(Signal::SIGKILL).unwrap();
        worker.wait_for_end(e2e_tests::PATIENCE).unwrap();
        e2e_tests::until("calls go through again", || {
            app::echo(&siege.friend, siege.server.at(8080), "again")
        })
        .unwrap();
    }
}
