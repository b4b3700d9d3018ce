//! Asks a running agent for its pods and their certificates, and shows them.

mod certificates;
mod cluster;
mod control_plane;
mod explain;
mod repairs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use certificates::Certificate;
use cluster::ApiServer;
use control_plane::ControlPlane;
pub(crate) use explain::explain;
use repairs::NodeProbes;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// The agent does not run, or its admin address is another.
    #[error("no agent answers at {address}: {source}")]
    Unreachable {
        /// Where it was asked.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something else answered.
    #[error("what answers at {0} is not the agent")]
    NotTheAgent(SocketAddr),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dump {
    pods: Vec<Pod>,
    readiness: Vec<String>,
    #[serde(default)]
    troubles: BTreeMap<String, String>,
    #[serde(default)]
    certificates: Vec<Certificate>,
    control_plane: Option<ControlPlane>,
    api_server: Option<ApiServer>,
    node_probes: Option<NodeProbes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    namespace: String,
    name: String,
    service_account: String,
    stage: String,
    addresses: Vec<String>,
    container_id: String,
}

/// The pods of the agent at `address`, as a table, and a line for each identity.
pub(crate) fn status(address: SocketAddr) -> Result<String, StatusError> {
    let dump: Dump = ask(address, "/config_dump")?;
    Ok(table(&dump))
}

fn ask<T: DeserializeOwned>(address: SocketAddr, page: &str) -> Result<T, StatusError> {
    let unreachable = |source| StatusError::Unreachable { address, source };
    let body = fetch(address, page).map_err(unreachable)?;
    serde_json::from_str(&body).map_err(|_| StatusError::NotTheAgent(address))
}

fn fetch(address: SocketAddr, page: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {page} HTTP/1.0\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default())
}

fn table(dump: &Dump) -> String {
    let mut text = match dump.readiness.as_slice() {
        [] => "ready\n".to_owned(),
        pending => format!("not ready, pending: {}\n", pending.join(", ")),
    };
    if let Some(control_plane) = &dump.control_plane {
        text.push_str(&control_plane.lines());
    }
    if let Some(api_server) = &dump.api_server {
        text.push_str(&api_server.lines());
    }
    if let Some(node_probes) = &dump.node_probes {
        text.push_str(&node_probes.line());
    }
    let header = [
        "NAMESPACE",
        "POD",
        "SERVICE ACCOUNT",
        "STATE",
        "ADDRESSES",
        "CONTAINER",
    ];
    let mut rows = vec![header.map(ToOwned::to_owned)];
    rows.extend(dump.pods.iter().map(|pod| {
        let short = pod.container_id.get(..12).unwrap_or(&pod.container_id);
        [
            pod.namespace.clone(),
            pod.name.clone(),
            pod.service_account.clone(),
            pod.stage.clone(),
            pod.addresses.join(","),
            short.to_owned(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    for (pod, why) in &dump.troubles {
        let _ = writeln!(text, "{pod}: {why}");
    }
    for certificate in &dump.certificates {
        let _ = writeln!(text, "{}", certificate.line());
    }
    text
}

/// Longer than the agent takes to look at everything.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::net::TcpListener;

    use super::*;

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _count = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn pods_are_shown_in_columns() {
        let address = answering(
            "HTTP/1.0 200 OK\r\n\r\n{\"readiness\":[],\"pods\":[{\"namespace\":\"shop\",\
             \"name\":\"cart-0\",\"serviceAccount\":\"cart\",\"stage\":\"enrolled\",\
             \"addresses\":[\"10.0.0.7\"],\"containerId\":\"0123456789abcdef\"}],\
             \"troubles\":{\"shop/web-0\":\"no certificate yet\"},\"certificates\":[{\"identity\":\"spiffe://a\",\
             \"state\":\"Initializing\",\"since\":0}]}",
        );
        let text = status(address).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ready");
        assert_eq!(
            lines[2].split_whitespace().collect::<Vec<_>>(),
            [
                "shop",
                "cart-0",
                "cart",
                "enrolled",
                "10.0.0.7",
                "0123456789ab"
            ]
        );
        assert_eq!(lines[3], "shop/web-0: no certificate yet");
        assert_eq!(lines[4], "spiffe://a: waiting since 1970-01-01T00:00:00Z");
        assert_eq!(lines[1].find("STATE"), lines[2].find("enrolled"));
    }

    #[test]
    fn others_are_not_taken_for_the_agent() {
        let address = answering("HTTP/1.0 200 OK\r\n\r\n<html>");
        assert!(matches!(status(address), Err(StatusError::NotTheAgent(_))));
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(matches!(
            status(nobody),
            Err(StatusError::Unreachable { .. })
        ));
    }
}
