//! What passed between the nodes, by the capture.

use super::cast::{Markers, OUTSIDER_PORT, PLAIN_PORT};
use super::report::{PortUse, Report};
use e2e_netlab::{Family, Traffic};

const HBONE: u16 = 15008;
const UNEXPECTED: &str = "UNEXPECTED";

/// Judges it.
pub(super) fn judge(traffic: &Traffic, markers: &Markers, report: &mut Report) {
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
        let meaning = meaning(*port);
        report.must(meaning != UNEXPECTED, || {
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

fn meaning(port: u16) -> &'static str {
    match port {
        HBONE => "the mesh: HTTP/2 CONNECT inside mutual TLS",
        PLAIN_PORT => "a call out of the mesh, in clear (the control)",
        OUTSIDER_PORT => "the outsider's refused calls, in clear",
        9 => "the end mark of the capture",
        _ => UNEXPECTED,
    }
}
