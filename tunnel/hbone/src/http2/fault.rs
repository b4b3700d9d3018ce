//! What goes wrong on a connection, and on a stream.

use std::io;
use std::rc::Rc;

use super::frame::Reason;

/// The peer broke the protocol in a way that ends the whole connection (RFC 9113 5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    reason: Reason,
    why: &'static str,
}

impl Fault {
    pub(crate) const fn new(reason: Reason, why: &'static str) -> Self {
        Self { reason, why }
    }

    pub(crate) const fn protocol(why: &'static str) -> Self {
        Self::new(Reason::PROTOCOL_ERROR, why)
    }

    /// The peer costs more than it should.
    pub(crate) const fn excessive(why: &'static str) -> Self {
        Self::new(Reason::ENHANCE_YOUR_CALM, why)
    }

    pub(crate) const fn reason(self) -> Reason {
        self.reason
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.why)
    }
}

/// Why a stream ended before its time.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Broken {
    /// The peer reset it.
    #[error("the peer reset it: {0}")]
    Reset(Reason),
    /// The peer says goodbye and has not processed it (RFC 9113 6.8): it may be sent elsewhere.
    #[error("the peer goes and has not processed it: {0}")]
    Unprocessed(Reason),
    /// The connection under it died or was closed by the peer.
    #[error("its connection died: {0}")]
    Died(Rc<io::Error>),
    /// We ended it, or its connection, for a mistake of the peer.
    #[error("ended here because of the peer: {0}")]
    Ended(Reason),
}

impl Broken {
    /// Whether the peer has said that it did not look at the stream.
    #[must_use]
    pub const fn is_unprocessed(&self) -> bool {
        matches!(
            self,
            Self::Unprocessed(_) | Self::Reset(Reason::REFUSED_STREAM)
        )
    }

    /// Whether it is the connection that died: what the peer did with the stream is not known.
    #[must_use]
    pub const fn is_death(&self) -> bool {
        matches!(self, Self::Died(_))
    }
}
