//! Two tunnels' ends over loopback TCP with real certificates.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tunnel_credentials::{Certificate, CredentialSettings, Credentials, PeerRole, TestAuthority};
use tunnel_model::Identity;

use crate::http2::News;
use crate::{
    AppStream, Broken, ClientTunnel, ConnectHead, Incoming, Limits, Meter, Promised, Pump, Pumped,
    Reason, StreamError,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Bytes(std::cell::Cell<u64>, std::cell::Cell<u64>);

impl Meter for Bytes {
    fn sent_by_app(&self, bytes: u64) {
        self.0.set(self.0.get() + bytes);
    }
    fn given_to_app(&self, bytes: u64) {
        self.1.set(self.1.get() + bytes);
    }
}

pub(super) async fn certificate(authority: &Arc<TestAuthority>, name: &str) -> Arc<Certificate> {
    let settings = CredentialSettings::default();
    let (credentials, owner) = Credentials::start(settings, Arc::clone(authority) as _);
    tokio::spawn(owner);
    timeout(
        PATIENCE,
        credentials.certificate(&Identity::new("cluster.local", "default", name).unwrap()),
    )
    .await
    .unwrap()
}

/// A connected pair of TCP streams.
pub(super) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (a, b) = tokio::join!(TcpStream::connect(to), listener.accept());
    (a.unwrap(), b.unwrap().0)
}

/// A tunnel whose far end gives every stream to `app`.
async fn tunnel(limits: Limits, app: SocketAddr) -> ClientTunnel {
    tunnel_to(limits, move |incoming| {
        drop(spawn_local(deliver(incoming, app)));
    })
    .await
}

/// A tunnel whose far end gives every stream to `handle`.
async fn tunnel_to(limits: Limits, handle: impl FnMut(Incoming) + 'static) -> ClientTunnel {
    tunnel_over(pair().await, limits, std::future::pending(), handle).await
}

/// The same over any pair of byte streams.
async fn tunnel_over<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    (near, far): (S, S),
    limits: Limits,
    drain: impl Future<Output = ()> + 'static,
    handle: impl FnMut(Incoming) + 'static,
) -> ClientTunnel {
    let authority = Arc::new(TestAuthority::new("test"));
    let (client, server) = (
        certificate(&authority, "client").await,
        certificate(&authority, "server").await,
    );
    let served = limits.clone();
    spawn_local(async move {
        let (io, shown) = crate::accept(far, Arc::clone(&server.server), PATIENCE)
            .await
            .unwrap();
        let peer = server.peer(PeerRole::Client, &shown.unjudged).unwrap();
        assert_eq!(peer.service_account(), "client");
        crate::serve(io, &served, drain, std::future::pending(), handle)
            .await
            .ok();
    });
    let peer = "127.0.0.1".parse().unwrap();
    let (io, shown) = crate::connect(near, peer, Arc::clone(&client.client), PATIENCE)
        .await
        .unwrap();
    let peer = client.peer(PeerRole::Server, &shown.unjudged).unwrap();
    assert_eq!(peer.service_account(), "server");
    let promised = Promised::default();
    let (tunnel, drive) = ClientTunnel::start(io, &limits, promised);
    spawn_local(drive);
    tunnel
}

pub(super) async fn deliver(incoming: Incoming, app: SocketAddr) {
    if incoming.asked.authority.ends_with(":401") {
        incoming.refuse(StatusCode::UNAUTHORIZED);
        return;
    }
    let accepted = incoming.accept(None).unwrap();
    let app = AppStream::arm(TcpStream::connect(app).await.unwrap()).unwrap();
    Pump::serve(app, accepted, Bytes::default()).await;
}

pub(super) fn head(port: u16) -> ConnectHead<'static> {
    ConnectHead {
        authority: SocketAddr::from(([10, 0, 0, 1], port)),
        baggage: None,
        client: "10.0.0.2:5".parse().unwrap(),
        service: None,
        trace: 1,
        span: 1,
    }
}

/// Opens a stream for a new application connection; gives the application's end and the pump.
pub(super) async fn opened(tunnel: &ClientTunnel, port: u16) -> (TcpStream, Pump<Bytes>) {
    let (app, near) = pair().await;
    let open = tunnel.open(&head(port), tunnel.reserve()).unwrap();
    let near = AppStream::arm(near).unwrap();
    (app, Pump::call(near, open, Bytes::default()))
}

/// The same, with the pump at work; answers the application's end.
pub(super) async fn stream(
    tunnel: &ClientTunnel,
    port: u16,
) -> (TcpStream, tokio::task::JoinHandle<Result<u64, StreamError>>) {
    let (app, pump) = opened(tunnel, port).await;
    let done = spawn_local(async move {
        match pump.await {
            Pumped::Over { meter, result } => result.map(|()| meter.0.get()),
            Pumped::Unanswered(error) => Err(error.into()),
        }
    });
    (app, done)
}

/// An application that answers what it was sent, after the client's end, and only then closes.
pub(super) async fn reverse_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut app, _)) = listener.accept().await {
            spawn_local(async move {
                let mut all = Vec::new();
                app.read_to_end(&mut all).await.ok();
                all.reverse();
                app.write_all(&all).await.ok();
            });
        }
    });
    address
}

pub(super) fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(PATIENCE * 3, test).await.unwrap()
    })
}

#[test]
fn bytes_survive_half_close_both_ways_at_every_size() {
    run(async {
        let tunnel = tunnel(Limits::default(), reverse_echo().await).await;
        for size in [0, 1, 255, 256, 16_384, 16_385, 70_000, 5_000_000] {
            let sent: Vec<u8> = (0..size)
                .map(|i: usize| u8::try_from(i * 31 % 251).unwrap())
                .collect();
            let (app, done) = stream(&tunnel, 80).await;
            let (mut read, mut write) = app.into_split();
            let out = sent.clone();
            spawn_local(async move {
                write.write_all(&out).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let mut back = Vec::new();
            read.read_to_end(&mut back).await.unwrap();
            back.reverse();
            assert!(
                back == sent,
                "{size} bytes came back changed ({} bytes)",
                back.len()
            );
            assert_eq!(done.await.unwrap().unwrap(), size as u64);
        }
        assert_eq!(tunnel.state().streams(), 0);
    });
}

#[test]
fn many_streams_share_one_tunnel() {
    run(async {
        let tunnel = Rc::new(tunnel(Limits::default(), reverse_echo().await).await);
        let mut tasks = Vec::new();
        for n in 0..80_u8 {
            let tunnel = Rc::clone(&tunnel);
            tasks.push(spawn_local(async move {
                let (mut app, done) = stream(&tunnel, 80).await;
                app.write_all(&[n; 3000]).await.unwrap();
                app.shutdown().await.unwrap();
                let mut back = Vec::new();
                app.read_to_end(&mut back).await.unwrap();
                assert_eq!(back, [n; 3000]);
                done.await.unwrap().unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert!(tunnel.has_room());
    });
}

#[test]
fn a_refused_connect_resets_the_application() {
    run(async {
        let tunnel = tunnel(Limits::default(), reverse_echo().await).await;
        let (mut app, done) = stream(&tunnel, 401).await;
        let error = done.await.unwrap().unwrap_err();
        assert!(
            matches!(error, StreamError::Status(StatusCode::UNAUTHORIZED)),
            "{error}"
        );
        let mut byte = [0];
        let end = app.read(&mut byte).await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_stalled_reader_does_not_slow_its_siblings() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The first application connection never reads; the others echo.
        spawn_local(async move {
            let _stalled = listener.accept().await.unwrap();
            while let Ok((app, _)) = listener.accept().await {
                spawn_local(async move {
                    let (mut read, mut write) = app.into_split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        let tunnel = tunnel(Limits::default(), address).await;
        let (mut stalled, _pump) = stream(&tunnel, 80).await;
        spawn_local(async move { while stalled.write_all(&[7; 1000]).await.is_ok() {} });
        for n in 0..50_u8 {
            let (mut app, _pump) = stream(&tunnel, 80).await;
            for round in 0..20_u8 {
                app.write_all(&[n, round]).await.unwrap();
                let mut back = [0; 2];
                timeout(PATIENCE, app.read_exact(&mut back))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(back, [n, round]);
            }
        }
    });
}

#[test]
fn a_peer_that_only_connects_is_dropped_in_time() {
    run(async {
        let authority = Arc::new(TestAuthority::new("test"));
        let server = certificate(&authority, "server").await;
        let (_silent, far) = pair().await;
        let limit = Duration::from_millis(100);
        let error = crate::accept(far, Arc::clone(&server.server), limit)
            .await
            .unwrap_err();
        assert!(
            matches!(error, crate::TunnelError::HandshakeTimeout),
            "{error}"
        );
    });
}

#[test]
fn a_tunnel_that_retires_first_sends_what_it_was_given() {
    const SIZE: usize = 3 << 20;
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reader = spawn_local(async move {
            let mut app = listener.accept().await.unwrap().0;
            app.shutdown().await.unwrap();
            let mut room = vec![0; 256 << 10];
            let mut total = 0;
            loop {
                match app.read(&mut room).await.unwrap() {
                    0 => return total,
                    n => total += n,
                }
            }
        });
        // A narrow connection: what it does not take waits in the tunnel.
        let pipe = tokio::io::duplex(1000);
        let never = std::future::pending();
        let tunnel = tunnel_over(pipe, Limits::default(), never, move |incoming| {
            drop(spawn_local(deliver(incoming, address)));
        })
        .await;
        let (mut app, done) = stream(&tunnel, 80).await;
        tunnel.retire();
        assert!(!tunnel.has_room());
        app.write_all(&vec![3; SIZE]).await.unwrap();
        app.shutdown().await.unwrap();
        done.await.unwrap().unwrap();
        assert_eq!(reader.await.unwrap(), SIZE);
    });
}

#[test]
fn a_pump_that_is_cut_off_is_no_end_of_stream() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tunnel = tunnel(Limits::default(), address).await;
        let (mut near, pump) = stream(&tunnel, 80).await;
        let mut far = listener.accept().await.unwrap().0;
        near.write_all(b"half").await.unwrap();
        let mut half = [0; 4];
        far.read_exact(&mut half).await.unwrap();
        pump.abort();
        for app in [&mut near, &mut far] {
            let end = app.read(&mut [0]).await.unwrap_err();
            assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn what_a_reset_stream_began_still_counts() {
    run(async {
        let limits = Limits {
            max_streams: 4,
            ..Limits::default()
        };
        let begun = Rc::new(std::cell::RefCell::new(Vec::new()));
        let slow = Rc::clone(&begun);
        let tunnel = tunnel_to(limits, move |incoming| slow.borrow_mut().push(incoming)).await;
        for _ in 0..8 {
            let before = begun.borrow().len();
            let open = tunnel.open(&head(80), tunnel.reserve()).unwrap();
            while begun.borrow().len() == before {
                tokio::task::yield_now().await;
            }
            // The peer takes it back, and the protocol counts it no more.
            drop(open);
        }
        let open = tunnel.open(&head(80), tunnel.reserve()).unwrap();
        let refused = std::future::poll_fn(|cx| match open.stream.news(cx) {
            News::Broken(broken) => Poll::Ready(broken),
            _ => Poll::Pending,
        });
        let refused = refused.await;
        assert!(
            matches!(refused, Broken::Reset(Reason::REFUSED_STREAM)),
            "{refused}"
        );
        assert_eq!(begun.borrow().len(), 8);
        begun.borrow_mut().clear();
        let _open = tunnel.open(&head(80), tunnel.reserve()).unwrap();
        while begun.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_tunnel_whose_peer_drains_takes_no_new_streams_and_keeps_the_old() {
    run(async {
        let echo = reverse_echo().await;
        let (drain, draining) = tokio::sync::oneshot::channel::<()>();
        let draining = async move { drop(draining.await) };
        let tunnel = tunnel_over(pair().await, Limits::default(), draining, move |incoming| {
            drop(spawn_local(deliver(incoming, echo)));
        })
        .await;
        let (mut app, done) = stream(&tunnel, 80).await;
        app.write_all(b"olleh").await.unwrap();
        drain.send(()).unwrap();
        while tunnel.state().usable() {
            tokio::task::yield_now().await;
        }
        assert!(!tunnel.has_room());
        app.shutdown().await.unwrap();
        let mut back = Vec::new();
        app.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"hello");
        done.await.unwrap().unwrap();
    });
}
