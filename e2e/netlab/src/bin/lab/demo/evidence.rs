//! What third parties say about the calls: both agents' access lines, and the capture.

use super::cast::{MESHED, Markers, OUTSIDER_PORT, PLAIN_PORT};
use super::report::{Forbidden, Pair, PortUse, Report};
use anyhow::{Context, Result, ensure};
use e2e_netlab::log::{AccessLine, access_lines};
use e2e_netlab::{Family, Lab, Node, Traffic, wait};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Access lines are written by a thread of their own, a moment after the connection's end.
const PATIENCE: Duration = Duration::from_secs(5);
const HBONE: u16 = 15008;

/// The identity of a service account in the demo.
fn identity(account: &str) -> String {
    format!("spiffe://cluster.local/ns/{MESHED}/sa/{account}")
}

fn lines(node: &Node, wanted: impl Fn(&AccessLine) -> bool) -> Result<Vec<AccessLine>> {
    Ok(access_lines(&node.agent_log()?)
        .into_iter()
        .filter(wanted)
        .collect())
}

/// Reads both identities from each side's lines.
pub(super) fn identities(lab: &Lab, report: &mut Report) -> Result<()> {
    let passed =
        |line: &AccessLine| line.field("error").is_empty() && line.message == "connection complete";
    let outbound = |line: &AccessLine| {
        passed(line)
            && line.has(&[
                ("direction", "outbound"),
                ("src.workload", "client"),
                ("dst.workload", "server"),
            ])
    };
    let inbound = |line: &AccessLine| {
        passed(line)
            && line.has(&[
                ("direction", "inbound"),
                ("src.workload", "client"),
                ("dst.workload", "server"),
            ])
    };
    let wanted = usize::try_from(report.requests.made - report.requests.failed)?;
    let found = wait::until(
        "both agents wrote an access line for each call",
        PATIENCE,
        || {
            let ours = |line: &AccessLine| !line.field("dst.hbone_addr").is_empty();
            let sides = [
                lines(lab.node("a")?, |line| outbound(line) && ours(line))?,
                lines(lab.node("b")?, |line| {
                    inbound(line) && !line.field("src.identity").is_empty()
                })?,
            ];
            let [client, server] = &sides;
            ensure!(
                client.len() >= wanted && server.len() >= wanted,
                "{} on the client's side and {} on the server's, for {wanted} calls",
                client.len(),
                server.len(),
            );
            Ok(sides)
        },
    );
    let [client, server] = match found {
        Ok(found) => found,
        Err(error) => {
            report.problems.push(format!("{error:#}"));
            return Ok(());
        }
    };
    report.identities.client_side = pair(&client, report);
    report.identities.server_side = pair(&server, report);
    report.identities.access_lines = server.len();
    let expected = Pair {
        source: identity("client"),
        destination: identity("server"),
    };
    let seen = [
        report.identities.client_side.clone(),
        report.identities.server_side.clone(),
    ];
    report.must(seen.iter().all(|pair| *pair == expected), || {
        format!("the identities are {seen:?}")
    });
    Ok(())
}

/// The one pair of identities in these lines.
fn pair(lines: &[AccessLine], report: &mut Report) -> Pair {
    let read = |line: &AccessLine| Pair {
        source: line.field("src.identity").to_owned(),
        destination: line.field("dst.identity").to_owned(),
    };
    let mut pairs: Vec<Pair> = lines.iter().map(read).collect();
    pairs.dedup();
    report.must(pairs.len() == 1, || {
        format!("not one pair of identities: {pairs:?}")
    });
    pairs.pop().unwrap_or_default()
}

/// Completes refused calls with what the server's node said about them.
pub(super) fn reason(
    lab: &Lab,
    from: &[IpAddr],
    calls: Forbidden,
    report: &mut Report,
) -> Forbidden {
    let passed = calls.made - calls.refused;
    report.must(passed == 0 && calls.made > 0, || {
        format!(
            "{}: {passed} of {} forbidden calls passed",
            calls.from, calls.made
        )
    });
    let of_caller = |line: &AccessLine| {
        let source = line.field("src.addr").parse::<SocketAddr>();
        let ours = source.is_ok_and(|source| from.contains(&source.ip()));
        ours && line.field("direction") == "inbound" && !line.field("error").is_empty()
    };
    let said = wait::until(
        &format!("node b says why {} was refused", calls.from),
        PATIENCE,
        || {
            lines(lab.node("b")?, of_caller)?
                .pop()
                .context("no such access line")
        },
    );
    match said {
        Ok(line) => {
            let (reason, identity) = (
                line.field("error").to_owned(),
                line.field("src.identity").to_owned(),
            );
            report.must(reason.contains("policy rejection"), || {
                format!("{}: the reason is {reason:?}", calls.from)
            });
            Forbidden {
                reason,
                identity,
                ..calls
            }
        }
        Err(error) => {
            report.problems.push(format!("{error:#}"));
            calls
        }
    }
}

/// Judges what passed between the nodes.
pub(super) fn wire(traffic: &Traffic, markers: &Markers, report: &mut Report) {
    report.clear_payload_occurrences = traffic.occurrences(markers.secret.as_bytes());
    report.control_occurrences = traffic.occurrences(markers.control.as_bytes());
    let (secret, control) = (report.clear_payload_occurrences, report.control_occurrences);
    report.must(secret == 0, || {
        format!("payload of the mesh was seen {secret} times in clear")
    });
    // Request and answer, in both families.
    report.must(control == 4, || {
        format!("the search found {control} of 4 control texts: it proves nothing")
    });
    for ((family, port), sum) in &traffic.ports {
        let meaning = match *port {
            HBONE => "the mesh: HTTP/2 CONNECT inside mutual TLS",
            PLAIN_PORT => "a call out of the mesh, in clear (the control)",
            OUTSIDER_PORT => "the outsider's refused calls, in clear",
            9 => "the end mark of the capture",
            _ => "UNEXPECTED",
        };
        report.must(meaning != "UNEXPECTED", || {
            format!(
                "{} packets of {family:?} to port {port} between the nodes",
                sum.packets
            )
        });
        report.ports.push(PortUse {
            family: if *family == Family::Ipv4 {
                "ipv4"
            } else {
                "ipv6"
            },
            port: *port,
            packets: sum.packets,
            bytes: sum.bytes,
            connections: sum.connections,
            meaning,
        });
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let used = traffic
            .ports
            .get(&(family, HBONE))
            .is_some_and(|sum| sum.bytes > 0);
        report.must(used, || {
            format!("no {family:?} bytes to port {HBONE} between the nodes")
        });
    }
}
