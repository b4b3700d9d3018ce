//! The HTTP server: accepts, bounds and answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::site::Site;

/// Ends the server when it resolves.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An address could not be listened on. The operator must free it or choose another; trying again
/// helps only if another process is about to let go of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {source}")]
pub struct BindError {
    address: SocketAddr,
    purpose: &'static str,
    #[source]
    source: io::Error,
}

/// A bound socket that will serve one site.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    purpose: &'static str,
}

impl Listener {
    /// Binds; must be called within a runtime.
    ///
    /// The unspecified IPv6 address also takes IPv4, and where the machine has no IPv6 it stands
    /// for the unspecified IPv4 address.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not permitted.
    pub fn bind(address: SocketAddr, purpose: &'static str) -> Result<Self, BindError> {
        let bound = match bind(address) {
            Err(error) if lacks_ipv6(&error) && address.ip().is_unspecified() => {
                bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
            }
            other => other,
        };
        let socket = bound.map_err(|source| BindError {
            address,
            purpose,
            source,
        })?;
        Ok(Self { socket, purpose })
    }

    /// Where it listens, which tells the port when any was asked for.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves the site until `stop` resolves; then ends the connections there are.
    pub async fn serve(self, site: Site, mut stop: Stop) {
        let site = Arc::new(site);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // Cancelled only by `stop`: neither accept nor the wait for a place loses anything.
            let accepted = tokio::select! {
                () = &mut stop => return,
                accepted = self.accept(&places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let site = Arc::clone(&site);
                    connections.spawn(async move {
                        serve_connection(stream, site).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(purpose = self.purpose, %error, "cannot accept a connection");
                    // Most often the descriptors are used up, which the next instant does not cure.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (stream, _) = self.socket.accept().await?;
        Ok((stream, place))
    }
}

async fn serve_connection(stream: TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = respond(&site, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended early"),
        Err(_) => tracing::debug!("connection ended: it lasted too long"),
    }
}

fn respond(site: &Site, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let uri = request.uri();
    let answer = site.answer(
        request.method(),
        uri.path(),
        uri.query().unwrap_or_default(),
    );
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // Both families through one socket, whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT from socket(), or EADDRNOTAVAIL from bind() where IPv6 is compiled in but off.
    error.raw_os_error() == Some(97) || error.kind() == io::ErrorKind::AddrNotAvailable
}

const MAX_CONNECTIONS: usize = 64;
const BACKLOG: i32 = 128;
/// The least hyper takes.
const BUFFER: usize = 8 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Covers a slow reader of a large answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
