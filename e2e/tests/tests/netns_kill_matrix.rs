//! Plugin and agent killed, hung or talking rubbish at every step of ADD and DEL: the pod is in, or it is out, nothing is
//! left of what failed, and the runtime's next attempt succeeds.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; the table is part of their answer"
)]

use anyhow::{Context, Result, ensure};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::mesh::Mesh;
use e2e_tests::relay::{Relay, Then};
use e2e_tests::wire::Capture;
use e2e_tests::{Agent, Call, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::Duration;

const MARKER: &str = "must-not-leave-in-clear";
/// Frames of ADD: Add, Install, Installed, Admitted.
const ADD: std::ops::RangeInclusive<usize> = 1..=4;
/// Frames of DEL: Del, Done.
const DEL: std::ops::RangeInclusive<usize> = 1..=2;
/// Short, where a deadline is what ends the call.
const DEADLINE: Duration = Duration::from_millis(2500);

/// Sockets that the tunnel may keep ready for a pod.
const READY: usize = 160;

/// A server that stays in the mesh, and one pod that is added and deleted again and again.
struct Bench {
    agent: Agent,
    pod: Pod,
    server: Pod,
    _app: Server,
    world: World,
    descriptors: [usize; 2],
    files: Vec<String>,
}

impl Bench {
    fn set_up() -> Result<Self> {
        let world = World::new()?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let pod = world.pod(Mesh::NAMESPACE, "pod")?;
        let mesh = Mesh::default().pod(&server).pod(&pod);
        let mesh = mesh.strict(&server);
        let agent = Agent::start(&world, "node", &mesh, &json!({"drainDeadline": "1s"}))?;
        Call::new("ADD", &server, &agent.socket()).succeed()?;
        let app = Server::start(&server, 8080, Kind::Echo)?;
        let mut bench = Self {
            agent,
            pod,
            server,
            _app: app,
            world,
            descriptors: [0; 2],
            files: Vec::new(),
        };
        // Once in and out, so that what is only made once has been made.
        bench.call("ADD").succeed()?;
        app::echo(&bench.pod, bench.server.at(8080), MARKER)?;
        bench.call("DEL").succeed()?;
        bench.files = bench.table_files()?;
        bench.descriptors = bench.descriptors()?;
        Ok(bench)
    }

    /// Descriptors of the agent: namespaces, and all.
    fn descriptors(&self) -> Result<[usize; 2]> {
        let all = self.agent.descriptors()?;
        let names =
            |target: &&String| target.starts_with("net:") || target.starts_with("/run/netns/");
        Ok([all.iter().filter(names).count(), all.len()])
    }

    fn call(&self, verb: &'static str) -> Call<'_> {
        Call::new(verb, &self.pod, &self.agent.socket())
    }

    /// Nothing of the pod is in the kernel, in the agent, or on disk.
    fn is_out(&self) -> Result<()> {
        ensure!(!self.pod.has_our_rules()?, "rules: {}", self.pod.rules()?);
        let listeners = self.pod.listeners()?;
        ensure!(listeners.is_empty(), "listeners: {listeners:?}");
        let stage = self.agent.stage(&self.pod.container())?;
        ensure!(stage.is_none(), "the agent says: {stage:?}");
        let state = self.agent.state()?;
        ensure!(!state.contains(&self.pod.container()), "on disk: {state}");
        Ok(())
    }

    /// All of it is there, and works.
    fn is_in(&self) -> Result<()> {
        let stage = self.agent.stage(&self.pod.container())?;
        ensure!(
            stage.as_deref() == Some("enrolled"),
            "the agent says: {stage:?}"
        );
        self.call("CHECK").succeed()?;
        app::echo(&self.pod, self.server.at(8080), MARKER)
    }

    /// The pod must be in or out; then a retry must bring it in, and DEL must leave nothing behind.
    fn settles(&self, what: &str) {
        let found = until(&format!("{what}: in or out"), || match self.is_out() {
            Ok(()) => Ok("out"),
            Err(out) => self
                .is_in()
                .map(|()| "in")
                .with_context(|| format!("not out: {out:#}")),
        })
        .unwrap();
        println!("{what}: the pod is {found}");
        self.recovers(what);
    }

    fn recovers(&self, what: &str) {
        let capture = Capture::start(&self.world).unwrap();
        self.call("ADD")
            .succeed()
            .with_context(|| format!("{what}: retry"))
            .unwrap();
        until("in after the retry", || self.is_in()).unwrap();
        assert_eq!(capture.stop().unwrap().count(MARKER), 0, "{what}: in clear");
        self.leaves_nothing(what);
    }

    fn leaves_nothing(&self, what: &str) {
        self.call("DEL").succeed().unwrap();
        until("out after DEL", || self.is_out()).unwrap();
        until(&format!("{what}: sockets and descriptors"), || {
            let sockets = self.pod.sockets()?;
            ensure!(sockets == 0, "{sockets} sockets are left in the pod");
            let ([names, all], [names_before, all_before]) =
                (self.descriptors()?, self.descriptors);
            // The tunnel keeps some sockets of the other pod ready, more or less.
            let leaked = names > names_before || all > all_before + READY;
            ensure!(
                !leaked,
                "{names} and {all}, before {names_before} and {all_before}"
            );
            Ok(())
        })
        .unwrap();
        assert_eq!(self.table_files().unwrap(), self.files);
    }

    /// The files of the table of pods. The record of certificates is written a moment later, whatever becomes of the pod.
    fn table_files(&self) -> Result<Vec<String>> {
        let mut all = self.agent.state_files()?;
        all.retain(|name| name.starts_with("pods.json"));
        Ok(all)
    }

    fn relay(&self, step: usize, name: &str) -> Relay {
        Relay::start(self.world.directory(), name, &self.agent.socket(), step).unwrap()
    }

    fn through<'a>(&'a self, verb: &'static str, relay: &Relay) -> Call<'a> {
        Call::new(verb, &self.pod, relay.socket()).within(DEADLINE)
    }
}

#[test]
fn the_plugin_is_killed_during_add() {
    let bench = Bench::set_up().unwrap();
    for step in ADD {
        let relay = bench.relay(step, &format!("k{step}"));
        let mut call = bench.through("ADD", &relay).start().unwrap();
        relay.wait().unwrap();
        call.kill().unwrap();
        relay.proceed(Then::Pass).unwrap();
        bench.settles(&format!("ADD, plugin killed at frame {step}"));
    }
}

/// ADD ends in an error that the runtime can show, whatever the agent does.
fn add_fails_when(harm: &str, told: &str, then: Then, steps: impl Iterator<Item = usize>) {
    let bench = Bench::set_up().unwrap();
    for step in steps {
        let relay = bench.relay(step, &format!("f{step}"));
        let what = format!("ADD, {harm} at frame {step}");
        let call = bench.through("ADD", &relay).start().unwrap();
        relay.wait().unwrap();
        relay.proceed(then).unwrap();
        let answer = call.answer().unwrap();
        assert_eq!(answer.code, Some(1), "{what}: {answer:?}");
        let words = answer.output.to_string();
        assert!(words.contains(told), "{what}: {words}");
        drop(relay);
        if step == 4 {
            // The agent has said that the pod is in, and cannot know that nobody heard. As after every failed ADD, the
            // runtime says DEL; no rule leads anywhere until then.
            assert!(
                !bench.pod.has_our_rules().unwrap(),
                "{what}: {}",
                bench.pod.rules().unwrap()
            );
            bench.leaves_nothing(&what);
        }
        bench.settles(&what);
    }
}

#[test]
fn the_agents_connection_is_cut_during_add() {
    add_fails_when("connection cut", "node agent", Then::Cut, ADD);
}

#[test]
fn the_agents_answer_is_cut_short_during_add() {
    add_fails_when("frame cut short", "node agent", Then::Half, ADD);
}

#[test]
fn the_agent_hangs_during_add() {
    add_fails_when("silence", "hangs", Then::Silence, ADD);
}

#[test]
fn the_agent_answers_rubbish_during_add() {
    add_fails_when(
        "rubbish",
        "not the node agent",
        Then::Rubbish,
        [2, 4].into_iter(),
    );
}

#[test]
fn the_agent_answers_nonsense_during_add() {
    add_fails_when("nonsense", "", Then::Nonsense, [2, 4].into_iter());
}

#[test]
fn the_plugin_says_rubbish_during_add() {
    add_fails_when(
        "rubbish from the plugin",
        "",
        Then::Rubbish,
        [1, 3].into_iter(),
    );
}

#[test]
fn the_agent_is_killed_during_add() {
    let mut bench = Bench::set_up().unwrap();
    for step in ADD {
        let what = format!("ADD, agent killed at frame {step}");
        let relay = bench.relay(step, &format!("a{step}"));
        let call = bench.through("ADD", &relay).start().unwrap();
        relay.wait().unwrap();
        bench.agent.end(Signal::SIGKILL).unwrap();
        // What a dead agent has sent still arrives.
        relay.proceed(Then::Pass).unwrap();
        let answer = call.answer().unwrap();
        assert_eq!(answer.code, Some(i32::from(step < 4)), "{what}: {answer:?}");
        let rules = bench.pod.has_our_rules().unwrap();
        assert_eq!(rules, step == 4, "{what}: {}", bench.pod.rules().unwrap());
        bench.agent.start_again().unwrap();
        bench.settles(&what);
    }
}

#[test]
fn the_agent_is_stopped_during_add() {
    let bench = Bench::set_up().unwrap();
    for step in 1..=3 {
        let what = format!("ADD, agent stopped at frame {step}");
        let relay = bench.relay(step, &format!("s{step}"));
        let call = bench.through("ADD", &relay).start().unwrap();
        relay.wait().unwrap();
        bench.agent.signal(Signal::SIGSTOP).unwrap();
        relay.proceed(Then::Pass).unwrap();
        let answer = call.answer().unwrap();
        assert_eq!(answer.code, Some(1), "{what}: {answer:?}");
        assert!(
            answer.output.to_string().contains("hangs"),
            "{what}: {answer:?}"
        );
        assert!(!bench.pod.has_our_rules().unwrap(), "{what}");
        bench.agent.signal(Signal::SIGCONT).unwrap();
        bench.settles(&what);
    }
}

#[test]
fn both_are_killed_during_add() {
    let mut bench = Bench::set_up().unwrap();
    for step in ADD {
        let what = format!("ADD, both killed at frame {step}");
        let relay = bench.relay(step, &format!("b{step}"));
        let mut call = bench.through("ADD", &relay).start().unwrap();
        relay.wait().unwrap();
        call.kill().unwrap();
        bench.agent.end(Signal::SIGKILL).unwrap();
        relay.proceed(Then::Cut).unwrap();
        // Nobody is left to take rules out; if there are any, they lead nowhere.
        if bench.pod.has_our_rules().unwrap() {
            app::echo(&bench.pod, bench.server.at(8080), MARKER).unwrap_err();
        }
        bench.agent.start_again().unwrap();
        bench.recovers(&what);
    }
}

#[test]
fn the_plugin_is_killed_while_it_installs_rules() {
    let bench = Bench::set_up().unwrap();
    // Frame 2 starts the installation, which takes some milliseconds: one attempt for each of them.
    for delay in 0..12 {
        let relay = bench.relay(2, &format!("d{delay}"));
        let mut call = bench.through("ADD", &relay).start().unwrap();
        relay.wait().unwrap();
        relay.proceed(Then::Pass).unwrap();
        std::thread::sleep(Duration::from_millis(3 * delay));
        call.kill().unwrap();
        bench.settles(&format!(
            "ADD, plugin killed {} ms after Install",
            3 * delay
        ));
    }
}

#[test]
fn del_succeeds_and_leaves_nothing_whoever_dies() {
    let mut bench = Bench::set_up().unwrap();
    for (name, then) in [
        ("cut", Then::Cut),
        ("half", Then::Half),
        ("silence", Then::Silence),
        ("rubbish", Then::Rubbish),
    ] {
        for step in DEL {
            let what = format!("DEL, {name} at frame {step}");
            bench.call("ADD").succeed().unwrap();
            let relay = bench.relay(step, &format!("{name}{step}"));
            let call = bench.through("DEL", &relay).start().unwrap();
            relay.wait().unwrap();
            relay.proceed(then).unwrap();
            let answer = call.answer().unwrap();
            assert_eq!(answer.code, Some(0), "{what}: {answer:?}");
            assert!(
                !bench.pod.has_our_rules().unwrap(),
                "{what}: {}",
                bench.pod.rules().unwrap()
            );
            drop(relay);
            bench.leaves_nothing(&what);
        }
    }
    for step in DEL {
        let what = format!("DEL, agent killed at frame {step}");
        bench.call("ADD").succeed().unwrap();
        let relay = bench.relay(step, &format!("agent{step}"));
        let call = bench.through("DEL", &relay).start().unwrap();
        relay.wait().unwrap();
        bench.agent.end(Signal::SIGKILL).unwrap();
        relay.proceed(Then::Pass).unwrap();
        assert_eq!(call.answer().unwrap().code, Some(0), "{what}");
        assert!(!bench.pod.has_our_rules().unwrap(), "{what}");
        bench.agent.start_again().unwrap();
        bench.leaves_nothing(&what);
        bench.recovers(&what);
    }
    for step in DEL {
        let what = format!("DEL, plugin killed at frame {step}");
        bench.call("ADD").succeed().unwrap();
        let relay = bench.relay(step, &format!("plugin{step}"));
        let mut call = bench.through("DEL", &relay).start().unwrap();
        relay.wait().unwrap();
        call.kill().unwrap();
        relay.proceed(Then::Pass).unwrap();
        // The runtime says it again.
        bench.leaves_nothing(&what);
        bench.recovers(&what);
    }
}

#[test]
fn without_an_agent_add_fails_and_del_does_not() {
    let mut bench = Bench::set_up().unwrap();
    bench.agent.end(Signal::SIGKILL).unwrap();
    let answer = bench.call("ADD").fail().unwrap();
    assert!(
        answer
            .output
            .to_string()
            .contains("node agent is not running"),
        "{answer:?}"
    );
    bench.call("DEL").succeed().unwrap();
    assert_eq!(bench.call("STATUS").fail().unwrap().output["code"], 50);
    assert!(!bench.pod.has_our_rules().unwrap());
    bench.agent.start_again().unwrap();
    bench.call("STATUS").succeed().unwrap();
    bench.settles("no agent");
}
