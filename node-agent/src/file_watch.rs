//! Notices that a file was replaced or rewritten.
//!
//! The directory is watched, not the file: editors and configuration maps put a new file in the
//! old one's place, and a watch on the old one would never hear of it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{Inotify, WatchMask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A watch on one file.
#[derive(Debug)]
pub(crate) struct FileWatch {
    events: AsyncFd<Inotify>,
    path: PathBuf,
    /// What was there when last looked, to tell a change from a neighbour's.
    seen: Option<Fingerprint>,
}

type Fingerprint = (u64, u64, i64, i64);

impl FileWatch {
    /// Starts watching; must be called within a runtime.
    ///
    /// # Errors
    /// When the file's directory cannot be watched.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let inotify = Inotify::init()?;
        let changes = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::ATTRIB;
        inotify.watches().add(directory, changes)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for values whose descriptor may \
                  change under it; Inotify owns the same one all its life"
        )]
        let events = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self {
            events,
            path: path.to_owned(),
            seen: fingerprint(path),
        })
    }

    /// Waits until the file is another than when last looked. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            self.something_happened().await?;
            // Whoever writes in several steps is given the time to finish.
            tokio::time::sleep(SETTLE).await;
            let now = fingerprint(&self.path);
            if now != self.seen {
                self.seen = now;
                return Ok(());
            }
        }
    }

    async fn something_happened(&mut self) -> io::Result<()> {
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
}

/// Follows links, as a configuration map's file is one.
fn fingerprint(path: &Path) -> Option<Fingerprint> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

const SETTLE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use tokio::time::timeout;

    use super::*;

    async fn notices(watch: &mut FileWatch) -> bool {
        timeout(Duration::from_secs(1), watch.changed())
            .await
            .is_ok_and(|outcome| outcome.is_ok())
    }

    #[tokio::test]
    async fn every_way_of_changing_a_file_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pods.yaml");
        let mut watch = FileWatch::new(&path).unwrap();
        std::fs::write(&path, "one").unwrap();
        assert!(notices(&mut watch).await, "created");
        std::fs::write(&path, "two!").unwrap();
        assert!(notices(&mut watch).await, "rewritten");
        std::fs::write(root.path().join("new"), "thr").unwrap();
        std::fs::rename(root.path().join("new"), &path).unwrap();
        assert!(notices(&mut watch).await, "replaced");
        std::fs::remove_file(&path).unwrap();
        assert!(notices(&mut watch).await, "removed");
    }

    #[tokio::test]
    async fn a_link_that_is_switched_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        for version in ["v1", "v2"] {
            std::fs::create_dir(root.path().join(version)).unwrap();
            std::fs::write(root.path().join(version).join("pods.yaml"), version).unwrap();
        }
        let (data, path) = (root.path().join("..data"), root.path().join("pods.yaml"));
        std::os::unix::fs::symlink("v1", &data).unwrap();
        std::os::unix::fs::symlink("..data/pods.yaml", &path).unwrap();
        let mut watch = FileWatch::new(&path).unwrap();
        std::os::unix::fs::symlink("v2", root.path().join("tmp")).unwrap();
        std::fs::rename(root.path().join("tmp"), &data).unwrap();
        assert!(notices(&mut watch).await);
    }

    #[tokio::test]
    async fn neighbours_are_not_noticed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pods.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::new(&path).unwrap();
        std::fs::write(root.path().join("other"), "two").unwrap();
        assert!(!notices(&mut watch).await);
    }
}
