//! Policies appear while connections are open: whom they forbid is cut off, and nobody else.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Result, bail};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::mesh::Mesh;
use e2e_tests::{Agent, Call, Pod, World};
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// From the mesh's word to the reset, however it came.
const SOON: Duration = Duration::from_secs(1);
const PORT: u16 = 8080;
const OTHER_PORT: u16 = 8081;

struct Shop {
    agent: Agent,
    mesh: Mesh,
    client: Pod,
    server: Pod,
    outside: Pod,
    _servers: [Server; 2],
    _world: World,
}

/// Long-lived connections to the server.
struct Open {
    by_tunnel: TcpStream,
    in_clear: TcpStream,
    /// To another port of it.
    aside: [TcpStream; 2],
}

impl Shop {
    fn open() -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let outside = world.pod(Mesh::OUTSIDE, "outside")?;
        let mesh = Mesh::default().pod(&client).pod(&server);
        let agent = Agent::start(&world, "node", &mesh, &json!({}))?;
        for pod in [&client, &server] {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        let servers = [
            Server::start(&server, PORT, Kind::Echo)?,
            Server::start(&server, OTHER_PORT, Kind::Echo)?,
        ];
        Ok(Self {
            agent,
            mesh,
            client,
            server,
            outside,
            _servers: servers,
            _world: world,
        })
    }

    /// Opens connections as soon as nothing forbids them.
    fn connections(&self) -> Open {
        self.agent.tell(&self.mesh).unwrap();
        let connect = |from: &Pod, port| {
            e2e_tests::until("a connection carries bytes", || {
                let stream = app::connect(from, self.server.at(port))?;
                app::exchange(&stream, b"first")?;
                Ok(stream)
            })
            .unwrap()
        };
        Open {
            by_tunnel: connect(&self.client, PORT),
            in_clear: connect(&self.outside, PORT),
            aside: [&self.client, &self.outside].map(|from| connect(from, OTHER_PORT)),
        }
    }

    fn tell(&self, extend: impl FnOnce(Mesh) -> Mesh) -> Instant {
        let began = Instant::now();
        self.agent.tell(&extend(self.mesh.clone())).unwrap();
        began
    }

    /// Whether the line of a connection that was cut says so.
    fn says(&self, source: &Pod, policy: &str) {
        let words = format!(
            "connection closed due to policy change: connection closed due to policy rejection: \
             explicitly denied by: {policy}"
        );
        let what = format!("a line for {policy}");
        self.agent
            .wait_for_access(&what, |line| {
                line.field("direction") == "inbound"
                    && line.field("src.addr").starts_with(&source.ipv4.to_string())
                    && line.field("error") == words
                    && line.field("decided_by") == format!("policy {policy}")
            })
            .unwrap();
    }
}

/// A reset, in time: an end would say that all there was has come.
fn cut(mut stream: &TcpStream, began: Instant) -> Result<()> {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(read) => bail!("{read} bytes instead of a reset"),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => bail!("{error} instead of a reset"),
    }
    let took = began.elapsed();
    anyhow::ensure!(took <= SOON, "cut after {took:?}");
    Ok(())
}

fn lives(streams: &[&TcpStream]) {
    for stream in streams {
        app::exchange(stream, b"still here").unwrap();
    }
}

fn to_the_port() -> Value {
    json!([[[{"destinationPorts": [PORT]}]]])
}

#[test]
fn whom_a_new_policy_forbids_is_cut_and_nobody_else() {
    let shop = Shop::open().unwrap();
    let rules = to_the_port();
    let cases: [(&str, &dyn Fn(Mesh) -> Mesh); 3] = [
        ("shop/named", &|mesh| {
            mesh.policy("named", "Deny", &rules, &[&shop.server])
        }),
        ("shop/spaced", &|mesh| {
            mesh.wide_policy("spaced", Mesh::NAMESPACE, "Namespace", &rules)
        }),
        ("istio-system/meshed", &|mesh| {
            mesh.wide_policy("meshed", "istio-system", "Global", &rules)
        }),
    ];
    for (policy, extend) in cases {
        let open = shop.connections();
        let began = shop.tell(extend);
        cut(&open.by_tunnel, began).unwrap();
        cut(&open.in_clear, began).unwrap();
        shop.says(&shop.client, policy);
        shop.says(&shop.outside, policy);
        lives(&open.aside.each_ref());
    }
    let metrics = shop.agent.metrics().unwrap();
    let denied = metrics
        .lines()
        .filter(|line| line.starts_with("istio_tcp_connections_closed_total"))
        .any(|line| line.contains("response_flags=\"DENY\""));
    assert!(denied, "{metrics}");
}

#[test]
fn strict_cuts_what_came_in_clear_and_what_does_not_concern_a_pod_leaves_it_alone() {
    let shop = Shop::open().unwrap();
    let open = shop.connections();
    let all = json!([[]]);
    shop.tell(|mesh| {
        let mesh = mesh.policy("other", "Deny", &all, &[&shop.client]);
        mesh.wide_policy("outside", Mesh::OUTSIDE, "Namespace", &all)
    });
    // A caller of the client shows that this has been heard of.
    e2e_tests::until("the policy is in force", || {
        app::refused(&shop.server, shop.client.at(PORT), "hello")?;
        let log = shop.agent.log();
        anyhow::ensure!(log.contains("explicitly denied by: shop/other"), "not yet");
        Ok(())
    })
    .unwrap();
    let [tunnel, clear] = &open.aside;
    lives(&[&open.by_tunnel, &open.in_clear, tunnel, clear]);
    let began = shop.tell(|mesh| mesh.strict(&shop.server));
    cut(&open.in_clear, began).unwrap();
    cut(clear, began).unwrap();
    shop.says(&shop.outside, "shop/strict-server");
    lives(&[&open.by_tunnel, tunnel]);
}
