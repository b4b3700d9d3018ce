//! Unary gRPC over HTTP/2 over a Unix socket: all that CRI needs of it.

use super::CriError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use std::path::{Path, PathBuf};
use std::sync::mpsc as answers;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// One call to make, and where its answer goes.
struct Job {
    path: &'static str,
    message: Vec<u8>,
    patience: Duration,
    answer: answers::SyncSender<Result<Bytes, CriError>>,
}

/// A connection that is made when first needed and again when it broke. Clones share it; calls run side by side.
#[derive(Clone, Debug)]
pub(super) struct Transport(mpsc::UnboundedSender<Job>);

impl Transport {
    /// Starts the thread that owns the connection; it ends when the last clone is dropped.
    pub(super) fn new(socket: &Path) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let socket = socket.to_owned();
        std::thread::Builder::new()
            .name("cri".to_owned())
            .spawn(move || runtime.block_on(serve(socket, receiver)))?;
        Ok(Self(sender))
    }

    /// Makes a call and waits for its answer.
    pub(super) fn call(
        &self,
        path: &'static str,
        message: Vec<u8>,
        patience: Duration,
    ) -> Result<Bytes, CriError> {
        let (answer, taken) = answers::sync_channel(1);
        let job = Job {
            path,
            message,
            patience,
            answer,
        };
        self.0.send(job).map_err(|_| CriError::Gone)?;
        taken.recv().map_err(|_| CriError::Gone)?
    }
}

async fn serve(socket: PathBuf, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut connection: Option<SendRequest<Bytes>> = None;
    while let Some(job) = jobs.recv().await {
        let sender = match connection.take() {
            Some(sender) => sender.ready().await.ok(),
            None => None,
        };
        let sender = match sender {
            Some(sender) => Ok(sender),
            None => connect(&socket).await,
        };
        match sender {
            Ok(sender) => {
                connection = Some(sender.clone());
                tokio::spawn(async move {
                    let outcome =
                        tokio::time::timeout(job.patience, unary(sender, job.path, &job.message))
                            .await;
                    // The caller waits for this; only its panic could make it go away.
                    drop(
                        job.answer
                            .send(outcome.unwrap_or(Err(CriError::Timeout(job.patience)))),
                    );
                });
            }
            Err(error) => drop(job.answer.send(Err(error))),
        }
    }
}

async fn connect(socket: &Path) -> Result<SendRequest<Bytes>, CriError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(CriError::Connect)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(async move {
        // Its end shows in the next call, which connects anew.
        drop(connection.await);
    });
    Ok(sender.ready().await?)
}

async fn unary(
    mut sender: SendRequest<Bytes>,
    path: &str,
    message: &[u8],
) -> Result<Bytes, CriError> {
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|_| CriError::Protocol("the request's path"))?;
    let length =
        u32::try_from(message.len()).map_err(|_| CriError::Protocol("the request's size"))?;
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(frame.freeze(), true)?;
    let (head, mut stream) = response.await?.into_parts();
    let mut answer = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        answer.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?;
    status(trailers.as_ref().unwrap_or(&head.headers))?;
    if answer.len() < 5 || answer.get_u8() != 0 {
        return Err(CriError::Protocol("an answer without a plain message"));
    }
    let size = answer.get_u32() as usize;
    if size != answer.len() {
        return Err(CriError::Protocol(
            "an answer of another length than it says",
        ));
    }
    Ok(answer.freeze())
}

fn status(headers: &HeaderMap) -> Result<(), CriError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => Err(CriError::Refused {
            code: code.parse().unwrap_or(2),
            message: unescape(text("grpc-message").unwrap_or_default()),
        }),
        None => Err(CriError::Protocol("an answer without a status")),
    }
}

/// `%XX` as bytes.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_are_undone_and_lone_percent_signs_kept() {
        assert_eq!(unescape("a%20b %C3%A4 100% %zz"), "a b ä 100% %zz");
    }
}
