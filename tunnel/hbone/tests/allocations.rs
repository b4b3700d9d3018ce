//! What both ends of a tunnel allocate, counted by the allocator: for a message, for a stream, and what a stream holds
//! while it is idle. Everything is on one thread, whose allocations are counted: the two ends of the tunnel, and the two
//! applications with their sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tunnel_credentials::{Certificate, CredentialSettings, Credentials, TestAuthority};
use tunnel_hbone::{AppStream, ClientTunnel, ConnectHead, Incoming, Limits, Meter, Promised, Pump};
use tunnel_model::Identity;

const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGE: [u8; 128] = [7; 128];
const WARM_UP: u64 = 100;
const MESSAGES: u64 = 1000;
const STREAMS: u64 = 200;
/// Open at once; a tunnel of the pool has no more than 100.
const IDLE: u64 = 90;

/// For all messages, there and back: none for any of them was seen.
const ALLOCATIONS_OF_MESSAGES: u64 = 100;
/// For all streams, each of which carries a message there and back: 21 for each were seen.
const ALLOCATIONS_OF_STREAMS: u64 = 4600;
/// What all streams may leave behind, far less than one for each: 0 were seen.
const LEFT_OF_STREAMS: i64 = 10;
/// Bytes for one, with both ends: 2662 were seen.
const BYTES_OF_IDLE: i64 = 2930;

#[derive(Debug)]
struct Nothing;

impl Meter for Nothing {
    fn sent_by_app(&self, _bytes: u64) {}
    fn given_to_app(&self, _bytes: u64) {}
}

/// A tunnel whose far end gives every stream to an application that echoes.
struct Lab {
    tunnel: Option<ClientTunnel>,
    ended: Rc<Cell<u64>>,
    local: LocalSet,
    // Outlives what runs on it.
    runtime: tokio::runtime::Runtime,
}

impl Lab {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut lab = Self {
            tunnel: None,
            ended: Rc::default(),
            local: LocalSet::new(),
            runtime,
        };
        lab.tunnel = Some(lab.run(tunnel(Rc::clone(&lab.ended))));
        lab
    }

    fn run<F: Future>(&self, work: F) -> F::Output {
        let work = async { timeout(PATIENCE, work).await.unwrap() };
        self.local.block_on(&self.runtime, work)
    }

    fn count(&self, work: impl Future<Output = ()>) -> AllocationInfo {
        measure(|| self.run(work))
    }

    async fn open(&self) -> Stream {
        let tunnel = self.tunnel.as_ref().unwrap();
        let (app, near) = pair().await;
        let open = tunnel.open(&head(), tunnel.reserve()).unwrap();
        let pump = Pump::call(AppStream::arm(near).unwrap(), open, Nothing);
        let pump = spawn_local(async move { drop(pump.await) });
        Stream { app, pump }
    }

    /// One after the other, each to the end on both sides.
    async fn streams(&self, count: u64) {
        let before = self.ended.get();
        for number in 1..=count {
            let mut stream = self.open().await;
            stream.exchange(1).await;
            stream.close().await;
            while self.ended.get() < before + number {
                tokio::task::yield_now().await;
            }
        }
    }
}

struct Stream {
    app: TcpStream,
    pump: tokio::task::JoinHandle<()>,
}

impl Stream {
    async fn exchange(&mut self, count: u64) {
        for _ in 0..count {
            self.app.write_all(&MESSAGE).await.unwrap();
            let mut back = [0; MESSAGE.len()];
            self.app.read_exact(&mut back).await.unwrap();
            assert_eq!(back, MESSAGE);
        }
    }

    async fn close(mut self) {
        self.app.shutdown().await.unwrap();
        assert_eq!(self.app.read(&mut [0]).await.unwrap(), 0);
        self.pump.await.unwrap();
    }
}

async fn tunnel(ended: Rc<Cell<u64>>) -> ClientTunnel {
    let authority = Arc::new(TestAuthority::new("test"));
    let (client, server) = (
        certificate(&authority, "client").await,
        certificate(&authority, "server").await,
    );
    let (near, far) = pair().await;
    let echo = echo().await;
    spawn_local(async move {
        let tls = Arc::clone(&server.server);
        let (io, _) = tunnel_hbone::accept(far, tls, PATIENCE).await.unwrap();
        let handle = move |incoming| {
            let ended = Rc::clone(&ended);
            drop(spawn_local(async move {
                deliver(incoming, echo).await;
                ended.set(ended.get() + 1);
            }));
        };
        let (drain, end) = (std::future::pending(), std::future::pending());
        let limits = Limits::default();
        let served = tunnel_hbone::serve(io, &limits, drain, end, handle);
        // The test's end is the tunnel's.
        drop(served.await);
    });
    let peer = "127.0.0.1".parse().unwrap();
    let tls = Arc::clone(&client.client);
    let (io, _) = tunnel_hbone::connect(near, peer, tls, PATIENCE)
        .await
        .unwrap();
    let limits = Limits::default();
    let (tunnel, drive) = ClientTunnel::start(io, &limits, Promised::default());
    spawn_local(drive);
    tunnel
}

async fn certificate(authority: &Arc<TestAuthority>, name: &str) -> Arc<Certificate> {
    let settings = CredentialSettings::default();
    let (credentials, owner) = Credentials::start(settings, Arc::clone(authority) as _);
    tokio::spawn(owner);
    let identity = Identity::new("cluster.local", "default", name).unwrap();
    credentials.certificate(&identity).await
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (a, b) = tokio::join!(TcpStream::connect(to), listener.accept());
    (a.unwrap(), b.unwrap().0)
}

/// An application without a buffer of its own, so that what is counted is the tunnel's.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut app, _)) = listener.accept().await {
            spawn_local(async move {
                let mut message = [0; MESSAGE.len()];
                while app.read_exact(&mut message).await.is_ok() {
                    app.write_all(&message).await.unwrap();
                }
            });
        }
    });
    address
}

async fn deliver(incoming: Incoming, app: SocketAddr) {
    let accepted = incoming.accept(None).unwrap();
    let app = AppStream::arm(TcpStream::connect(app).await.unwrap()).unwrap();
    drop(Pump::serve(app, accepted, Nothing).await);
}

fn head() -> ConnectHead<'static> {
    ConnectHead {
        authority: SocketAddr::from(([10, 0, 0, 1], 80)),
        baggage: None,
        client: "10.0.0.2:5".parse().unwrap(),
        service: None,
        trace: 1,
        span: 1,
    }
}

#[test]
fn a_message_costs_few_allocations() {
    let lab = Lab::new();
    let mut stream = lab.run(lab.open());
    lab.run(stream.exchange(WARM_UP));
    let seen = lab.count(stream.exchange(MESSAGES)).count_total;
    assert!(
        seen <= ALLOCATIONS_OF_MESSAGES,
        "{seen} allocations for {MESSAGES} messages, at most {ALLOCATIONS_OF_MESSAGES}"
    );
}

#[test]
fn a_stream_costs_few_allocations_and_leaves_nothing() {
    let lab = Lab::new();
    lab.run(lab.streams(WARM_UP));
    let seen = lab.count(lab.streams(STREAMS));
    assert!(
        seen.count_total <= ALLOCATIONS_OF_STREAMS,
        "{} allocations for {STREAMS} streams, at most {ALLOCATIONS_OF_STREAMS}",
        seen.count_total
    );
    assert!(
        seen.count_current <= LEFT_OF_STREAMS,
        "{STREAMS} streams have ended and left {} allocations, {} bytes",
        seen.count_current,
        seen.bytes_current
    );
}

#[test]
fn an_idle_stream_holds_little() {
    let lab = Lab::new();
    lab.run(lab.streams(WARM_UP));
    let mut open = Vec::with_capacity(usize::try_from(IDLE).unwrap());
    let seen = lab.count(async {
        for _ in 0..IDLE {
            let mut stream = lab.open().await;
            stream.exchange(1).await;
            open.push(stream);
        }
    });
    let each = seen.bytes_current / IDLE.cast_signed();
    assert!(
        each <= BYTES_OF_IDLE,
        "{each} bytes for an idle stream, at most {BYTES_OF_IDLE}"
    );
}
