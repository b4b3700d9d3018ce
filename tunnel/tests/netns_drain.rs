//! A pod drains and leaves while peers call it. Needs root; fails without.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tunnel::{AdmitPod, Limits, Parts, Tunnel, TunnelHandle, TunnelSettings};
use tunnel_credentials::{Certificate, CredentialSettings, Credentials, TestAuthority};
use tunnel_discovery::{MeshStore, parse_document};
use tunnel_hbone::{AppStream, ClientTunnel, ConnectHead, Meter, Promised, Pump};
use tunnel_model::{Identity, PodUid};
use tunnel_sockets::{Namespaces, Sockets};
use tunnel_telemetry::{Telemetry, TelemetrySettings};

const PATIENCE: Duration = Duration::from_secs(20);
const CLIENT: &str = "10.9.0.1";
const SERVER: &str = "10.9.0.2";
const UID: &str = "server-uid";

/// A pod's namespace with both addresses, and a runtime in it.
fn in_a_pod(test: impl AsyncFnOnce() + Send) {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
        for arguments in [
            "link set lo up".to_owned(),
            format!("addr add {CLIENT}/32 dev lo"),
            format!("addr add {SERVER}/32 dev lo"),
        ] {
            let made = Command::new("ip").args(arguments.split(' ')).status();
            assert!(made.unwrap().success(), "ip {arguments}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        LocalSet::new().block_on(&runtime.unwrap(), async {
            timeout(PATIENCE * 3, test()).await.unwrap();
        });
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap());
}

/// The way to an owner of namespaces, on a thread that ends with the last handle.
fn sockets() -> Sockets {
    let (sockets, inbox) = Sockets::channel();
    thread::spawn(move || Namespaces::new().unwrap().serve(inbox));
    sockets
}

/// The data plane with one pod, an echoing application in it, and a peer's certificate.
struct Lab {
    handle: TunnelHandle,
    client: Arc<Certificate>,
    _mesh: MeshStore,
}

impl Lab {
    async fn open() -> Self {
        let sockets = sockets();
        let credentials = CredentialSettings::default();
        let authority = Arc::new(TestAuthority::new("cluster.local"));
        let (credentials, owner) = Credentials::start(credentials, authority as _);
        spawn_local(owner);
        let mesh = mesh();
        let sink = Box::new(std::io::sink());
        let (telemetry, _) = Telemetry::with_sink(TelemetrySettings::default(), sink).unwrap();
        let parts = Parts {
            mesh: mesh.reader(),
            credentials: credentials.clone(),
            telemetry,
            sockets,
            occupants: None,
        };
        let settings = TunnelSettings {
            threads: 2,
            ..TunnelSettings::default()
        };
        let (_, handle) = Tunnel::start(&settings, &parts).unwrap();
        let netns = File::open("/proc/thread-self/ns/net").unwrap();
        let pod = AdmitPod {
            uid: PodUid::from(UID),
            name: Arc::from("server"),
            namespace: Arc::from("default"),
            identity: identity("server"),
            netns: netns.into(),
            ips: vec![SERVER.parse().unwrap()],
        };
        handle.admit(pod).await.unwrap();
        spawn_local(echo(TcpListener::bind((SERVER, 8080)).await.unwrap()));
        let name = identity("client");
        let client = timeout(PATIENCE, credentials.certificate(&name)).await;
        Self {
            handle,
            client: client.unwrap(),
            _mesh: mesh,
        }
    }

    /// A peer's new tunnel to the pod.
    async fn tunnel(&self) -> ClientTunnel {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(CLIENT.parse().unwrap(), 0))
            .unwrap();
        let to = SocketAddr::new(SERVER.parse().unwrap(), 15008);
        let stream = socket.connect(to).await.unwrap();
        let config = Arc::clone(&self.client.client);
        let (io, _) = tunnel_hbone::connect(stream, to.ip(), config, PATIENCE)
            .await
            .unwrap();
        let limits = Limits::default();
        let (tunnel, drive) = ClientTunnel::start(io, &limits, Promised::default());
        spawn_local(drive);
        tunnel
    }

    async fn drain(&self, patience: Duration) -> usize {
        self.handle
            .drain_pod(&PodUid::from(UID), patience)
            .await
            .left
    }
}

fn identity(name: &str) -> Identity {
    Identity::new("cluster.local", "default", name).unwrap()
}

fn mesh() -> MeshStore {
    let workload = |name: &str, ip: &str| {
        format!(
            r#"{{"uid": "Kubernetes//Pod/default/{name}", "name": "{name}", "namespace": "default",
            "serviceAccount": "{name}", "trustDomain": "cluster.local", "workloadIps": ["{ip}"],
            "protocol": "HBONE", "status": "Healthy"}}"#
        )
    };
    let workloads = [workload("client", CLIENT), workload("server", SERVER)].join(",");
    let text = format!(r#"{{"workloads": [{workloads}], "services": [], "policies": []}}"#);
    let mesh = MeshStore::new();
    mesh.set_state(parse_document(&text, Path::new("mesh")).unwrap());
    mesh
}

async fn echo(listener: TcpListener) {
    while let Ok((app, _)) = listener.accept().await {
        spawn_local(async move {
            let (mut read, mut write) = app.into_split();
            tokio::io::copy(&mut read, &mut write).await.ok();
        });
    }
}

struct Uncounted;

impl Meter for Uncounted {
    fn sent_by_app(&self, _: u64) {}
    fn given_to_app(&self, _: u64) {}
}

/// A connection of the peer's application by a tunnel.
async fn call(tunnel: &ClientTunnel) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (app, near) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    let head = ConnectHead {
        authority: SocketAddr::new(SERVER.parse().unwrap(), 8080),
        baggage: None,
        client: SocketAddr::new(CLIENT.parse().unwrap(), 1),
        service: None,
        trace: 1,
        span: 1,
    };
    let stream = tunnel.open(&head, tunnel.reserve()).unwrap();
    let near = AppStream::arm(near.unwrap().0).unwrap();
    spawn_local(Pump::call(near, stream, Uncounted));
    app.unwrap()
}

async fn echoes(app: &mut TcpStream) {
    app.write_all(b"there?").await.unwrap();
    let mut back = [0; 6];
    timeout(PATIENCE, app.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&back, b"there?");
}

async fn ends(mut app: TcpStream) {
    app.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, app.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

/// Waits until the peer has heard that a tunnel is out of use.
async fn hears(tunnel: &ClientTunnel) {
    let heard = async {
        while tunnel.state().usable() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, heard).await.unwrap();
}

#[test]
fn a_pod_that_drains_serves_what_it_has_and_whoever_has_not_heard() {
    in_a_pod(async || {
        let lab = Lab::open().await;
        assert!(lab.handle.alive(PATIENCE).await);
        let early = lab.tunnel().await;
        let mut open = call(&early).await;
        echoes(&mut open).await;
        let talk = async {
            hears(&early).await;
            echoes(&mut open).await;
            let late = lab.tunnel().await;
            let mut other = call(&late).await;
            echoes(&mut other).await;
            assert!(late.state().usable(), "its peer has nowhere else to go");
            ends(open).await;
            echoes(&mut other).await;
            ends(other).await;
            hears(&late).await;
        };
        let (left, ()) = tokio::join!(lab.drain(PATIENCE), talk);
        assert_eq!(left, 0);
        // It is served until it is released: the drain may be taken back.
        let after = lab.tunnel().await;
        let mut open = call(&after).await;
        echoes(&mut open).await;
        lab.handle.release(&PodUid::from(UID)).await;
        hears(&after).await;
        let end = timeout(PATIENCE, open.read(&mut [0])).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let refused = TcpStream::connect((SERVER, 15008)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_drain_ends_in_time_and_says_what_is_left() {
    in_a_pod(async || {
        let lab = Lab::open().await;
        let tunnel = lab.tunnel().await;
        let (mut first, mut second) = (call(&tunnel).await, call(&tunnel).await);
        echoes(&mut first).await;
        echoes(&mut second).await;
        assert_eq!(lab.drain(Duration::from_millis(100)).await, 2);
        // Nothing has been taken from it.
        echoes(&mut first).await;
        let unknown = PodUid::from("nobody");
        assert_eq!(lab.handle.drain_pod(&unknown, PATIENCE).await.left, 0);
    });
}
