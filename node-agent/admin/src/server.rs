//! The HTTP server: accepts, bounds and answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::site::{Answer, Answering, Site};

/// Ends the server when it resolves.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A bound socket that will serve one site.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    purpose: &'static str,
}

impl Listener {
    /// Serves on a listener that is bound already; must be called within a runtime.
    ///
    /// # Errors
    /// When the event loop cannot take it.
    pub fn new(listener: std::net::TcpListener, purpose: &'static str) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            socket: TcpListener::from_std(listener)?,
            purpose,
        })
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
        let answer = answer(&site, &request);
        async move { Ok::<_, Infallible>(respond(answer.await)) }
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

fn answer(site: &Site, request: &Request<Incoming>) -> Answering {
    let uri = request.uri();
    site.answer(
        request.method(),
        uri.path(),
        uri.query().unwrap_or_default(),
    )
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

const MAX_CONNECTIONS: usize = 64;
/// The least hyper takes.
const BUFFER: usize = 8 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Covers a slow reader of a large answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
