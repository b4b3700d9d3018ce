//! What both agents' access lines say about the calls.

use super::cast::MESHED;
use super::report::{Forbidden, Pair, Report};
use anyhow::{Context, Result, ensure};
use e2e_netlab::log::{AccessLine, access_lines};
use e2e_netlab::{Lab, Node, wait};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Access lines are written by a thread of their own, a moment after the connection's end.
const PATIENCE: Duration = Duration::from_secs(5);

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
pub(super) fn identities(lab: &Lab, report: &mut Report) {
    let wanted =
        usize::try_from(report.requests.made - report.requests.failed).unwrap_or(usize::MAX);
    let what = "both agents wrote an access line for each call";
    let [client, server] = match wait::until(what, PATIENCE, || sides(lab, wanted)) {
        Ok(found) => found,
        Err(error) => return report.problems.push(format!("{error:#}")),
    };
    report.identities.client_side = pair(&client, report);
    report.identities.server_side = pair(&server, report);
    report.identities.access_lines = server.len();
    let expected = Pair {
        source: identity("client"),
        destination: identity("server"),
    };
    let seen = [
        &report.identities.client_side,
        &report.identities.server_side,
    ];
    let right = seen.iter().all(|pair| **pair == expected);
    let text = format!("the identities are {seen:?}, not {expected:?}");
    report.must(right, || text);
}

/// The lines of each side, once there are enough of them.
fn sides(lab: &Lab, wanted: usize) -> Result<[Vec<AccessLine>; 2]> {
    let of = |direction: &'static str| {
        move |line: &AccessLine| {
            line.message == "connection complete"
                && line.field("error").is_empty()
                && !line.field("dst.hbone_addr").is_empty()
                && line.has(&[
                    ("direction", direction),
                    ("src.workload", "client"),
                    ("dst.workload", "server"),
                    ("dst.namespace", MESHED),
                ])
        }
    };
    let sides = [
        lines(lab.node("a")?, of("outbound"))?,
        lines(lab.node("b")?, of("inbound"))?,
    ];
    let [client, server] = [sides[0].len(), sides[1].len()];
    ensure!(
        client >= wanted && server >= wanted,
        "{client} on the client's side and {server} on the server's, for {wanted} calls",
    );
    Ok(sides)
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
    let what = format!("node b says why {} was refused", calls.from);
    let line = match wait::until(&what, PATIENCE, || refusal(lab, from)) {
        Ok(line) => line,
        Err(error) => {
            report.problems.push(format!("{error:#}"));
            return calls;
        }
    };
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

/// An inbound line with an error about one of these callers.
fn refusal(lab: &Lab, from: &[IpAddr]) -> Result<AccessLine> {
    let of_caller = |line: &AccessLine| {
        let source = line.field("src.addr").parse::<SocketAddr>();
        let ours = source.is_ok_and(|source| from.contains(&source.ip()));
        ours && line.field("direction") == "inbound" && !line.field("error").is_empty()
    };
    lines(lab.node("b")?, of_caller)?
        .pop()
        .context("no such access line")
}
