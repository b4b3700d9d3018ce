//! The demo's traffic: what must pass, what must not, and how long it takes.

use super::cast::{Cast, HTTP_PORT, Markers, OUTSIDER_PORT, PLAIN_PORT, vip};
use super::report::{Call, Forbidden, Pace, Report, Times};
use anyhow::{Context, Result, bail};
use e2e_netlab::Pod;
use serde_json::Value;
use std::net::SocketAddr;

/// Calls for each kind and family.
const EACH: &str = "25";
/// Calls that must be refused, for each family.
const FORBIDDEN: &str = "3";
pub(super) const KINDS: [&str; 4] = ["service-address", "pod-address", "server-first", "own-tls"];
pub(super) const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// All kinds in both families, from the client to the server.
pub(super) fn meshed(cast: &Cast, markers: &Markers, report: &mut Report) -> Result<()> {
    let path = format!("/{}", markers.secret);
    for kind in KINDS {
        for (ipv6, family) in [(false, "ipv4"), (true, "ipv6")] {
            let (verb, to, text) = match kind {
                "service-address" => ("http", vip(ipv6, 80), ["--path", &path]),
                "pod-address" => (
                    "http",
                    cast.server.address(ipv6, HTTP_PORT)?,
                    ["--path", &path],
                ),
                "server-first" => ("banner", vip(ipv6, 2500), ["--say", &markers.secret]),
                _ => ("tls", vip(ipv6, 443), ["--path", &path]),
            };
            let answer = cast
                .client
                .call(verb, to, &["--count", EACH, text[0], text[1]])?;
            let call = Call {
                kind,
                family,
                to: to.to_string(),
                made: number(&answer, "made")?,
                failed: number(&answer, "failed")?,
                server_saw: texts(&answer["peer"]),
                errors: serde_json::from_value(answer["errors"].clone())?,
            };
            judge(&call, &cast.client, ipv6, verb, report)?;
            report.requests.made += call.made;
            report.requests.failed += call.failed;
            report.calls.push(call);
        }
    }
    Ok(())
}

fn judge(call: &Call, client: &Pod, ipv6: bool, verb: &str, report: &mut Report) -> Result<()> {
    let (kind, family) = (call.kind, call.family);
    report.must(call.failed == 0 && call.made > 0, || {
        format!(
            "{kind} over {family}: {} of {} failed: {:?}",
            call.failed, call.made, call.errors
        )
    });
    let own = client.address(ipv6, 0)?.ip().to_string();
    // The server-first kind tells nothing of its peer.
    report.must(verb == "banner" || call.server_saw == [own.clone()], || {
        format!(
            "{kind} over {family}: the server saw {:?}, not the client's {own}",
            call.server_saw
        )
    });
    Ok(())
}

/// Calls in both families that must all fail.
fn forbidden(from: &Pod, verb: &str, to: [SocketAddr; 2], options: &[&str]) -> Result<Forbidden> {
    let spec = from.spec();
    let mut refused = Forbidden {
        from: format!("{}/{}", spec.namespace, spec.name),
        ..Forbidden::default()
    };
    for to in to {
        let answer = from.call(verb, to, options)?;
        refused.made += number(&answer, "made")?;
        refused.refused += number(&answer, "failed")?;
        let errors = answer["errors"]
            .as_object()
            .context("no errors in the answer")?;
        for error in errors.keys() {
            if !refused.caller_saw.contains(error) {
                refused.caller_saw.push(error.clone());
            }
        }
    }
    Ok(refused)
}

/// In the mesh, but not allowed.
pub(super) fn denied(cast: &Cast, markers: &Markers) -> Result<Forbidden> {
    let path = format!("/{}", markers.secret);
    let to = [vip(false, 80), vip(true, 80)];
    forbidden(
        &cast.denied,
        "http",
        to,
        &["--count", FORBIDDEN, "--path", &path],
    )
}

/// Not in the mesh: it has no identity that a policy could allow.
pub(super) fn outsider(cast: &Cast) -> Result<Forbidden> {
    let to = [
        cast.server.address(false, OUTSIDER_PORT)?,
        cast.server.address(true, OUTSIDER_PORT)?,
    ];
    forbidden(&cast.plain_client, "half-close", to, &["--bytes", "10"])
}

/// From the mesh to a server outside, in clear by nature: shows that the search of the capture finds.
pub(super) fn control(cast: &Cast, markers: &Markers, report: &mut Report) -> Result<()> {
    let path = format!("/{}", markers.control);
    for ipv6 in [false, true] {
        let to = cast.plain_server.address(ipv6, PLAIN_PORT)?;
        let answer = cast.client.call("http", to, &["--path", &path])?;
        report.must(answer["ok"] == true, || {
            format!("a call out of the mesh to {to} failed: {answer}")
        });
    }
    Ok(())
}

/// The same requests in the mesh and between the pods outside.
pub(super) fn latency(cast: &Cast, report: &mut Report) -> Result<()> {
    report.latency.mesh = pace(&cast.client, cast.server.address(false, HTTP_PORT)?)?;
    report.latency.without_mesh = pace(
        &cast.plain_client,
        cast.plain_server.address(false, PLAIN_PORT)?,
    )?;
    Ok(())
}

fn pace(from: &Pod, to: SocketAddr) -> Result<Pace> {
    Ok(Pace {
        keep_alive: times(&from.call("latency", to, &["--count", "2000", "--warmup", "200"])?)?,
        new_connection: times(&from.call(
            "latency",
            to,
            &["--count", "500", "--warmup", "50", "--reconnect"],
        )?)?,
    })
}

fn times(answer: &Value) -> Result<Times> {
    if answer["ok"] != true {
        bail!("the latency measurement failed: {answer}");
    }
    let read = |name: &str| {
        answer[name]
            .as_f64()
            .with_context(|| format!("no {name} in {answer}"))
    };
    Ok(Times {
        p50_us: read("p50_us")?,
        p99_us: read("p99_us")?,
    })
}

fn number(answer: &Value, name: &str) -> Result<u64> {
    answer[name]
        .as_u64()
        .with_context(|| format!("no {name} in {answer}"))
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
