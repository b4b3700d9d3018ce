//! The accepting side of a tunnel.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::driver::{StreamGuard, TunnelState, Verdict, Watch, send_turn};
use crate::error::TunnelError;
use crate::limits::Limits;
use crate::promise::{Promise, Promised};
use crate::record::{Answered, Heads, TlsIo};

/// A request that arrived on a tunnel.
#[derive(Debug)]
pub struct Incoming {
    /// The request; its body carries the peer's bytes.
    pub request: Request<RecvStream>,
    /// The way to answer.
    pub respond: SendResponse<Bytes>,
    /// Counts the stream while it is held.
    pub guard: StreamGuard,
}

/// A request that was answered with 200; its bytes go to an application once the answer is out.
#[derive(Debug)]
pub struct Accepted {
    pub(crate) body: RecvStream,
    pub(crate) send: SendStream<Bytes>,
    pub(crate) answer: Answered,
    pub(crate) guard: StreamGuard,
}

impl Accepted {
    /// Answers 200, with the promise that the answer is out before the application gets a byte.
    ///
    /// # Errors
    /// The peer has reset the stream meanwhile: nobody waits for an answer.
    pub fn answer(
        respond: &mut SendResponse<Bytes>,
        body: RecvStream,
        guard: StreamGuard,
        mut response: Response<()>,
    ) -> Result<Self, h2::Error> {
        Promise::give(response.headers_mut());
        let answer = guard.state().heads().expect(respond.stream_id().as_u32());
        let send = respond.send_response(response, false)?;
        Ok(Self {
            body,
            send,
            answer,
            guard,
        })
    }
}

/// Serves one tunnel to its end: every request is given to `handle`, which must not block. When
/// `drain` completes, the peer is told to open no more streams (GOAWAY); those that were already
/// under way are still served. When `end` completes, the peer is told which streams were never
/// looked at, all others end, and the tunnel closes as soon as that has been sent.
///
/// # Errors
/// When the peer breaks the protocol, goes silent, or the connection fails.
pub async fn serve<S>(
    io: TlsIo<S, UnbufferedServerConnection>,
    limits: &Limits,
    drain: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
    mut handle: impl FnMut(Incoming),
) -> Result<(), TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let heads = Rc::<Heads>::default();
    io.watch(&heads);
    // Boxed: a tunnel does not carry it along.
    let mut connection = Box::pin(preface(&io, limits)).await?;
    let state = TunnelState::new(Promised::default(), heads);
    // A stream that the peer resets is off the protocol's count at once, while what was begun for
    // it here goes on for a while. Without a count of our own a peer could begin any number.
    let bound = limits.max_streams as usize * 2;
    let mut watch = Watch::new(connection.ping_pong(), limits, None);
    let (mut drain, mut end) = (pin!(drain), pin!(end));
    let (mut draining, mut ending) = (false, false);
    poll_fn(|cx| {
        if !draining && drain.as_mut().poll(cx).is_ready() {
            draining = true;
            connection.graceful_shutdown();
        }
        if !ending && end.as_mut().poll(cx).is_ready() {
            (draining, ending) = (true, true);
            connection.abrupt_shutdown(Reason::NO_ERROR);
        }
        let ended = loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((_, mut respond)))) if state.streams() >= bound => {
                    respond.send_reset(Reason::REFUSED_STREAM);
                }
                Poll::Ready(Some(Ok((request, respond)))) => {
                    handle(Incoming {
                        request,
                        respond,
                        guard: StreamGuard::new(&state),
                    });
                }
                Poll::Ready(Some(Err(error))) => break Some(Err(io::Error::other(error))),
                Poll::Ready(None) => break Some(Ok(())),
                Poll::Pending => break None,
            }
        };
        send_turn(&io, cx)?;
        if let Some(result) = ended {
            return Poll::Ready(result);
        }
        match watch.poll(cx, &state, io.received()) {
            Poll::Ready(Verdict::Silent | Verdict::Idle) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer went silent",
            ))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
    .map_err(|e: io::Error| TunnelError::Http2(e.to_string()))
}

/// Exchanges settings.
async fn preface<S>(
    io: &TlsIo<S, UnbufferedServerConnection>,
    limits: &Limits,
) -> Result<Connection<TlsIo<S, UnbufferedServerConnection>, Bytes>, TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    builder
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.tunnel_window)
        .max_frame_size(limits.max_frame)
        .max_header_list_size(limits.header_list)
        .max_concurrent_streams(limits.max_streams)
        .max_send_buffer_size(limits.send_buffer)
        .max_local_error_reset_streams(Some(limits.local_resets))
        .max_pending_accept_reset_streams(limits.pending_resets)
        .data_frame_budget(limits.frame_budget());
    let mut handshake = pin!(builder.handshake::<_, Bytes>(io.clone()));
    let flushed = poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        // A connection that fails here fails the handshake too, with a better reason.
        send_turn(io, cx).ok();
        polled
    });
    timeout(limits.handshake_timeout, flushed)
        .await
        .map_err(|_| TunnelError::HandshakeTimeout)?
        .map_err(|e| TunnelError::Http2(e.to_string()))
}
