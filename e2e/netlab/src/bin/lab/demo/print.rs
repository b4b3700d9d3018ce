//! The report for a person.

use super::report::{Forbidden, Pace, Report, Times};
use crate::out::say;
use e2e_netlab::LabRecord;

/// The whole report.
pub(super) fn report(report: &Report) {
    calls(report);
    identities(report);
    say("\nRefused, and why");
    refused("in the mesh, but no policy allows it", &report.denied);
    refused("outside the mesh, so without an identity", &report.outsider);
    wire(report);
    latency(report);
    if report.ok {
        say(&format!("\nAll as it must be, in {:.1} s.", report.seconds));
        return;
    }
    say("\nNOT as it must be:");
    for problem in &report.problems {
        say(&format!("  - {problem}"));
    }
}

fn calls(report: &Report) {
    say("\nCalls from demo/client on node a to demo/server on node b");
    for call in &report.calls {
        let ok = call.made - call.failed;
        let saw = if call.server_saw.is_empty() {
            String::new()
        } else {
            format!("   server saw {}", call.server_saw.join(", "))
        };
        say(&format!(
            "  {:<16} {}  {ok:>3} of {} answered   to {:<22}{saw}",
            call.kind, call.family, call.made, call.to
        ));
    }
    say(&format!(
        "  in all: {} made, {} failed",
        report.requests.made, report.requests.failed
    ));
}

fn identities(report: &Report) {
    let sides = &report.identities;
    say("\nWho talked to whom, by each node's own access log");
    for (side, pair) in [
        ("node a", &sides.client_side),
        ("node b", &sides.server_side),
    ] {
        say(&format!(
            "  {side}   {} -> {}",
            pair.source, pair.destination
        ));
    }
}

fn refused(who: &str, refused: &Forbidden) {
    say(&format!(
        "  {} ({who}): {} of {} calls refused",
        refused.from, refused.refused, refused.made
    ));
    say(&format!("    node b said    {}", refused.reason));
    say(&format!(
        "    the caller saw {}",
        refused.caller_saw.join("; ")
    ));
}

fn wire(report: &Report) {
    say("\nOn the wire between the nodes");
    say("  port          packets      bytes  connections");
    for port in &report.ports {
        say(&format!(
            "  {:<6}{:<6}{:>9}{:>11}{:>13}   {}",
            port.port, port.family, port.packets, port.bytes, port.connections, port.meaning,
        ));
    }
    say(&format!(
        "  payload of the mesh calls found in clear: {} times",
        report.clear_payload_occurrences
    ));
    say(&format!(
        "  payload of the control call found: {} times (so the search does find)",
        report.control_occurrences,
    ));
}

fn latency(report: &Report) {
    let row = |name: &str, pick: fn(&Pace) -> Times| {
        let (mesh, plain) = (
            pick(&report.latency.mesh),
            pick(&report.latency.without_mesh),
        );
        say(&format!(
            "  {name:<26}{:>9.0}{:>9.0}{:>12.0}{:>9.0}",
            mesh.p50_us, mesh.p99_us, plain.p50_us, plain.p99_us,
        ));
    };
    say("\nLatency of a small HTTP request, in microseconds");
    say("                            in the mesh        without it");
    say("                                 p50      p99         p50      p99");
    row("on one connection", |pace| pace.keep_alive);
    row("each on a new connection", |pace| pace.new_connection);
}

/// How to look around in a lab that stays up.
pub(super) fn look_around(lab: &LabRecord) {
    say(&format!(
        "\nIt is still up, as {}. To look around (as root):",
        lab.name
    ));
    say(
        "  hack/demo exec a client -- /podkit call http --to 10.96.0.10:80     a call by service address",
    );
    say(
        "  hack/demo exec a denied -- /podkit call http --to 10.96.0.10:80     one that is refused",
    );
    say(
        "  hack/demo exec a client -- /podkit help                             what else pods can do",
    );
    for node in &lab.nodes {
        say(&format!("node {}", node.name));
        say(&format!(
            "  tail -f {}    what its agent says",
            node.agent_log.display()
        ));
        say(&format!(
            "  nsenter --net={} curl -s localhost:15000/config_dump    what it knows",
            node.netns.display()
        ));
        for pod in &node.pods {
            let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
            say(&format!(
                "  pod {}/{}  {}",
                pod.namespace,
                pod.name,
                ips.join("  ")
            ));
            say(&format!(
                "    nsenter --net={} iptables-save    its rules",
                pod.netns.display()
            ));
        }
    }
    say("To take it down: hack/demo down (the next run does so, too)");
}
