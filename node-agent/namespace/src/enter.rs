//! Work inside a pod's namespace.

use std::any::Any;
use std::io;
use std::os::fd::AsFd as _;

use nix::sched::{CloneFlags, setns};

use crate::Netns;

/// Why nothing was done in a namespace.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// No thread could be started: the node is out of memory or threads; retry.
    #[error("cannot start a thread for a pod's network namespace: {0}")]
    Thread(io::Error),
    /// The kernel did not let us in.
    #[error("cannot enter a pod's network namespace: {0}; CAP_SYS_ADMIN is needed")]
    Refused(io::Error),
    /// The work itself is broken.
    #[error("work in a pod's network namespace panicked: {0}; report this")]
    Panicked(String),
}

/// Does something on a thread that is inside the namespace. The thread ends with it, so there is no
/// way back that could fail and no thread that could be left behind in a pod. Sockets that the
/// work opens and processes that it starts belong to the namespace.
///
/// # Errors
/// If the work was not done, or panicked.
pub fn enter<T: Send>(ns: &Netns, work: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("in-pod".to_owned())
            .spawn_scoped(scope, || {
                setns(ns.as_fd(), CloneFlags::CLONE_NEWNET)
                    .map_err(|error| EnterError::Refused(error.into()))?;
                Ok(work())
            })
            .map_err(EnterError::Thread)?
            .join()
            .unwrap_or_else(|panic| Err(EnterError::Panicked(words(panic.as_ref()))))
    })
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no words".to_owned())
}
