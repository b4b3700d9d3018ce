//! The dialling side of a tunnel.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use rustls::client::UnbufferedClientConnection;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::driver::{StreamGuard, TunnelState, Verdict, Watch, send_turn};
use crate::error::TunnelError;
use crate::limits::Limits;
use crate::promise::Promised;
use crate::record::TlsIo;

/// The way to open streams. Once it is taken away the library ends the connection by itself, but
/// only when the last stream has ended and all that was buffered has been sent.
type Opener = Rc<RefCell<Option<SendRequest<Bytes>>>>;

/// An established tunnel: streams are opened on it until it is full, retired or closed.
#[derive(Clone, Debug)]
pub struct ClientTunnel {
    send: Opener,
    state: Rc<TunnelState>,
    pool_streams: usize,
}

/// A stream whose CONNECT has been sent; the answer comes with `response`.
#[derive(Debug)]
pub struct OpenStream {
    /// The peer's answer, later the bytes it sends.
    pub(crate) response: ResponseFuture,
    /// Bytes to the peer.
    pub(crate) send: SendStream<Bytes>,
    /// Counts the stream while it is held.
    pub(crate) guard: StreamGuard,
}

impl ClientTunnel {
    /// Starts HTTP/2 on a TLS connection. The returned future keeps the tunnel going and must be
    /// spawned on the same thread; it ends when the tunnel does. `promised` is what is known of
    /// the peer, shared with its other tunnels.
    ///
    /// # Errors
    /// [`TunnelError::Http2`].
    pub async fn start<S>(
        io: TlsIo<S, UnbufferedClientConnection>,
        limits: &Limits,
        promised: Promised,
    ) -> Result<(Self, impl Future<Output = io::Result<()>> + use<S>), TunnelError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (send, mut connection) = Builder::new()
            .initial_window_size(limits.stream_window)
            .initial_connection_window_size(limits.tunnel_window)
            .max_frame_size(limits.max_frame)
            .max_header_list_size(limits.header_list)
            .max_send_buffer_size(limits.send_buffer)
            .max_local_error_reset_streams(Some(limits.local_resets))
            .max_pending_accept_reset_streams(limits.pending_resets)
            .data_frame_budget(limits.frame_budget())
            .initial_max_send_streams(limits.pool_streams)
            .enable_push(false)
            .handshake::<_, Bytes>(io.clone())
            .await
            .map_err(|e| TunnelError::Http2(e.to_string()))?;
        let state = TunnelState::new(promised, Rc::default());
        let mut watch = Watch::new(connection.ping_pong(), limits, Some(limits.idle));
        let watched = Rc::clone(&state);
        let send: Opener = Rc::new(RefCell::new(Some(send)));
        let opener = Rc::clone(&send);
        let drive = async move {
            let result = {
                let mut connection = pin!(connection);
                poll_fn(|cx| {
                    let polled = connection.as_mut().poll(cx).map_err(io::Error::other);
                    if let Err(error) = send_turn(&io, cx) {
                        return Poll::Ready(Err(error));
                    }
                    if polled.is_ready() {
                        return polled;
                    }
                    // Also once the peer has said GOAWAY: whoever needs a stream goes elsewhere at
                    // once, instead of being turned away here.
                    let asked = opener.borrow_mut().as_mut().map(|send| send.poll_ready(cx));
                    if let Some(Poll::Ready(Err(_))) = asked {
                        watched.retire();
                    }
                    if watched.retired_and_unused() {
                        opener.take();
                    }
                    while let Poll::Ready(verdict) = watch.poll(cx, &watched, io.received()) {
                        match verdict {
                            Verdict::Silent => {
                                watched.set_silent();
                                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                            }
                            Verdict::Idle => {
                                watched.retire();
                                opener.take();
                            }
                        }
                    }
                    Poll::Pending
                })
                .await
            };
            watched.set_closed();
            result
        };
        Ok((
            Self {
                send,
                state,
                pool_streams: limits.pool_streams,
            },
            drive,
        ))
    }

    /// Whether another stream can be opened now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let limit = self.send.borrow().as_ref().map_or(0, |send| {
            self.pool_streams.min(send.current_max_send_streams())
        });
        self.state.usable() && self.state.streams() < limit
    }

    /// No new streams; the tunnel closes when the last one has ended and its bytes are sent, at
    /// once if there is none.
    pub fn retire(&self) {
        self.state.retire();
        if self.state.streams() == 0 {
            self.send.take();
        }
    }

    /// The tunnel's shared state.
    #[must_use]
    pub const fn state(&self) -> &Rc<TunnelState> {
        &self.state
    }

    /// Counts a stream before it is opened, so that others waiting for room see it taken.
    #[must_use]
    pub fn reserve(&self) -> StreamGuard {
        StreamGuard::new(&self.state)
    }

    /// Sends a CONNECT. Data may follow at once: the peer's identity is known already.
    ///
    /// # Errors
    /// [`TunnelError::Closed`] when the peer is closing the tunnel: nothing was sent, another
    /// tunnel may serve the request.
    pub async fn open(
        &self,
        request: Request<()>,
        guard: StreamGuard,
    ) -> Result<OpenStream, TunnelError> {
        let closed = |_| {
            self.state.retire();
            TunnelError::Closed
        };
        let opener = self.send.borrow().clone().ok_or(TunnelError::Closed)?;
        let mut send = opener.ready().await.map_err(closed)?;
        let (response, send) = send.send_request(request, false).map_err(closed)?;
        Ok(OpenStream {
            response,
            send,
            guard,
        })
    }
}

impl TunnelState {
    fn retired_and_unused(&self) -> bool {
        !self.usable() && self.streams() == 0
    }
}
