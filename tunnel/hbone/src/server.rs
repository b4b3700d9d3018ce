//! The accepting side of a tunnel.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::driver::{Driver, Over};
use crate::error::TunnelError;
use crate::http2::{Asked, Broken, Core, Handle, Reason, Role, Shared};
use crate::limits::Limits;
use crate::promise::Promised;
use crate::state::{StreamGuard, TunnelState};
use crate::tls::TlsIo;
use crate::watch::Watch;

/// A request that arrived on a tunnel. If nobody answers it (the pod leaves, the process ends) the peer is told that
/// nothing was done with it, and may try elsewhere.
#[derive(Debug)]
pub struct Incoming {
    /// The request.
    pub asked: Asked,
    stream: Handle,
    /// Counts the stream while it is held.
    guard: StreamGuard,
}

/// A request that was answered with 200; its bytes go to an application once the answer is out.
#[derive(Debug)]
pub struct Accepted {
    pub(crate) stream: Handle,
    pub(crate) guard: StreamGuard,
}

impl Incoming {
    /// Answers 200, with the promise that the answer is out before the application gets a byte.
    ///
    /// # Errors
    /// The peer has reset the stream meanwhile: nobody waits for an answer.
    pub fn accept(self, baggage: Option<&HeaderValue>) -> Result<Accepted, Broken> {
        self.stream.accept(baggage)?;
        Ok(Accepted {
            stream: self.stream,
            guard: self.guard,
        })
    }

    /// Whether the peer has sent all it has to send.
    #[cfg(test)]
    pub(crate) fn is_all_here(&self) -> bool {
        self.stream.peer_has_ended()
    }

    /// Answers with another status.
    pub fn refuse(self, status: StatusCode) {
        self.stream.refuse(status);
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
    io: TlsIo<S>,
    limits: &Limits,
    drain: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
    mut handle: impl FnMut(Incoming),
) -> Result<(), TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let core: Shared = Rc::new(RefCell::new(Core::new(Role::Server, limits)));
    let mut server = Server {
        driver: Driver::new(io, &core, Watch::new(limits, None)),
        core,
        state: TunnelState::new(Promised::default()),
        // A stream that the peer resets is off the protocol's count at once, while what was begun for
        // it here goes on for a while. Without a count of our own a peer could begin any number.
        bound: limits.max_streams as usize * 2,
        draining: false,
        ending: false,
    };
    // Boxed: a tunnel does not carry it along.
    Box::pin(server.settle(limits, &mut handle)).await?;
    let (mut drain, mut end) = (pin!(drain), pin!(end));
    poll_fn(|cx| {
        server.draining |= !server.draining && drain.as_mut().poll(cx).is_ready();
        server.ending |= !server.ending && end.as_mut().poll(cx).is_ready();
        server.poll(cx, &mut handle)
    })
    .await
    .map_err(|error: io::Error| TunnelError::Http2(error.to_string()))
}

struct Server<S> {
    driver: Driver<S>,
    core: Shared,
    state: Rc<TunnelState>,
    bound: usize,
    draining: bool,
    ending: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// Exchanges settings.
    async fn settle(
        &mut self,
        limits: &Limits,
        handle: &mut impl FnMut(Incoming),
    ) -> Result<(), TunnelError> {
        let settled = poll_fn(|cx| {
            let polled = self.poll(cx, handle);
            if polled.is_pending() && self.core.borrow().is_settled() {
                // What else there is to do is done by whoever polls next.
                cx.waker().wake_by_ref();
                return Poll::Ready(Ok(()));
            }
            polled
        });
        timeout(limits.handshake_timeout, settled)
            .await
            .map_err(|_| TunnelError::HandshakeTimeout)?
            .map_err(|error| TunnelError::Http2(error.to_string()))
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        handle: &mut impl FnMut(Incoming),
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_turn(cx, handle);
        self.driver.turned(cx, &self.state, polled)
    }

    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        handle: &mut impl FnMut(Incoming),
    ) -> Poll<Result<(), Over>> {
        let read = self.driver.read(cx);
        self.hand_out(handle);
        match read {
            Err(Over::Closed) if !self.core.borrow().has_open_streams() => {
                return Poll::Ready(Ok(()));
            }
            other => other?,
        }
        {
            let mut core = self.core.borrow_mut();
            if self.draining {
                core.say_goodbye();
            }
            if self.ending {
                core.say_last(Reason::NO_ERROR);
            }
        }
        if self.driver.watch(cx, &self.state).is_ready() {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the peer went silent");
            return Poll::Ready(Err(Over::Died(error)));
        }
        self.driver.write(cx)?;
        if self.ending || self.core.borrow().is_served() {
            ready!(self.driver.poll_close(cx)).map_err(Over::Died)?;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn hand_out(&mut self, handle: &mut impl FnMut(Incoming)) {
        loop {
            let asked = self.core.borrow_mut().take_asked();
            let Some((id, asked)) = asked else {
                return;
            };
            let stream = Handle::new(&self.core, id, Reason::REFUSED_STREAM);
            if self.state.streams() >= self.bound {
                // Not processed, the peer hears as this is dropped.
                continue;
            }
            handle(Incoming {
                asked,
                stream,
                guard: StreamGuard::new(&self.state),
            });
        }
    }
}
