use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use prost::Message;

/// One call of a client, to be answered by the test.
pub struct ScriptedCall {
    head: http::request::Parts,
    body: RecvStream,
    unread: BytesMut,
    respond: SendResponse<Bytes>,
    answer: Option<SendStream<Bytes>>,
}

impl ScriptedCall {
    pub(super) fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head,
            body,
            unread: BytesMut::new(),
            respond,
            answer: None,
        }
    }

    /// What was called, `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// A header, as text; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.head
            .headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The next message of the client; none when it has ended or gone away.
    pub async fn message<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if self.unread.len() >= 5 {
                let size = usize::try_from((&self.unread[1..5]).get_u32()).unwrap();
                if self.unread.len() >= 5 + size {
                    self.unread.advance(5);
                    return Some(M::decode(self.unread.split_to(size)).unwrap());
                }
            }
            let data = self.body.data().await?.ok()?;
            let _gone = self.body.flow_control().release_capacity(data.len());
            self.unread.extend_from_slice(&data);
        }
    }

    /// Sends one message.
    pub fn send(&mut self, message: &impl Message) {
        self.send_message(&message.encode_to_vec());
    }

    /// Sends bytes as if they were a message.
    pub fn send_message(&mut self, bytes: &[u8]) {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(bytes.len()).unwrap());
        framed.put_slice(bytes);
        self.send_bytes(framed.freeze());
    }

    /// Sends bytes as they are, without a gRPC frame around them. A client that has gone away
    /// does not get them.
    pub fn send_bytes(&mut self, bytes: Bytes) {
        let _gone = self.stream().send_data(bytes, false);
    }

    /// Ends the call with a status, 0 for success.
    pub fn end(mut self, status: u16, message: &str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.into());
        trailers.insert("grpc-message", message.parse().unwrap());
        let _gone = self.stream().send_trailers(trailers);
    }

    /// Answers one message and success.
    pub fn answer(mut self, message: &impl Message) {
        self.send(message);
        self.end(0, "");
    }

    fn stream(&mut self) -> &mut SendStream<Bytes> {
        let respond = &mut self.respond;
        self.answer.get_or_insert_with(|| {
            let head = Response::builder()
                .header("content-type", "application/grpc")
                .body(())
                .unwrap();
            respond.send_response(head, false).unwrap()
        })
    }
}
