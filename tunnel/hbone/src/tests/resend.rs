//! Streams that fail before they are answered, and the order that makes it safe to send them again.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tunnel_credentials::TestAuthority;

use super::loopback::{
    Bytes, PATIENCE, certificate, deliver, head, opened, pair, reverse_echo, run,
};
use crate::promise::Promise;
use crate::{AppStream, ClientTunnel, Incoming, Limits, Promised, Pump, Pumped};

fn promised(promise: Promise) -> Promised {
    let promised = Promised::default();
    promised.learn(promise);
    promised
}

/// Both ends of a tunnel; aborting the task is the death of the peer's process.
async fn tunnel<N, F>(
    ends: (N, F),
    promised: Promised,
    handle: impl FnMut(Incoming) + 'static,
) -> (
    ClientTunnel,
    impl Future<Output = std::io::Result<()>>,
    JoinHandle<()>,
)
where
    N: AsyncRead + AsyncWrite + Unpin + 'static,
    F: AsyncRead + AsyncWrite + Unpin + 'static,
{
    tunnel_with(Limits::default(), ends, promised, handle).await
}

async fn tunnel_with<N, F>(
    limits: Limits,
    (near, far): (N, F),
    promised: Promised,
    handle: impl FnMut(Incoming) + 'static,
) -> (
    ClientTunnel,
    impl Future<Output = std::io::Result<()>>,
    JoinHandle<()>,
)
where
    N: AsyncRead + AsyncWrite + Unpin + 'static,
    F: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let authority = Arc::new(TestAuthority::new("test"));
    let (client, server) = (
        certificate(&authority, "client").await,
        certificate(&authority, "server").await,
    );
    let peer = spawn_local(async move {
        let (io, _) = crate::accept(far, Arc::clone(&server.server), PATIENCE)
            .await
            .unwrap();
        let never = std::future::pending;
        crate::serve(io, &Limits::default(), never(), never(), handle)
            .await
            .ok();
    });
    let to = "127.0.0.1".parse().unwrap();
    let io = crate::connect(near, to, Arc::clone(&client.client), PATIENCE)
        .await
        .unwrap()
        .0;
    let (tunnel, drive) = ClientTunnel::start(io, &limits, promised);
    (tunnel, drive, peer)
}

/// A tunnel to a peer that does nothing with the streams it gets.
async fn mute(promise: Promise) -> (ClientTunnel, Rc<Cell<usize>>, JoinHandle<()>) {
    let got = Rc::new(Cell::new(0));
    let (count, mut begun) = (Rc::clone(&got), Vec::new());
    let handle = move |incoming: Incoming| {
        begun.push(incoming);
        count.set(begun.len());
    };
    let (tunnel, drive, peer) = tunnel(pair().await, promised(promise), handle).await;
    spawn_local(drive);
    (tunnel, got, peer)
}

async fn serving(app: SocketAddr) -> ClientTunnel {
    let handle = move |incoming| drop(spawn_local(deliver(incoming, app)));
    let (tunnel, drive, _) = tunnel(pair().await, Promised::default(), handle).await;
    spawn_local(drive);
    tunnel
}

/// Lets an application say all it has to say, then its stream fail with `fail`.
async fn fails_after(
    tunnel: &ClientTunnel,
    said: &[u8],
    fail: impl AsyncFnOnce(),
) -> (TcpStream, Pump<Bytes>, Pumped<Bytes>) {
    let (mut app, mut pump) = opened(tunnel, 80).await;
    app.write_all(said).await.unwrap();
    app.shutdown().await.unwrap();
    let ended = {
        let mut pumping = pin!(&mut pump);
        let fail = async {
            fail().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = &mut pumping => ended,
            () = fail => unreachable!("it is pending for ever"),
        }
    };
    (app, pump, ended)
}

/// Carries on by a tunnel to `reverse_echo`: all that was said arrives once, and so does the end.
async fn carried(mut app: TcpStream, mut pump: Pump<Bytes>, said: &[u8]) {
    let next = serving(reverse_echo().await).await;
    pump.carry_on(next.open(&head(80), next.reserve()).unwrap());
    let done = spawn_local(pump);
    let mut back = Vec::new();
    app.read_to_end(&mut back).await.unwrap();
    back.reverse();
    assert!(back == said, "{} of {} bytes", back.len(), said.len());
    let Pumped::Over { result, .. } = done.await.unwrap() else {
        panic!("it was answered");
    };
    result.unwrap();
}

async fn dies(peer: JoinHandle<()>, got: Rc<Cell<usize>>) {
    while got.get() == 0 {
        yield_now().await;
    }
    peer.abort();
}

#[test]
fn what_a_peer_refused_unprocessed_is_carried_on_with_all_its_bytes() {
    run(async {
        for promise in [Promise::Nothing, Promise::AnswersFirst] {
            let refuse = |incoming: Incoming| {
                drop(spawn_local(async move {
                    // It has the bytes already.
                    while !incoming.is_all_here() {
                        yield_now().await;
                    }
                }));
            };
            let (tunnel, drive, _peer) = tunnel(pair().await, promised(promise), refuse).await;
            spawn_local(drive);
            let said = vec![7; 50_000];
            let (app, pump, ended) = fails_after(&tunnel, &said, async || {}).await;
            assert!(matches!(ended, Pumped::Unanswered(_)), "{ended:?}");
            pump.retire_tunnel();
            assert!(!tunnel.has_room());
            carried(app, pump, &said).await;
        }
    });
}

#[test]
fn a_dead_peer_that_answers_first_has_given_nothing_away() {
    run(async {
        // More than is kept: the rest is still with the application.
        for size in [0, 1, 200_000] {
            let (tunnel, got, peer) = mute(Promise::AnswersFirst).await;
            let said = vec![3; size];
            let (app, pump, ended) =
                fails_after(&tunnel, &said, async || dies(peer, got).await).await;
            assert!(matches!(ended, Pumped::Unanswered(_)), "{ended:?}");
            carried(app, pump, &said).await;
        }
    });
}

#[test]
fn a_dead_peer_that_promised_nothing_may_have_given_away_what_it_got() {
    run(async {
        let (tunnel, got, peer) = mute(Promise::Nothing).await;
        let (mut app, pump, ended) =
            fails_after(&tunnel, b"x", async || dies(peer, got).await).await;
        let Pumped::Over { result, .. } = ended else {
            panic!("{ended:?}");
        };
        result.unwrap_err();
        drop(pump);
        let end = app.read(&mut [0]).await.unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_stranger_gets_nothing_before_its_first_answer() {
    run(async {
        let (tunnel, got, peer) = mute(Promise::Unknown).await;
        let (app, pump, ended) = fails_after(&tunnel, b"x", async || dies(peer, got).await).await;
        assert!(matches!(ended, Pumped::Unanswered(_)), "{ended:?}");
        carried(app, pump, b"x").await;
        // And afterwards it is none.
        let tunnel = serving(reverse_echo().await).await;
        let (mut app, pump) = opened(&tunnel, 80).await;
        spawn_local(pump);
        app.write_all(b"ab").await.unwrap();
        app.shutdown().await.unwrap();
        app.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!(tunnel.state().promise(), Promise::AnswersFirst);
    });
}

#[test]
fn a_refusal_is_final_whatever_was_promised() {
    run(async {
        let refuse = |incoming: Incoming| incoming.refuse(StatusCode::UNAUTHORIZED);
        let (tunnel, drive, _peer) =
            tunnel(pair().await, promised(Promise::AnswersFirst), refuse).await;
        spawn_local(drive);
        let (_app, _pump, ended) = fails_after(&tunnel, b"x", async || {}).await;
        assert!(
            matches!(ended, Pumped::Over { result: Err(_), .. }),
            "{ended:?}"
        );
    });
}

/// A connection that is read only while it may be.
struct Gated {
    pipe: DuplexStream,
    open: Rc<Cell<bool>>,
    reader: Rc<Notify>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.open.get() {
            let (waker, reader) = (cx.waker().clone(), Rc::clone(&self.reader));
            spawn_local(async move {
                reader.notified().await;
                waker.wake();
            });
            return Poll::Pending;
        }
        Pin::new(&mut self.pipe).poll_read(cx, room)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[test]
fn the_application_gets_nothing_before_the_answer_is_out() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = listener.local_addr().unwrap();
        // So narrow that no answer fits into it, and not read from the moment of the request.
        let (pipe, far) = tokio::io::duplex(16);
        let (open, reader) = (Rc::new(Cell::new(true)), Rc::new(Notify::new()));
        let near = Gated {
            pipe,
            open: Rc::clone(&open),
            reader: Rc::clone(&reader),
        };
        let close = Rc::clone(&open);
        let handle = move |incoming| {
            close.set(false);
            drop(spawn_local(deliver(incoming, app)));
        };
        let (tunnel, drive, _peer) =
            tunnel((near, far), promised(Promise::AnswersFirst), handle).await;
        spawn_local(drive);
        let (mut client, pump) = opened(&tunnel, 80).await;
        spawn_local(pump);
        client.write_all(b"too early?").await.unwrap();
        let mut server = listener.accept().await.unwrap().0;
        for _ in 0..2000 {
            yield_now().await;
        }
        let early = server.try_read(&mut [0; 10]).map_err(|error| error.kind());
        assert_eq!(early, Err(ErrorKind::WouldBlock));
        open.set(true);
        reader.notify_waiters();
        let mut got = [0; 10];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"too early?");
    });
}

#[test]
fn what_a_silent_peer_was_sent_may_have_arrived() {
    run(async {
        let limits = Limits {
            ping_interval: Duration::from_millis(20),
            ping_timeout: Duration::from_millis(20),
            ..Limits::default()
        };
        let (pipe, far) = tokio::io::duplex(1 << 20);
        let open = Rc::new(Cell::new(true));
        let near = Gated {
            pipe,
            open: Rc::clone(&open),
            reader: Rc::default(),
        };
        let mut begun = Vec::new();
        // From the request on, nothing that it says arrives.
        let handle = move |incoming: Incoming| {
            open.set(false);
            begun.push(incoming);
        };
        let promised = promised(Promise::AnswersFirst);
        let (tunnel, drive, _peer) = tunnel_with(limits, (near, far), promised, handle).await;
        spawn_local(drive);
        let (_app, _pump, ended) = fails_after(&tunnel, b"x", async || {}).await;
        assert!(
            matches!(ended, Pumped::Over { result: Err(_), .. }),
            "{ended:?}"
        );
    });
}

#[test]
fn a_connection_that_is_dropped_is_reset_and_one_that_ended_well_is_not() {
    run(async {
        for well in [true, false] {
            let (mut far, near) = pair().await;
            let mut near = AppStream::arm(near).unwrap();
            near.write_all(b"end").await.unwrap();
            if well {
                near.end_well();
            }
            drop(near);
            let mut got = Vec::new();
            let end = far
                .read_to_end(&mut got)
                .await
                .map_err(|error| error.kind());
            let expected = if well {
                Ok(3)
            } else {
                Err(ErrorKind::ConnectionReset)
            };
            assert_eq!(end, expected);
        }
    });
}
