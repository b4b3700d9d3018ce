//! Our record layer against rustls as the other side, and against itself where only it can lie.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod gathering;
mod keys;
mod rules;
mod sessions;
mod trips;
mod wire;

use std::io;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConnection};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tunnel_credentials::{Certificate, CredentialSettings, Credentials, TestAuthority};
use tunnel_model::Identity;

use super::{Gather, Opened, Shown, TlsIo, accept, connect};
use crate::error::TunnelError;
use wire::{Peer, Wire};

const PATIENCE: Duration = Duration::from_secs(20);
/// Room of a wire on which nothing is ever held back.
const WIDE: usize = 1 << 30;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// One certificate will do for both sides.
static CERTIFICATE: LazyLock<Arc<Certificate>> = LazyLock::new(|| {
    std::thread::spawn(|| {
        runtime().block_on(async {
            let authority = Arc::new(TestAuthority::new("test"));
            let (credentials, owner) =
                Credentials::start(CredentialSettings::default(), authority as _);
            tokio::spawn(owner);
            let name = Identity::new("cluster.local", "default", "somebody").unwrap();
            timeout(PATIENCE, credentials.certificate(&name)).await
        })
    })
    .join()
    .unwrap()
    .unwrap()
});

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Our side.
struct Us {
    io: TlsIo<Wire>,
    gather: Gather,
    ended: bool,
}

impl Us {
    fn new(io: TlsIo<Wire>) -> Self {
        Self {
            io,
            gather: Gather::default(),
            ended: false,
        }
    }

    fn send(&mut self) -> Poll<io::Result<()>> {
        let gather = &mut self.gather;
        self.io.poll_send(&mut context(), gather, usize::MAX)
    }

    /// Puts and sends all of it.
    fn say(&mut self, data: &[u8]) {
        self.gather.put(data);
        assert!(matches!(self.send(), Poll::Ready(Ok(()))));
    }

    fn open(&mut self) -> Poll<io::Result<Opened>> {
        self.io
            .poll_open(&mut context(), &mut self.gather, usize::MAX)
    }

    /// All that can be heard now.
    fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut heard = Vec::new();
        while let Poll::Ready(opened) = self.open() {
            if opened? == Opened::End {
                self.ended = true;
                break;
            }
            let (buffer, pieces) = self.io.pieces();
            for piece in pieces {
                heard.extend_from_slice(&buffer[piece.clone()]);
            }
            self.io.release();
        }
        Ok(heard)
    }

    /// Nothing but an error, in words.
    fn refuse(&mut self) -> String {
        let error = self.hear().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        error.to_string()
    }
}

type Ours = Result<(TlsIo<Wire>, Shown), TunnelError>;

/// Polls our handshake and lets the other side have its turns, until ours is over.
fn shake(ours: impl Future<Output = Ours>, mut turn: impl FnMut()) -> Ours {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut ours = pin!(ours);
    for _ in 0..100_000 {
        if let Poll::Ready(done) = ours.as_mut().poll(&mut context()) {
            return done;
        }
        turn();
    }
    panic!("the handshake does not end");
}

fn server_of_theirs() -> Connection {
    ServerConnection::new(Arc::clone(&CERTIFICATE.server))
        .unwrap()
        .into()
}

fn client_of_theirs() -> Connection {
    client_with(Arc::clone(&CERTIFICATE.client))
}

/// A client of this configuration.
fn client_with(config: Arc<ClientConfig>) -> Connection {
    let name = ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into());
    ClientConnection::new(config, name).unwrap().into()
}

fn our_client(wire: Wire) -> impl Future<Output = Ours> {
    let peer = [127, 0, 0, 1].into();
    connect(wire, peer, Arc::clone(&CERTIFICATE.client), PATIENCE)
}

fn our_server(wire: Wire) -> impl Future<Output = Ours> {
    accept(wire, Arc::clone(&CERTIFICATE.server), PATIENCE)
}

/// We and rustls, connected.
fn with_rustls(we_are_client: bool, room: usize) -> (Us, Peer) {
    let (near, far) = Wire::pair(room);
    let conn = if we_are_client {
        server_of_theirs()
    } else {
        client_of_theirs()
    };
    with_theirs(conn, near, far)
}

fn with_theirs(conn: Connection, near: Wire, far: Wire) -> (Us, Peer) {
    let we_are_client = matches!(conn, Connection::Server(_));
    let mut peer = Peer::new(conn, far);
    let (io, shown) = if we_are_client {
        shake(our_client(near), || peer.turn().unwrap())
    } else {
        shake(our_server(near), || peer.turn().unwrap())
    }
    .unwrap();
    assert!(!shown.unjudged.is_empty());
    let mut us = Us::new(io);
    while us.send().is_pending() {
        peer.turn().unwrap();
    }
    peer.turn().unwrap();
    assert!(!peer.conn.is_handshaking());
    (us, peer)
}

/// Our client and our server, connected.
fn with_ourselves() -> (Us, Us) {
    let (near, far) = Wire::pair(WIDE);
    let mut server = Box::pin(our_server(far));
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut other = None;
    let client = shake(our_client(near), || {
        if let Poll::Ready(done) = server.as_mut().poll(&mut context()) {
            other = Some(done);
        }
    });
    let mut client = Us::new(client.unwrap().0);
    assert!(client.send().is_ready());
    let other = other.unwrap_or_else(|| shake(server, || ()));
    let mut server = Us::new(other.unwrap().0);
    assert!(server.send().is_ready());
    (client, server)
}

/// Bytes of which no two neighbours of a record's length are alike.
fn noise(size: usize) -> Vec<u8> {
    let byte = |n| u8::try_from((n % 251) ^ (n / 251 % 256)).unwrap();
    (0..size).map(byte).collect()
}
