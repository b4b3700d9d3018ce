//! Runs something inside a namespace.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::sched::{CloneFlags, setns};

use crate::netns::{Netns, NetnsId};

/// Why something could not be run inside a namespace.
#[derive(thiserror::Error, Debug)]
pub enum EnterError {
    /// No thread could be started.
    #[error("cannot start a thread to enter {id}: {source}; out of memory or threads")]
    Thread {
        /// Which namespace.
        id: NetnsId,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not let us in.
    #[error("cannot enter {id}: {source}; CAP_SYS_ADMIN over the namespace is needed")]
    Refused {
        /// Which namespace.
        id: NetnsId,
        /// What the kernel said.
        source: io::Error,
    },
    /// What ran inside panicked; this is a defect of the caller.
    #[error("work inside {id} panicked: {message}; please report it")]
    Panicked {
        /// Which namespace.
        id: NetnsId,
        /// The panic's message.
        message: String,
    },
}

/// Runs `work` inside a namespace and waits for it. It runs on a thread of its own that ends there:
/// no thread ever has to find its way back, so none can be left in the wrong namespace. Sockets it
/// opens and processes it starts belong to the namespace.
///
/// # Errors
/// When the namespace cannot be entered, or when `work` panics.
pub fn enter<T: Send>(ns: &Netns, work: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
    enter_descriptor(ns.as_fd(), ns.id(), work)
}

/// [`enter`], where the caller has made sure which namespace it is.
pub(crate) fn enter_descriptor<T: Send>(
    ns: BorrowedFd<'_>,
    id: NetnsId,
    work: impl FnOnce() -> T + Send,
) -> Result<T, EnterError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, move || {
                setns(ns, CloneFlags::CLONE_NEWNET).map(|()| work())
            })
            .map_err(|source| EnterError::Thread { id, source })?;
        match thread.join() {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(errno)) => Err(EnterError::Refused {
                id,
                source: errno.into(),
            }),
            Err(panic) => Err(EnterError::Panicked {
                id,
                message: message(panic.as_ref()),
            }),
        }
    })
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}
