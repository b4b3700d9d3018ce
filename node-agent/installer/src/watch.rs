//! Notices that something happened in one of several directories.

use std::io;
use std::path::{Path, PathBuf};

use inotify::{Inotify, WatchMask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A watch on directories.
#[derive(Debug)]
pub(crate) struct Watch {
    events: AsyncFd<Inotify>,
}

impl Watch {
    /// A watch on nothing yet; must be called within a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for values whose descriptor may change under it; \
                      Inotify owns the same one all its life"
        )]
        let events = AsyncFd::with_interest(Inotify::init()?, Interest::READABLE)?;
        Ok(Self { events })
    }

    /// Watches these, too. A directory that was watched and is another one by now is watched anew.
    pub(crate) fn add(&self, directories: &[PathBuf]) -> io::Result<()> {
        let changes = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let mut watches = self.events.get_ref().watches();
        for directory in directories.iter().map(Path::new) {
            watches.add(directory, changes)?;
        }
        Ok(())
    }

    /// Waits until something happened since the last call. Cancel-safe.
    pub(crate) async fn happened(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut ready = self.events.readable_mut().await?;
            let read =
                ready.try_io(|inotify| inotify.get_mut().read_events(&mut buffer).map(|_| ()));
            if let Ok(outcome) = read {
                return outcome;
            }
        }
    }

    /// Takes no notice of what happened up to now.
    pub(crate) fn forget(&mut self) {
        let mut buffer = [0; 4096];
        while self
            .events
            .get_mut()
            .read_events(&mut buffer)
            .is_ok_and(|mut read| read.next().is_some())
        {}
    }
}
