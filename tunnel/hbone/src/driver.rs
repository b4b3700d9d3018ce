//! Keeps one connection going: reads, lets what arrived go where it belongs, sends once for each turn, watches for
//! silence.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::http2::{Broken, Fault, Reason, Shared};
use crate::state::TunnelState;
use crate::tls::{Opened, TlsIo};
use crate::turn;
use crate::watch::{Verdict, Watch};

/// Plaintext taken in one turn of the event loop, bytes. A peer that never stops sending would keep everybody else on
/// the thread waiting.
const TURN: usize = 256 * 1024;
/// Ciphertext sent in one turn, bytes.
const SENT: usize = 512 * 1024;
/// What may wait for a peer that does not read, bytes: data is held back long before.
const UNREAD: usize = crate::tls::ROOM + (512 << 10);

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Over {
    /// The peer has closed it.
    Closed,
    /// The peer broke the protocol, and was told.
    Fault(Fault),
    /// It failed.
    Died(io::Error),
}

impl From<Fault> for Over {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One connection and its core. When it goes, so do the streams.
pub(crate) struct Driver<S> {
    io: TlsIo<S>,
    core: Shared,
    watch: Watch,
    /// More has arrived than was read in the latest turn.
    behind: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(crate) fn new(io: TlsIo<S>, core: &Shared, watch: Watch) -> Self {
        let core = Rc::clone(core);
        let behind = false;
        Self {
            io,
            core,
            watch,
            behind,
        }
    }

    /// The beginning of a turn: takes what has arrived.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let core = &mut *self.core.borrow_mut();
        core.begin_turn(cx);
        let most = TURN.min(turn::left());
        let mut taken = 0;
        self.behind = false;
        loop {
            if taken >= most {
                self.behind = true;
                // Others on this thread get their turn first.
                turn::later(cx);
                return Ok(());
            }
            match self.io.poll_open(cx, core.gather(), most - taken) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(Over::Died(error)),
                Poll::Ready(Ok(Opened::End)) => return Err(Over::Closed),
                Poll::Ready(Ok(Opened::Some)) => {}
            }
            let (input, pieces) = self.io.pieces();
            let some = pieces.iter().map(ExactSizeIterator::len).sum::<usize>();
            taken += some;
            turn::moved(some);
            core.receive(input, pieces)?;
            self.io.release();
        }
    }

    /// The end of a turn: sends what has gathered, and lets those go on who waited for that.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let core = &mut *self.core.borrow_mut();
        loop {
            let before = core.gather().waiting();
            let sent = self.io.poll_send(cx, core.gather(), SENT);
            turn::moved(before.saturating_sub(core.gather().waiting()));
            core.open_gates();
            // What those who got something owe to the peer is told at once.
            if sent.map_err(Over::Died)?.is_pending() || core.gather().is_empty() {
                break;
            }
        }
        core.end_turn();
        core.grant();
        if core.gather().waiting() > UNREAD {
            return Err(Fault::excessive("the peer asks for more than it reads").into());
        }
        Ok(())
    }

    /// Whether the peer lives and the connection is of use.
    pub(crate) fn watch(&mut self, cx: &mut Context<'_>, state: &TunnelState) -> Poll<Verdict> {
        if self.behind {
            // A sign of life may be in what was not read, and the next turn comes at once.
            return Poll::Pending;
        }
        let core = &mut *self.core.borrow_mut();
        self.watch.poll(cx, state, core, self.io.received())
    }

    /// Sends what is left and says that no more will come.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let core = &mut *self.core.borrow_mut();
        self.io.poll_close(cx, core.gather())
    }

    /// What has become of a turn, for whoever runs the connection. When it is over, so are its streams.
    pub(crate) fn turned(
        &mut self,
        cx: &mut Context<'_>,
        state: &TunnelState,
        polled: Poll<Result<(), Over>>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(polled);
        state.set_closed();
        self.end(cx, result.as_ref().err().unwrap_or(&Over::Closed));
        Poll::Ready(result.map_err(Over::into_io))
    }

    /// The connection is over: its streams hear why, and the peer does if it was its fault.
    fn end(&mut self, cx: &mut Context<'_>, over: &Over) {
        let core = &mut *self.core.borrow_mut();
        let why = match over {
            Over::Closed => {
                let words = "closed by the peer";
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, words);
                Broken::Died(Rc::new(error))
            }
            Over::Fault(fault) => {
                core.say_last(fault.reason());
                // Whether it still listens does not matter.
                drop(self.io.poll_close(cx, core.gather()));
                Broken::Ended(fault.reason())
            }
            // We ended it: the answer may be in what could not be read.
            Over::Died(error) if error.kind() == io::ErrorKind::InvalidData => {
                Broken::Ended(Reason::PROTOCOL_ERROR)
            }
            Over::Died(error) => {
                let same = io::Error::new(error.kind(), error.to_string());
                Broken::Died(Rc::new(same))
            }
        };
        core.end(&why);
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        let error = io::Error::new(io::ErrorKind::ConnectionAborted, "cut off");
        self.core.borrow_mut().end(&Broken::Died(Rc::new(error)));
    }
}

impl Over {
    fn into_io(self) -> io::Error {
        match self {
            Self::Closed => io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer closed the connection while streams were open",
            ),
            Self::Fault(fault) => io::Error::new(io::ErrorKind::InvalidData, fault.to_string()),
            Self::Died(error) => error,
        }
    }
}
