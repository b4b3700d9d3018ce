//! A control plane that does as it is told, for tests: TLS and HTTP/2 are real, gRPC is written
//! down byte by byte, so that it is no mirror of the client.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests, where a failure of the library is best seen as a panic"
)]

mod authority;
mod call;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use h2::server;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use authority::ScriptedAuthority;
pub use call::ScriptedCall;

/// A server whose calls the test answers.
pub struct ScriptedServer {
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<ScriptedCall>,
    conduct: watch::Sender<Conduct>,
    task: tokio::task::JoinHandle<()>,
}

/// How the server treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conduct {
    Serve,
    /// Reads nothing and says nothing, and keeps all connections open.
    Freeze,
    /// Ends all connections; each change of the number ends those there are.
    Cut(u32),
}

impl ScriptedServer {
    /// Serves on a free port of the loopback address, as `name`.
    pub async fn start(authority: &ScriptedAuthority, name: &str) -> Self {
        Self::start_at(authority, name, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Serves on an address, as `name`.
    pub async fn start_at(authority: &ScriptedAuthority, name: &str, at: SocketAddr) -> Self {
        Self::serve(authority, name, TcpListener::bind(at).await.unwrap())
    }

    /// Serves on a socket that is there already, as `name`; must be called within a runtime.
    #[must_use]
    pub fn serve(authority: &ScriptedAuthority, name: &str, listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (tell, calls) = mpsc::unbounded_channel();
        let (conduct, watching) = watch::channel(Conduct::Serve);
        let acceptor = TlsAcceptor::from(authority.server_config(name));
        let task = tokio::spawn(serve(listener, acceptor, tell, watching));
        Self {
            address,
            calls,
            conduct,
            task,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next call that a client makes. Waits as long as it takes.
    pub async fn call(&mut self) -> ScriptedCall {
        self.calls.recv().await.unwrap()
    }

    /// From now on nothing is read or said on the connections there are, though all stay open. New
    /// ones are served.
    pub fn freeze(&self) {
        self.conduct.send_replace(Conduct::Freeze);
    }

    /// Ends every connection there is, and serves new ones.
    pub fn cut(&self) {
        self.conduct.send_modify(|conduct| {
            *conduct = match conduct {
                Conduct::Cut(times) => Conduct::Cut(*times + 1),
                Conduct::Serve | Conduct::Freeze => Conduct::Cut(1),
            }
        });
    }

    /// Ends everything and frees the port.
    pub async fn stop(self) -> SocketAddr {
        self.task.abort();
        let _aborted = self.task.await;
        self.address
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    calls: mpsc::UnboundedSender<ScriptedCall>,
    conduct: watch::Receiver<Conduct>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut conduct = conduct.clone();
        let begun = *conduct.borrow_and_update();
        connections.spawn(connection(
            tcp,
            acceptor.clone(),
            calls.clone(),
            conduct,
            begun,
        ));
    }
}

async fn connection(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    calls: mpsc::UnboundedSender<ScriptedCall>,
    mut conduct: watch::Receiver<Conduct>,
    begun: Conduct,
) {
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let Ok(mut http2) = server::handshake(tls).await else {
        return;
    };
    loop {
        tokio::select! {
            accepted = http2.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let _test_is_over = calls.send(ScriptedCall::new(request, respond));
                }
                Some(Err(_)) | None => return,
            },
            Ok(()) = conduct.changed() => {
                let now = *conduct.borrow_and_update();
                if now == Conduct::Freeze {
                    // Held open: `http2` is not polled, and not dropped either.
                    let _thawed = conduct.wait_for(|now| *now != Conduct::Freeze).await;
                    return;
                }
                if now != begun {
                    return;
                }
            }
        }
    }
}

/// Any port that speaks whatever bytes it is given to whoever connects, once.
pub async fn babbler(bytes: &'static [u8]) -> SocketAddr {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _gone = stream.write_all(bytes).await;
            // Closed with unread bytes is a reset; the client sees a broken connection.
        }
    });
    address
}

/// A name for tests of what a server's certificate says.
pub const NAME: &str = "istiod.istio-system.svc";

/// Shared configuration of TLS servers.
type ServerConfig = Arc<rustls::ServerConfig>;
