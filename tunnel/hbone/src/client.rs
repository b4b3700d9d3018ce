//! The dialling side of a tunnel.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::connect::ConnectHead;
use crate::driver::{Driver, Over};
use crate::error::TunnelError;
use crate::http2::{Core, Handle, Reason, Role, Shared};
use crate::limits::Limits;
use crate::promise::Promised;
use crate::state::{StreamGuard, TunnelState};
use crate::tls::TlsIo;
use crate::watch::{Verdict, Watch};

/// An established tunnel: streams are opened on it until it is full, retired or closed.
#[derive(Clone)]
pub struct ClientTunnel {
    core: Shared,
    state: Rc<TunnelState>,
    pool_streams: usize,
}

impl std::fmt::Debug for ClientTunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClientTunnel").field(&self.state).finish()
    }
}

/// A stream whose CONNECT has been sent. Dropped, it is taken back.
#[derive(Debug)]
pub struct OpenStream {
    pub(crate) stream: Handle,
    /// Counts the stream while it is held.
    pub(crate) guard: StreamGuard,
}

impl ClientTunnel {
    /// Starts HTTP/2 on a TLS connection. The returned future keeps the tunnel going and must be
    /// spawned on the same thread; it ends when the tunnel does. `promised` is what is known of
    /// the peer, shared with its other tunnels.
    pub fn start<S>(
        io: TlsIo<S>,
        limits: &Limits,
        promised: Promised,
    ) -> (Self, impl Future<Output = io::Result<()>> + use<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let core: Shared = Rc::new(RefCell::new(Core::new(Role::Client, limits)));
        let state = TunnelState::new(promised);
        let driver = Driver::new(io, &core, Watch::new(limits, Some(limits.idle)));
        let mut client = Client {
            driver,
            core: Rc::clone(&core),
            state: Rc::clone(&state),
            closing: false,
        };
        let drive = poll_fn(move |cx| client.poll(cx));
        let tunnel = Self {
            core,
            state,
            pool_streams: limits.pool_streams,
        };
        (tunnel, drive)
    }

    /// Whether another stream can be opened now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let core = self.core.borrow();
        let limit = self.pool_streams.min(core.allowed());
        self.state.usable() && self.state.streams() < limit && core.opens()
    }

    /// No new streams; the tunnel closes when the last one has ended and its bytes are sent, at
    /// once if there is none.
    pub fn retire(&self) {
        self.state.retire();
        self.core.borrow_mut().wake_driver();
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
    pub fn open(
        &self,
        head: &ConnectHead<'_>,
        guard: StreamGuard,
    ) -> Result<OpenStream, TunnelError> {
        let Some(id) = self.core.borrow_mut().connect(head) else {
            self.state.retire();
            return Err(TunnelError::Closed);
        };
        let stream = Handle::new(&self.core, id, Reason::CANCEL);
        Ok(OpenStream { stream, guard })
    }
}

/// A tunnel that was dialled, and what keeps it going.
struct Client<S> {
    driver: Driver<S>,
    core: Shared,
    state: Rc<TunnelState>,
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.poll_turn(cx);
        self.driver.turned(cx, &self.state, polled)
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let read = self.driver.read(cx);
        {
            let mut core = self.core.borrow_mut();
            if let Some(promise) = core.take_promise() {
                self.state.learn(promise);
            }
            if !core.opens() {
                // Whoever needs a stream goes elsewhere at once, instead of being turned away here.
                self.state.retire();
            }
        }
        match read {
            Err(Over::Closed) => return Poll::Ready(Ok(())),
            other => other?,
        }
        match self.driver.watch(cx, &self.state) {
            Poll::Ready(Verdict::Silent) => {
                self.state.set_silent();
                let error = io::Error::new(io::ErrorKind::TimedOut, "the peer went silent");
                return Poll::Ready(Err(Over::Died(error)));
            }
            Poll::Ready(Verdict::Idle) => self.state.retire(),
            Poll::Pending => {}
        }
        if !self.closing && self.state.retired_and_unused() {
            self.closing = true;
            self.core.borrow_mut().say_last(Reason::NO_ERROR);
        }
        if self.closing {
            // No stream is left for which a turn would have to end.
            ready!(self.driver.poll_close(cx)).map_err(Over::Died)?;
            return Poll::Ready(Ok(()));
        }
        self.driver.write(cx)?;
        Poll::Pending
    }
}
