//! Envoy as a process in a pod, as the foreign half of a tunnel.

use crate::world::{Pod, World};
use crate::{hostile, programs, until};
use anyhow::{Context, Result, bail, ensure};
use e2e_netlab::wait::Hopeless;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

const ADMIN: u16 = 9901;
/// The windows that peers of the mesh use.
const WINDOWS: (u32, u32) = (4 << 20, 16 << 20);

/// A running Envoy; killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    log: PathBuf,
}

/// A port of the pod's loopback, and where its connections shall come out.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The port.
    pub port: u16,
    /// The tunnel's other end.
    pub tunnel: IpAddr,
    /// What CONNECT asks for.
    pub target: SocketAddr,
}

impl Envoy {
    /// One that leads connections to its ports through tunnels, with the pod's identity, and believes only `peer`.
    ///
    /// # Errors
    /// It does not start.
    pub fn client(world: &World, pod: &Pod, peer: &str, ways: &[Way]) -> Result<Self> {
        let tls = Tls::write(world, pod)?;
        let validation = json!({
            "trusted_ca": {"filename": world.ca_certificate()},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        });
        let listeners: Vec<Value> = ways.iter().map(listener).collect();
        let clusters: Vec<Value> = ways
            .iter()
            .map(|way| tunnel(way, &tls.context(&validation)))
            .collect();
        Self::start(
            world,
            pod,
            &json!({"listeners": listeners, "clusters": clusters}),
        )
    }

    /// One that serves tunnels on port 15008 of its pod, and asks its clients for a certificate of the mesh.
    ///
    /// # Errors
    /// It does not start.
    pub fn server(world: &World, pod: &Pod) -> Result<Self> {
        let tls = Tls::write(world, pod)?;
        let context = tls.context(&json!({"trusted_ca": {"filename": world.ca_certificate()}}));
        let resources = json!({"listeners": [terminator(&context)], "clusters": [application()]});
        Self::start(world, pod, &resources)
    }

    fn start(world: &World, pod: &Pod, resources: &Value) -> Result<Self> {
        let config = json!({
            "admin": {"address": address(Ipv4Addr::LOCALHOST.into(), ADMIN)},
            "static_resources": resources,
        });
        let file = world.directory().join(format!("envoy-{}.json", pod.name));
        std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        let log = file.with_extension("log");
        let output = File::create(&log)?;
        let mut command = pod.netns.command(programs::envoy()?)?;
        command.arg("-c").arg(&file);
        command.args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "-l",
            "warning",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut envoy = Self {
            child: command.spawn().context("starting Envoy")?,
            log,
        };
        until("Envoy is ready", || {
            if let Some(status) = envoy.child.try_wait()? {
                bail!(Hopeless(format!("it ended ({status}): {}", envoy.words())));
            }
            let answer = pod.netns.run(ready)??;
            ensure!(answer.contains("LIVE"), "{answer}");
            Ok(())
        })?;
        Ok(envoy)
    }

    /// What it said.
    #[must_use]
    pub fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // One that has ended is no error.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            // Nobody can be told if standard error is closed.
            drop(writeln!(std::io::stderr(), "Envoy said:\n{}", self.words()));
        }
    }
}

fn ready() -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ADMIN))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A certificate of the pod's identity, in files.
struct Tls {
    chain: PathBuf,
    key: PathBuf,
}

impl Tls {
    fn write(world: &World, pod: &Pod) -> Result<Self> {
        let certificate = hostile::certificate(world, &pod.spiffe());
        let tls = Self {
            chain: world.directory().join(format!("{}.pem", pod.name)),
            key: world.directory().join(format!("{}.key", pod.name)),
        };
        std::fs::write(&tls.chain, certificate.chain_pem())?;
        std::fs::write(&tls.key, &certificate.key_pem)?;
        Ok(tls)
    }

    fn context(&self, validation: &Value) -> Value {
        json!({
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{
                "certificate_chain": {"filename": self.chain},
                "private_key": {"filename": self.key},
            }],
            "validation_context": validation,
        })
    }
}

fn address(ip: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port, "ipv4_compat": ip.is_ipv6() && ip.is_unspecified()}})
}

fn typed(kind: &str, mut value: Value) -> Value {
    value["@type"] = json!(format!("type.googleapis.com/envoy.{kind}"));
    value
}

fn http2() -> Value {
    json!({"initial_stream_window_size": WINDOWS.0, "initial_connection_window_size": WINDOWS.1})
}

/// What comes to a port goes into CONNECT.
fn listener(way: &Way) -> Value {
    let proxy = json!({
        "stat_prefix": "way",
        "cluster": format!("way{}", way.port),
        "tunneling_config": {"hostname": way.target.to_string()},
    });
    json!({
        "name": format!("way{}", way.port),
        "address": address(Ipv4Addr::LOCALHOST.into(), way.port),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": typed("extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy),
        }]}],
    })
}

/// The tunnels of a way.
fn tunnel(way: &Way, context: &Value) -> Value {
    let name = format!("way{}", way.port);
    let endpoint = json!({"endpoint": {"address": address(way.tunnel, 15008)}});
    let options = json!({"explicit_http_config": {"http2_protocol_options": http2()}});
    let tls = json!({"common_tls_context": context});
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                typed("extensions.upstreams.http.v3.HttpProtocolOptions", options),
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext", tls),
        },
    })
}

/// Port 15008: CONNECT over TLS, to whatever is asked for.
fn terminator(context: &Value) -> Value {
    let mut http2 = http2();
    http2["allow_connect"] = json!(true);
    let route = json!({
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": "application",
            "timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    });
    let router = typed("extensions.filters.http.router.v3.Router", json!({}));
    let manager = json!({
        "stat_prefix": "inbound",
        "codec_type": "HTTP2",
        "http2_protocol_options": http2,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    });
    let tls = json!({"require_client_certificate": true, "common_tls_context": context});
    json!({
        "name": "inbound",
        "address": address(std::net::Ipv6Addr::UNSPECIFIED.into(), 15008),
        "filter_chains": [{
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": typed("extensions.transport_sockets.tls.v3.DownstreamTlsContext", tls),
            },
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": typed(
                    "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    manager,
                ),
            }],
        }],
    })
}

/// The address that CONNECT names.
fn application() -> Value {
    json!({
        "name": "application",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {"use_http_header": true, "http_header_name": ":authority"},
    })
}
