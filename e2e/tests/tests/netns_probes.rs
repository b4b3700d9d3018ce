//! The kubelet's probes come from the node itself, in clear: a strict policy must not refuse them, and
//! nobody else may profit from that.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context, Result, ensure};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::mesh::Mesh;
use e2e_tests::{Agent, Call, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::net::SocketAddr;

const CHAIN: &str = "ISTIO_POSTRT";
const JUMP: &str = "-A POSTROUTING -j ISTIO_POSTRT";

struct Lab {
    agent: Agent,
    /// The node as somebody on the wire: the agent's own namespace, in which no pod lives.
    node: Pod,
    server: Pod,
    stranger: Pod,
    apps: [Server; 2],
    tools: [&'static str; 2],
    _world: World,
}

impl Lab {
    /// An agent in the node's own namespace, and a pod under a strict policy.
    fn open(backend: &'static str) -> Result<Self> {
        let world = World::new()?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let stranger = world.pod(Mesh::OUTSIDE, "stranger")?;
        let mesh = Mesh::default().pod(&server).strict(&server);
        let settings = json!({"iptablesBackend": backend, "drainDeadline": "1s"});
        let mut place = None;
        let agent = Agent::start_beside(&world, "node", &mesh, &settings, |netns| {
            place = Some(world.join(netns)?);
            Ok(())
        })?;
        let node = Pod {
            name: "node".into(),
            namespace: Mesh::OUTSIDE.into(),
            netns: agent.netns().same(),
            ipv4: place.unwrap().0,
            ipv6: place.unwrap().1,
        };
        // Pods reach what they do not know by the node, which knows whom it has translated.
        let (v4, v6) = (node.ipv4.to_string(), node.ipv6.to_string());
        for pod in [&server, &stranger] {
            pod.netns.ip(&["route", "replace", "default", "via", &v4])?;
            pod.netns
                .ip(&["-6", "route", "replace", "default", "via", &v6])?;
        }
        let apps = [
            Server::start(&server, 8080, Kind::Echo)?,
            Server::start(&server, 8081, Kind::Peer)?,
        ];
        Call::new("ADD", &server, &agent.socket()).succeed()?;
        let tools = match backend {
            "nft" => ["iptables-nft", "ip6tables-nft"],
            _ => ["iptables-legacy", "ip6tables-legacy"],
        };
        let lab = Self {
            agent,
            node,
            server,
            stranger,
            apps,
            tools,
            _world: world,
        };
        // A container starts later than this.
        lab.is_whole()?;
        Ok(lab)
    }

    fn at(&self, port: u16) -> [SocketAddr; 2] {
        [self.server.at(port), self.server.at6(port)]
    }

    /// The node's probes pass, and nobody else's connections do.
    fn only_the_node_passes(&self) -> Result<()> {
        for to in self.at(8080) {
            app::echo(&self.node, to, "probe")?;
            app::refused(&self.stranger, to, "never")?;
        }
        Ok(())
    }

    /// Changes the node's nat tables behind the agent's back.
    fn change(&self, arguments: &[&str]) -> Result<()> {
        for tool in self.tools {
            let mut command = self.node.netns.command(tool)?;
            e2e_netlab::run(command.args(["-t", "nat"]).args(arguments))?;
        }
        Ok(())
    }

    /// Waits until both families have the jump first, and a rule each.
    fn is_whole(&self) -> Result<()> {
        until("the node's chain is whole", || {
            let rules = self.node.rules()?;
            let hooks = rules
                .lines()
                .filter(|line| line.starts_with("-A POSTROUTING"));
            let jumps = hooks.clone().filter(|line| *line == JUMP).count();
            let snat = rules.matches("-j SNAT --to-source").count();
            ensure!((jumps, snat) == (2, 2), "{rules}");
            let mut after = rules
                .lines()
                .skip_while(|line| !line.starts_with("-A POSTROUTING"));
            ensure!(after.next() == Some(JUMP), "not first: {rules}");
            Ok(())
        })
    }
}

fn probes_pass(backend: &'static str) {
    let lab = Lab::open(backend).unwrap();
    lab.only_the_node_passes().unwrap();
    let peers: Vec<String> = lab
        .at(8081)
        .into_iter()
        .map(|to| app::seen_as(&lab.node, to).unwrap())
        .collect();
    assert_eq!(
        peers,
        ["169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"]
    );
    assert_eq!(lab.apps[0].connections(), 2, "the node's only");
    let status = lab.agent.status().unwrap();
    let line = format!("node's probes: exempt at 2 addresses ({backend})\n");
    assert!(status.contains(&line), "{status}");
}

#[test]
fn with_nft() {
    probes_pass("nft");
}

#[test]
fn with_legacy_rules() {
    probes_pass("legacy");
}

#[test]
fn what_others_do_to_the_chain_is_repaired() {
    let lab = Lab::open("nft").unwrap();
    lab.change(&["-F"]).unwrap();
    lab.is_whole().unwrap();
    lab.only_the_node_passes().unwrap();
    let line = lab
        .agent
        .wait_for_log(&["exempt its probes", "repaired"])
        .unwrap();
    assert!(line.contains("POSTROUTING does not lead to"), "{line}");
    let status = lab.agent.status().unwrap();
    assert!(status.contains("; repaired "), "{status}");
    assert!(repairs(&lab.agent, "node").unwrap() > 0);

    // Somebody else's terminal rule comes before ours.
    let foreign = ["POSTROUTING", "-p", "tcp", "-j", "ACCEPT"];
    lab.change(&[&["-I"], &foreign[..]].concat()).unwrap();
    lab.is_whole().unwrap();
    lab.only_the_node_passes().unwrap();
    let rules = lab.node.rules().unwrap();
    assert!(
        rules.contains(&format!("-A {}", foreign.join(" "))),
        "it stays: {rules}"
    );
}

/// How often the agent says that it has repaired rules at a kind of place.
fn repairs(agent: &Agent, place: &str) -> Result<u64> {
    let metrics = agent.metrics()?;
    let series = format!("ambient_rule_repairs_total{{place=\"{place}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    Ok(line.context("no such series")?.parse()?)
}

#[test]
fn the_chain_stays_while_there_is_no_agent_and_goes_with_the_pod() {
    let mut lab = Lab::open("nft").unwrap();
    lab.agent.end(Signal::SIGKILL).unwrap();
    for to in lab.at(8080) {
        app::echo(&lab.node, to, "probe").unwrap();
    }
    // One that waits meanwhile would see a moment without it.
    let open = app::connect(&lab.node, lab.server.at(8080)).unwrap();
    lab.agent.start_again().unwrap();
    app::exchange(&open, b"still there").unwrap();
    lab.only_the_node_passes().unwrap();
    Call::new("DEL", &lab.server, &lab.agent.socket())
        .succeed()
        .unwrap();
    until("nothing of it is left", || {
        let rules = lab.node.rules()?;
        ensure!(!rules.contains(CHAIN), "{rules}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_agents_own_namespace_is_not_taken_for_a_node_that_it_cannot_see() {
    let world = World::new().unwrap();
    let server = world.pod(Mesh::NAMESPACE, "server").unwrap();
    let node = world.pod(Mesh::OUTSIDE, "host").unwrap();
    let gateway = node.ipv4.to_string();
    let way = ["route", "replace", "default", "via", &gateway];
    server.netns.ip(&way).unwrap();
    let mesh = Mesh::default().pod(&server).strict(&server);
    let proc = world.directory().join("proc");
    let settings = json!({"procDir": proc, "iptablesBackend": "nft"});
    let agent = Agent::start(&world, "node", &mesh, &settings).unwrap();
    let _app = Server::start(&server, 8080, Kind::Echo).unwrap();
    Call::new("ADD", &server, &agent.socket())
        .succeed()
        .unwrap();
    agent
        .wait_for_log(&["subject to policy", "1/ns/net", "SYS_PTRACE"])
        .unwrap();
    let status = agent.status().unwrap();
    let said = "node's probes: SUBJECT TO POLICY: cannot open";
    assert!(status.contains(said), "{status}");
    app::refused(&node, server.at(8080), "not exempt").unwrap();

    // Now it can: the namespace of the node's first process, not its own.
    std::fs::create_dir_all(proc.join("1/ns")).unwrap();
    std::os::unix::fs::symlink(node.netns.path(), proc.join("1/ns/net")).unwrap();
    until("the node's probe passes", || {
        app::echo(&node, server.at(8080), "exempt")
    })
    .unwrap();
    assert!(node.rules().unwrap().contains(CHAIN));
    let own = Pod {
        netns: agent.netns().same(),
        ..node
    };
    assert!(
        !own.rules().unwrap().contains(CHAIN),
        "the agent's own is left alone"
    );
}

#[test]
fn rules_that_are_taken_out_of_a_running_pod_come_back() {
    let world = World::new().unwrap();
    let client = world.pod(Mesh::NAMESPACE, "client").unwrap();
    let server = world.pod(Mesh::NAMESPACE, "server").unwrap();
    let mesh = Mesh::default().pod(&client).pod(&server).strict(&server);
    let agent = Agent::start(&world, "node", &mesh, &json!({})).unwrap();
    for pod in [&client, &server] {
        Call::new("ADD", pod, &agent.socket()).succeed().unwrap();
    }
    let _app = Server::start(&server, 8080, Kind::Echo).unwrap();
    app::echo(&client, server.at(8080), "in the mesh").unwrap();
    for tool in ["iptables", "ip6tables"] {
        let mut flush = client.netns.command(tool).unwrap();
        e2e_netlab::run(flush.args(["-t", "nat", "-F", "ISTIO_OUTPUT"])).unwrap();
    }
    let line = agent
        .wait_for_log(&["redirect rules", "repaired", "shop/client"])
        .unwrap();
    assert!(line.contains("ISTIO_OUTPUT"), "{line}");
    until("the rules are as they should be", || {
        Call::new("CHECK", &client, &agent.socket()).succeed()
    })
    .unwrap();
    // In clear the server would refuse it.
    app::echo(&client, server.at(8080), "captured again").unwrap();
    assert!(repairs(&agent, "pod").unwrap() > 0);
    let told = agent.explain("shop/client").unwrap();
    assert!(told.contains("rules        repaired"), "{told}");
}
