mod error;
mod read;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::MeshStore;

pub use error::MeshFileError;
pub use read::parse_document;
use read::{Stamp, load};
use watch::DirectoryWatch;

/// How long to let a writer finish what it is doing before the file is read.
const SETTLE: Duration = Duration::from_millis(30);

/// How long to wait for a directory that is gone to come back, each time.
const ABSENT_RETRY: Duration = Duration::from_secs(1);

/// What became of the last reading of the file.
#[derive(Debug, Clone, Default)]
pub struct FileStatus {
    last_error: Arc<Mutex<Option<Arc<MeshFileError>>>>,
}

impl FileStatus {
    /// Why the file as it is now is not in force; none when it is.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<MeshFileError>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, error: Option<Arc<MeshFileError>>) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// A file whose state is in force and that is to be watched.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    store: Arc<MeshStore>,
    watch: DirectoryWatch,
    stamp: Option<Stamp>,
    status: FileStatus,
}

/// Reads a file into the store, and prepares to read it again on each change: run the result.
///
/// Changes from before this returns are not lost, whenever it is run.
///
/// # Errors
/// When the file or its directory cannot be read, or the file has mistakes. The store is then as
/// it was.
pub async fn watch_file(
    path: impl Into<PathBuf>,
    store: Arc<MeshStore>,
) -> Result<WatchedFile, MeshFileError> {
    let path = path.into();
    // Before the first reading, so that no change can fall between the two.
    let watch = DirectoryWatch::new(&path).map_err(|error| MeshFileError::Watch {
        path: path.clone(),
        error,
    })?;
    let status = FileStatus::default();
    let mut watched = WatchedFile {
        path,
        store,
        watch,
        stamp: None,
        status,
    };
    watched.read().await?;
    Ok(watched)
}

impl WatchedFile {
    /// A handle that says what became of the last reading.
    #[must_use]
    pub fn status(&self) -> FileStatus {
        self.status.clone()
    }

    /// Watches the file for ever. Mistakes are logged, every one, and change nothing.
    pub async fn run(mut self) {
        loop {
            let named = match self.watch.changed().await {
                Ok(named) => named,
                Err(error) => {
                    self.note(MeshFileError::Watch {
                        path: self.path.clone(),
                        error,
                    });
                    self.rewatch().await;
                    true
                }
            };
            tokio::time::sleep(SETTLE).await;
            let named = self.watch.drain() || named;
            // The directory may be busy with files that are no concern of ours.
            if named || Stamp::of(&self.path) != self.stamp {
                self.follow_link();
                if let Err(error) = self.read().await {
                    self.note(error);
                }
            }
        }
    }

    /// Waits for a directory that is gone to come back; nothing tells of that but looking.
    async fn rewatch(&mut self) {
        loop {
            if let Ok(watch) = DirectoryWatch::new(&self.path) {
                self.watch = watch;
                return;
            }
            tokio::time::sleep(ABSENT_RETRY).await;
        }
    }

    fn follow_link(&mut self) {
        if let Err(error) = self.watch.follow_link() {
            self.note(MeshFileError::Watch {
                path: self.path.clone(),
                error,
            });
        }
    }

    async fn read(&mut self) -> Result<(), MeshFileError> {
        // Taken before the content, so that a change in between shows as another stamp.
        self.stamp = Stamp::of(&self.path);
        let started = Instant::now();
        let state = load(self.path.clone()).await?;
        let (workloads, services, policies) = (
            state.workloads.len(),
            state.services.len(),
            state.policies.len(),
        );
        let store = Arc::clone(&self.store);
        let version = tokio::task::spawn_blocking(move || store.set_state(state))
            .await
            .map_err(|error| MeshFileError::Interrupted(error.to_string()))?;
        self.status.set(None);
        let took = started.elapsed();
        tracing::info!(
            path = %self.path.display(), version, workloads, services, policies, ?took,
            "mesh file read"
        );
        Ok(())
    }

    fn note(&self, error: MeshFileError) {
        error.log(&self.path);
        self.status.set(Some(Arc::new(error)));
    }
}

#[cfg(test)]
mod tests;
