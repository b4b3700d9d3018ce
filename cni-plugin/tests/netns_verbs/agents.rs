//! The plugin against agents that are absent, hung, crashed, older, newer or something else
//! altogether, at every step: ADD fails with its own reason in its time and leaves nothing behind,
//! DEL and GC succeed, STATUS says "not available" unless the agent is a pod that has to start first.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use cni_plugin_handoff::{CertificateState, Failure, Reply, Report, Request, Side, Upgrade};
use node_agent_redirect::PLAN_VERSION;
use serde_json::json;

use crate::script::{Conversation, ScriptedAgent, fill_queue, install, plan, serve};
use crate::support::{Call, PREV_RESULT, PodNetns, Ran, config_with};

/// The deadline of the calls here.
const DEADLINE_MS: u64 = 1500;

fn call(verb: &str, pod: &PodNetns, socket: &Path) -> Ran {
    call_with(verb, pod, socket, "mesh")
}

/// The same if the agent's own pod is in this namespace, or no pod at all.
fn call_with(verb: &str, pod: &PodNetns, socket: &Path, agent: &str) -> Ran {
    let members = json!({"deadline_ms": DEADLINE_MS, "agent_namespace": agent});
    Call::new(verb, &pod.path, &config_with("1.1.0", socket, &members)).run()
}

/// All verbs against an agent that fails before it has answered anything.
fn fails_everywhere(socket: &Path, code: u64, says: &str) {
    let pod = PodNetns::new();
    for verb in ["ADD", "CHECK", "STATUS", "DEL", "GC"] {
        let ran = call(verb, &pod, socket);
        let case = format!("{verb} with {says}: {ran:?}");
        match verb {
            "DEL" | "GC" => drop(ran.succeeds_silently()),
            "STATUS" => {
                ran.succeeds_silently();
                let ran = call_with(verb, &pod, socket, "");
                assert_eq!(ran.code(), Some(50), "{case}");
                assert!(ran.told().contains(says), "{case}");
            }
            _ => {
                assert_eq!(ran.code(), Some(code), "{case}");
                assert!(ran.told().contains(says), "{case}");
            }
        }
        assert!(
            ran.took < Duration::from_millis(DEADLINE_MS + 500),
            "{case}"
        );
        assert!(pod.residue().is_empty(), "{case}");
    }
}

#[test]
fn an_absent_agent() {
    fails_everywhere(
        Path::new("/nonexistent/agent.sock"),
        11,
        "there is no socket",
    );
}

#[test]
fn a_stopped_agent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    drop(UnixListener::bind(&socket).unwrap());
    fails_everywhere(&socket, 11, "nobody listens");
}

#[test]
fn an_agent_that_accepts_nothing_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let _full = fill_queue(&socket);
    fails_everywhere(&socket, 11, "did not accept the connection");
}

#[test]
fn a_silent_agent() {
    let agent = ScriptedAgent::new(Conversation::hang);
    fails_everywhere(&agent.socket(), 11, "hangs: it did not answer");
}

#[test]
fn an_agent_that_sends_a_byte_now_and_then() {
    let agent = ScriptedAgent::new(|conversation| {
        drop(conversation.request());
        for byte in *b"AMBT\0\x01\0\0\0\0\xff" {
            conversation.raw(&[byte]);
            std::thread::sleep(Duration::from_millis(150));
        }
        conversation.hang();
    });
    fails_everywhere(&agent.socket(), 11, "hangs: it did not answer");
}

#[test]
fn an_agent_that_crashes_before_it_answers() {
    let agent = ScriptedAgent::new(|conversation| drop(conversation.request()));
    fails_everywhere(&agent.socket(), 11, "it closed the connection");
}

#[test]
fn an_agent_that_crashes_inside_its_answer() {
    let agent = ScriptedAgent::new(|conversation| {
        drop(conversation.request());
        conversation.raw(b"AMBT\0\x01\0\0\0\0\0\x40{\"inst");
    });
    fails_everywhere(&agent.socket(), 11, "breaks off half-way");
}

#[test]
fn rubbish_in_place_of_an_agent() {
    for rubbish in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"AMBT\0\x01\0\x07\0\0\0\0",
        b"AMBT\0\x01\0\0\xff\xff\xff\xff",
        b"AMBT\0\x01\0\0\0\0\0\x02{}",
        b"AMBT\0\x01\0\0\0\0\0\x04null",
    ] {
        let agent = ScriptedAgent::new(move |conversation| {
            drop(conversation.request());
            conversation.raw(rubbish);
            conversation.hang();
        });
        fails_everywhere(&agent.socket(), 102, "is not the node agent");
    }
}

#[test]
fn an_answer_to_another_question() {
    let agent = ScriptedAgent::new(|conversation| {
        drop(conversation.request());
        conversation.say(&Reply::Admitted {
            certificate: CertificateState::Ready,
        });
    });
    fails_everywhere(&agent.socket(), 102, "which is no answer to");
}

#[test]
fn an_older_and_a_newer_agent() {
    for (which, min, max, says) in [
        (Side::Agent, 0, 0, "upgrade the node agent"),
        (Side::Plugin, 7, 9, "upgrade the CNI plugin"),
    ] {
        let agent = ScriptedAgent::new(move |conversation| {
            drop(conversation.frame());
            conversation.say_in(max, &Reply::Upgrade(Upgrade { which, min, max }));
        });
        fails_everywhere(&agent.socket(), 103, says);
    }
}

#[test]
fn an_agent_that_answers_in_a_version_of_its_own() {
    let agent = ScriptedAgent::new(|conversation| {
        drop(conversation.frame());
        conversation.say_in(7, &Reply::Ready);
    });
    fails_everywhere(&agent.socket(), 103, "upgrade the CNI plugin");
}

#[test]
fn an_agent_that_refuses() {
    for (code, retry, answered) in [
        (11, true, 11),
        (100, false, 100),
        (0, true, 11),
        (64, false, 100),
    ] {
        let agent = ScriptedAgent::new(move |conversation| {
            drop(conversation.request());
            conversation.say(&Reply::Failed(Failure {
                code,
                message: "the disk is full".to_owned(),
                details: "make room".to_owned(),
                retry,
            }));
        });
        fails_everywhere(&agent.socket(), answered, "the disk is full");
    }
}

#[test]
fn an_agent_that_is_not_ready() {
    let agent = ScriptedAgent::new(|conversation| {
        drop(conversation.request());
        conversation.say(&Reply::NotReady {
            reason: "no CA yet".to_owned(),
        });
    });
    let ran = call("STATUS", &PodNetns::new(), &agent.socket());
    assert_eq!(ran.code(), Some(50), "{ran:?}");
    assert!(ran.told().contains("no CA yet"), "{ran:?}");
}

#[test]
fn a_pod_in_the_mesh_from_add_to_del() {
    let (agent, pod) = (ScriptedAgent::new(serve), PodNetns::new());
    for _ in 0..2 {
        let ran = call("ADD", &pod, &agent.socket());
        assert_eq!(
            (ran.exit, ran.stdout),
            (Some(0), format!("{PREV_RESULT}\n")),
            "{}",
            ran.stderr
        );
        assert!(!pod.residue().is_empty(), "the rules are installed");
        call("CHECK", &pod, &agent.socket()).succeeds_silently();
    }
    call("DEL", &pod, &agent.socket()).succeeds_silently();
    assert_eq!(pod.residue(), Vec::<String>::new());
    call("DEL", &pod, &agent.socket()).succeeds_silently();
    let ran = call("CHECK", &pod, &agent.socket());
    assert_eq!(ran.code(), Some(105), "rules are gone: {ran:?}");
    let asked = agent.seen();
    assert!(matches!(asked.last(), Some(Request::Check(_))), "{asked:?}");
}

#[test]
fn check_repeats_what_the_agent_misses() {
    let agent = ScriptedAgent::new(|conversation| {
        drop(conversation.request());
        let problems = vec!["nobody listens on 15006".to_owned()];
        conversation.say(&Reply::Checked {
            plan: None,
            problems,
        });
    });
    let ran = call("CHECK", &PodNetns::new(), &agent.socket());
    assert_eq!(ran.code(), Some(105), "{ran:?}");
    assert!(ran.told().contains("nobody listens on 15006"), "{ran:?}");
}

/// DEL takes the rules out of a namespace that is still there, also while the agent is away.
#[test]
fn del_clears_up_without_the_agent() {
    let pod = PodNetns::new();
    {
        let agent = ScriptedAgent::new(serve);
        assert_eq!(call("ADD", &pod, &agent.socket()).exit, Some(0));
    }
    assert!(!pod.residue().is_empty());
    call("DEL", &pod, Path::new("/nonexistent/agent.sock")).succeeds_silently();
    assert_eq!(pod.residue(), Vec::<String>::new());
}

#[test]
fn del_does_without_the_namespace() {
    let agent = ScriptedAgent::new(serve);
    let config = config_with("0.3.1", &agent.socket(), &json!({}));
    let call = Call::new("DEL", Path::new("/nonexistent/netns"), &config);
    call.run().succeeds_silently();
    call.clone().without("CNI_NETNS").run().succeeds_silently();
    call.env("CNI_ARGS", "nonsense").run().succeeds_silently();
    let asked = agent.seen();
    assert!(
        asked
            .iter()
            .all(|request| matches!(request, Request::Del(_)))
    );
    assert_eq!(asked.len(), 3, "the agent is told even so");
}

/// What can go wrong once the rules are in: whatever it is, they are out when the plugin ends, and
/// the same pod is added by the next attempt.
#[test]
fn failures_after_the_rules_leave_nothing_behind() {
    type Script = fn(&mut Conversation);
    let hangs: Script = |conversation| {
        install(conversation);
        conversation.hang();
    };
    let crashes: Script = install;
    let babbles: Script = |conversation| {
        install(conversation);
        conversation.raw(b"babble");
        conversation.hang();
    };
    let refuses: Script = |conversation| {
        install(conversation);
        conversation.say(&Reply::Failed(Failure {
            code: 11,
            message: "the self-probe failed".to_owned(),
            details: String::new(),
            retry: true,
        }));
    };
    let repeats: Script = |conversation| {
        install(conversation);
        conversation.say(&Reply::Install { plan: plan() });
    };
    let breaks_off: Script = |conversation| {
        install(conversation);
        conversation.raw(b"AMBT\0\x01\0");
    };
    for (script, code, says) in [
        (hangs, 11, "did not admit the pod"),
        (crashes, 11, "it closed the connection"),
        (babbles, 102, "is not the node agent"),
        (refuses, 11, "the self-probe failed"),
        (repeats, 102, "is no answer to"),
        (breaks_off, 11, "breaks off half-way"),
    ] {
        let pod = PodNetns::new();
        let agent = ScriptedAgent::new(script);
        let ran = call("ADD", &pod, &agent.socket());
        assert_eq!(ran.code(), Some(code), "{says}: {ran:?}");
        assert!(ran.told().contains(says), "{ran:?}");
        assert!(
            ran.took < Duration::from_millis(DEADLINE_MS + 500),
            "{ran:?}"
        );
        assert_eq!(pod.residue(), Vec::<String>::new(), "{says}");

        let recovered = ScriptedAgent::new(serve);
        let again = call("ADD", &pod, &recovered.socket());
        assert_eq!(again.exit, Some(0), "{says}: {again:?}");
        assert!(!pod.residue().is_empty());
    }
}

#[test]
fn a_plan_of_a_newer_agent_is_not_half_installed() {
    let pod = PodNetns::new();
    let agent = ScriptedAgent::new(|conversation| {
        drop(conversation.request());
        let mut plan = plan();
        plan.version = PLAN_VERSION + 1;
        conversation.say(&Reply::Install { plan });
        let report = conversation.report();
        assert!(
            matches!(report, Some(Report::InstallFailed { .. })),
            "{report:?}"
        );
    });
    let ran = call("ADD", &pod, &agent.socket());
    assert_eq!(ran.code(), Some(101), "{ran:?}");
    assert!(ran.told().contains("upgrade"), "{ran:?}");
    assert_eq!(pod.residue(), Vec::<String>::new());
}
