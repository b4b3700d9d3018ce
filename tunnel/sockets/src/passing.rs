//! Which errors are worth another try.

use nix::errno::Errno;

use crate::request::SocketsError;

impl SocketsError {
    /// Whether the same request may be answered a moment later: whoever answers is being replaced,
    /// or the machine is short of something that comes and goes.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Holder { passing, .. } => *passing,
            Self::Socket { source, .. } | Self::Duplicate(source) => {
                let number = source.raw_os_error().map(Errno::from_raw);
                matches!(
                    number,
                    Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
                )
            }
            _ => false,
        }
    }
}
