use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::{ControlError, ServerSettings, files};

/// Keeps HTTP/2 going for as long as somebody has the connection.
#[derive(Debug)]
pub(crate) struct Driver(pub(crate) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// HTTP/2 as gRPC wants to see it.
#[derive(Clone)]
pub(crate) struct Channel(pub(crate) SendRequest<Body>);

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A connection to a server that has proved who it is. Clones are the same connection, which ends
/// when the last of them, and the last conversation on it, is gone.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    channel: Channel,
    driver: Driver,
    settings: Arc<ServerSettings>,
}

/// A connection as long as somebody else has it.
#[derive(Debug, Clone, Default)]
pub struct WeakConnection(Weak<Inner>);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.host)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.0.settings.host)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl WeakConnection {
    /// The connection, if anybody has it and it can be used.
    #[must_use]
    pub fn usable(&self) -> Option<Connection> {
        self.0
            .upgrade()
            .map(Connection)
            .filter(|connection| !connection.is_closed())
    }
}

impl Connection {
    pub(crate) fn new(channel: Channel, driver: Driver, settings: Arc<ServerSettings>) -> Self {
        Self(Arc::new(Inner {
            channel,
            driver,
            settings,
        }))
    }

    /// Does not keep it open.
    #[must_use]
    pub fn downgrade(&self) -> WeakConnection {
        WeakConnection(Arc::downgrade(&self.0))
    }

    /// Whether it is of no use any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.driver.0.is_finished() || self.0.channel.0.is_closed()
    }

    /// Asks one question. `path` is `/package.Service/Method`. Dropping the future abandons it.
    ///
    /// # Errors
    /// When the token cannot be read, the connection is gone, or the server says no.
    pub async fn ask<Q, A>(&self, path: &'static str, question: Q) -> Result<A, ControlError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc(LARGEST_ANSWER);
        let request = self.authorized(question).await?;
        ready(&mut grpc).await?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(request, path, ProstCodec::<Q, A>::default());
        answer
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| ControlError::of(&status))
    }

    /// Opens a stream of questions and answers. Nothing is sent until the first answer is waited for,
    /// with which the server may refuse the stream.
    ///
    /// # Errors
    /// When the token cannot be read or the connection is gone.
    pub async fn converse<Q, A>(
        &self,
        path: &'static str,
        questions: mpsc::Receiver<Q>,
        largest_answer: usize,
    ) -> Result<Answers<A>, ControlError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc(largest_answer);
        let request = self.authorized(ReceiverStream::new(questions)).await?;
        ready(&mut grpc).await?;
        let path = PathAndQuery::from_static(path);
        let opening = async move {
            let answers = grpc.streaming(request, path, ProstCodec::<Q, A>::default());
            answers.await.map(tonic::Response::into_inner)
        };
        Ok(Answers {
            stream: Stage::Opening(Box::pin(opening)),
            _connection: self.clone(),
        })
    }

    fn grpc(&self, largest: usize) -> Grpc<Channel> {
        let inner = &self.0;
        let authority = inner.settings.server_name.parse::<Authority>();
        let mut origin = Parts::default();
        origin.scheme = Some(Scheme::HTTPS);
        // An IPv6 address is none without brackets; no server looks at it.
        origin.authority = authority.ok().or(Some(Authority::from_static("istiod")));
        origin.path_and_query = Some(PathAndQuery::from_static("/"));
        let origin = Uri::from_parts(origin).unwrap_or_default();
        Grpc::with_origin(inner.channel.clone(), origin).max_decoding_message_size(largest)
    }

    async fn authorized<T>(&self, content: T) -> Result<Request<T>, ControlError> {
        let mut headers = http::HeaderMap::new();
        let token = files::token(&self.0.settings.token_file).await?;
        headers.insert(http::header::AUTHORIZATION, token);
        if let Ok(cluster) = HeaderValue::from_str(&self.0.settings.cluster_id) {
            headers.insert(HeaderName::from_static("clusterid"), cluster);
        }
        let mut request = Request::new(content);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), ControlError> {
    grpc.ready().await.map_err(|why| ControlError::Unavailable {
        code: "UNAVAILABLE",
        message: why.to_string(),
    })
}

/// A certificate chain is a few KiB.
const LARGEST_ANSWER: usize = 4 << 20;

/// What a server answers in a stream.
pub struct Answers<A> {
    stream: Stage<A>,
    _connection: Connection,
}

enum Stage<A> {
    Opening(Pin<Box<dyn Future<Output = Result<Streaming<A>, Status>> + Send>>),
    Open(Box<Streaming<A>>),
}

impl<A> fmt::Debug for Answers<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

impl<A> Answers<A> {
    /// The next answer; none when the server has said in good order that there are no more.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection is gone, silent, or the server ends or refuses the stream. It is then of
    /// no use any more.
    pub async fn next(&mut self) -> Result<Option<A>, ControlError> {
        let said = |status: Status| ControlError::of(&status);
        loop {
            match &mut self.stream {
                Stage::Opening(opening) => {
                    let open = opening.await.map_err(said)?;
                    self.stream = Stage::Open(Box::new(open));
                }
                Stage::Open(stream) => return stream.message().await.map_err(said),
            }
        }
    }
}
