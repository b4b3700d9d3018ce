//! Our ends against another implementation of HTTP/2, and another's record layer, over real sockets.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{spawn_local, yield_now};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tunnel_credentials::TestAuthority;

use super::loopback::{PATIENCE, certificate, deliver, opened, pair, reverse_echo, run, stream};
use crate::{Broken, ClientTunnel, Incoming, Limits, Promised, Pumped, StreamError};

type Client = h2::client::SendRequest<Bytes>;
type Server = h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>;

fn pattern(size: usize, seed: usize) -> Vec<u8> {
    (0..size)
        .map(|i| u8::try_from((i * 31 + seed) % 251).unwrap())
        .collect()
}

/// Another's client of our server; gives each stream to `handle`.
async fn to_us(
    builder: h2::client::Builder,
    limits: Limits,
    drain: impl Future<Output = ()> + 'static,
    handle: impl FnMut(Incoming) + 'static,
) -> Client {
    let authority = Arc::new(TestAuthority::new("test"));
    let ours = certificate(&authority, "server").await;
    let theirs = certificate(&authority, "client").await;
    let (near, far) = pair().await;
    spawn_local(async move {
        let config = Arc::clone(&ours.server);
        let (io, _) = crate::accept(far, config, PATIENCE).await.unwrap();
        let never = std::future::pending();
        crate::serve(io, &limits, drain, never, handle).await.ok();
    });
    let name = ServerName::IpAddress(IpAddr::from([127, 0, 0, 1]).into());
    let connector = TlsConnector::from(Arc::clone(&theirs.client));
    let tls = connector.connect(name, near).await.unwrap();
    let (client, connection) = builder.handshake(tls).await.unwrap();
    spawn_local(connection);
    client
}

/// Our client of another's server, which `serve` has.
async fn to_them<F: Future<Output = ()> + 'static>(
    builder: h2::server::Builder,
    serve: impl FnOnce(Server) -> F + 'static,
) -> ClientTunnel {
    let authority = Arc::new(TestAuthority::new("test"));
    let theirs = certificate(&authority, "server").await;
    let ours = certificate(&authority, "client").await;
    let (near, far) = pair().await;
    spawn_local(async move {
        let acceptor = TlsAcceptor::from(Arc::clone(&theirs.server));
        let tls = acceptor.accept(far).await.unwrap();
        serve(builder.handshake(tls).await.unwrap()).await;
    });
    let peer = "127.0.0.1".parse().unwrap();
    let config = Arc::clone(&ours.client);
    let (io, _) = crate::connect(near, peer, config, PATIENCE).await.unwrap();
    let (tunnel, drive) = ClientTunnel::start(io, &Limits::default(), Promised::default());
    spawn_local(drive);
    tunnel
}

async fn send_all(stream: &mut SendStream<Bytes>, data: &[u8]) {
    let mut rest = Bytes::copy_from_slice(data);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let some = rest.split_to(room.unwrap().unwrap().min(rest.len()));
        stream.send_data(some, false).unwrap();
    }
}

async fn read_some(stream: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let some = stream.data().await?;
    if let Ok(data) = &some {
        stream.flow_control().release_capacity(data.len()).unwrap();
    }
    Some(some)
}

async fn read_all(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(some) = read_some(stream).await {
        all.extend(some?);
    }
    Ok(all)
}

fn connect(authority: &str) -> Request<()> {
    let uri = http::Uri::builder().authority(authority).build().unwrap();
    let request = Request::builder().method(Method::CONNECT).uri(uri);
    request.body(()).unwrap()
}

async fn call(client: &Client, authority: &str) -> (SendStream<Bytes>, h2::client::ResponseFuture) {
    let mut client = client.clone().ready().await.unwrap();
    let (answer, stream) = client.send_request(connect(authority), false).unwrap();
    (stream, answer)
}

/// Sends and reads at once, ends, and reads to the end.
async fn talks(client: &Client, n: usize, size: usize) {
    let (mut send, answer) = call(client, "10.0.0.1:80").await;
    let sent = pattern(size, n);
    let out = sent.clone();
    spawn_local(async move {
        send_all(&mut send, &out).await;
        send.send_data(Bytes::new(), true).unwrap();
    });
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut back = read_all(&mut answer.into_body()).await.unwrap();
    back.reverse();
    assert!(back == sent, "stream {n}: {} of {size} bytes", back.len());
}

async fn to_apps(builder: h2::client::Builder, limits: Limits) -> Client {
    let echo = reverse_echo().await;
    let never = std::future::pending();
    to_us(builder, limits, never, move |incoming| {
        drop(spawn_local(deliver(incoming, echo)));
    })
    .await
}

#[test]
fn anothers_client_is_served_with_its_own_windows() {
    run(async {
        let client = to_apps(h2::client::Builder::new(), Limits::default()).await;
        for size in [0, 1, 16_384, 16_385, 65_535, 65_536, 3_000_000] {
            talks(&client, size, size).await;
        }
        let streams: Vec<_> = (0..60)
            .map(|n| {
                let client = client.clone();
                spawn_local(async move { talks(&client, n, 100_000 + n * 999).await })
            })
            .collect();
        for stream in streams {
            stream.await.unwrap();
        }
    });
}

#[test]
fn tiny_windows_on_both_sides_only_take_longer() {
    run(async {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(777).max_frame_size(16_384);
        let limits = Limits {
            stream_window: 65_535,
            tunnel_window: 70_000,
            max_frame: 16_384,
            ..Limits::default()
        };
        let client = to_apps(builder, limits).await;
        let streams: Vec<_> = (0..20)
            .map(|n| {
                let client = client.clone();
                spawn_local(async move { talks(&client, n, 50_000 + n * 999).await })
            })
            .collect();
        for stream in streams {
            stream.await.unwrap();
        }
    });
}

#[test]
fn anothers_reset_is_the_applications_and_ours_is_anothers() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let never = std::future::pending();
        let (builder, limits) = (h2::client::Builder::new(), Limits::default());
        let client = to_us(builder, limits, never, move |incoming| {
            drop(spawn_local(deliver(incoming, address)));
        })
        .await;
        let (mut send, answer) = call(&client, "10.0.0.1:80").await;
        send.send_data(Bytes::from_static(b"half"), false).unwrap();
        let mut app = listener.accept().await.unwrap().0;
        assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
        app.read_exact(&mut [0; 4]).await.unwrap();
        send.send_reset(Reason::INTERNAL_ERROR);
        let end = app.read(&mut [0]).await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);

        let (_send, answer) = call(&client, "10.0.0.1:80").await;
        let app = listener.accept().await.unwrap().0;
        let mut body = answer.await.unwrap().into_body();
        app.set_zero_linger().unwrap();
        drop(app);
        let end = read_all(&mut body).await.unwrap_err();
        assert_eq!(end.reason(), Some(Reason::CONNECT_ERROR));

        let (_send, answer) = call(&client, "10.0.0.1:401").await;
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    });
}

#[test]
fn resets_under_load_cost_nobody_else_anything() {
    run(async {
        let limits = Limits {
            tunnel_window: 2 << 20,
            ..Limits::default()
        };
        // One application dies with every connection, in the middle of what it is sent.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bad = listener.local_addr().unwrap();
        spawn_local(async move {
            while let Ok((mut app, _)) = listener.accept().await {
                app.read_exact(&mut [0; 1000]).await.ok();
                app.set_zero_linger().unwrap();
            }
        });
        let good = reverse_echo().await;
        let never = std::future::pending();
        let client = to_us(h2::client::Builder::new(), limits, never, move |incoming| {
            let dies = incoming.asked.authority.ends_with(":81");
            drop(spawn_local(deliver(
                incoming,
                if dies { bad } else { good },
            )));
        })
        .await;
        for _ in 0..60 {
            let (mut send, answer) = call(&client, "10.0.0.1:81").await;
            // As much as the stream's window takes at once.
            send.reserve_capacity(1 << 20);
            send.send_data(Bytes::from(vec![7; 300_000]), false)
                .unwrap();
            let Ok(answer) = answer.await else { continue };
            read_all(&mut answer.into_body()).await.unwrap_err();
        }
        talks(&client, 1, 3_000_000).await;
    });
}

#[test]
fn our_goodbye_is_understood_and_what_is_under_way_is_served() {
    run(async {
        let echo = reverse_echo().await;
        let (drain, draining) = oneshot::channel::<()>();
        let draining = async move { drop(draining.await) };
        let (builder, limits) = (h2::client::Builder::new(), Limits::default());
        let client = to_us(builder, limits, draining, move |incoming| {
            drop(spawn_local(deliver(incoming, echo)));
        })
        .await;
        let (mut send, answer) = call(&client, "10.0.0.1:80").await;
        let answer = answer.await.unwrap();
        drain.send(()).unwrap();
        while client.clone().ready().await.is_ok() {
            yield_now().await;
        }
        send.send_data(Bytes::from_static(b"olleh"), true).unwrap();
        let back = read_all(&mut answer.into_body()).await.unwrap();
        assert_eq!(back, b"hello");
    });
}

/// Gives back what comes, as it comes, to the end.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut send = respond.send_response(Response::new(()), false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(some)) = read_some(&mut body).await {
        send_all(&mut send, &some).await;
    }
    send.send_data(Bytes::new(), true).unwrap();
}

async fn echoes(mut server: Server) {
    while let Some(Ok((request, respond))) = server.accept().await {
        spawn_local(echo(request, respond));
    }
}

/// Sends and reads at once, ends, and reads to the end.
async fn echoed(tunnel: &ClientTunnel, n: usize, size: usize) {
    let (app, done) = stream(tunnel, 80).await;
    let (mut read, mut write) = app.into_split();
    let sent = pattern(size, n);
    let out = sent.clone();
    spawn_local(async move {
        write.write_all(&out).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    assert!(back == sent, "stream {n}: {} of {size} bytes", back.len());
    assert_eq!(done.await.unwrap().unwrap(), size as u64);
}

async fn many_are_echoed(builder: h2::server::Builder, count: usize, size: usize) {
    let tunnel = Rc::new(to_them(builder, echoes).await);
    // A stranger's promise is learned by the first answer.
    echoed(&tunnel, 0, size).await;
    let streams: Vec<_> = (0..count)
        .map(|n| {
            let tunnel = Rc::clone(&tunnel);
            spawn_local(async move { echoed(&tunnel, n, size + n * 999).await })
        })
        .collect();
    for stream in streams {
        stream.await.unwrap();
    }
    assert_eq!(tunnel.state().streams(), 0);
    assert!(tunnel.has_room());
}

#[test]
fn anothers_server_serves_us_with_its_own_windows() {
    run(async {
        many_are_echoed(h2::server::Builder::new(), 40, 300_000).await;
    });
}

#[test]
fn anothers_server_may_be_as_narrow_as_it_likes() {
    run(async {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(501).max_frame_size(16_384);
        many_are_echoed(builder, 20, 30_000).await;
    });
}

#[test]
fn the_body_of_a_refusal_is_not_the_applications() {
    run(async {
        let serve = async |mut server: Server| {
            while let Some(Ok((_request, mut respond))) = server.accept().await {
                let refused = Response::builder().status(503).body(()).unwrap();
                let mut send = respond.send_response(refused, false).unwrap();
                send.send_data(Bytes::from_static(b"no healthy upstream"), true)
                    .unwrap();
            }
        };
        let tunnel = to_them(h2::server::Builder::new(), serve).await;
        let (mut app, done) = stream(&tunnel, 80).await;
        let error = done.await.unwrap().unwrap_err();
        assert!(matches!(error, StreamError::Status(status) if status == 503));
        let end = app.read(&mut [0]).await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_another_refuses_may_be_sent_again_and_what_it_resets_may_not() {
    run(async {
        for (reason, again) in [
            (Reason::REFUSED_STREAM, true),
            (Reason::INTERNAL_ERROR, false),
        ] {
            let serve = async move |mut server: Server| {
                while let Some(Ok((_request, mut respond))) = server.accept().await {
                    respond.send_reset(reason);
                }
            };
            let tunnel = to_them(h2::server::Builder::new(), serve).await;
            let (_app, pump) = opened(&tunnel, 80).await;
            let pumped = pump.await;
            let unanswered = matches!(&pumped, Pumped::Unanswered(Broken::Reset(_)));
            assert_eq!(unanswered, again, "{pumped:?}");
        }
    });
}

#[test]
fn anothers_goodbye_ends_what_it_has_not_begun_and_nothing_else() {
    run(async {
        let (begun, mut beginning) = tokio::sync::mpsc::unbounded_channel();
        let serve = async move |mut server: Server| {
            let mut first = true;
            while let Some(Ok((request, respond))) = server.accept().await {
                spawn_local(echo(request, respond));
                begun.send(()).unwrap();
                if std::mem::take(&mut first) {
                    server.graceful_shutdown();
                }
            }
        };
        let tunnel = to_them(h2::server::Builder::new(), serve).await;
        let (mut app, done) = stream(&tunnel, 80).await;
        beginning.recv().await.unwrap();
        while tunnel.has_room() {
            yield_now().await;
        }
        app.write_all(b"still here").await.unwrap();
        app.shutdown().await.unwrap();
        let mut back = Vec::new();
        app.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"still here");
        done.await.unwrap().unwrap();
    });
}
