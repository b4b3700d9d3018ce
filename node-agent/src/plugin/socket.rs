//! The plugin socket: made for root alone, and never taken from an agent that still answers.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Another agent is alive on it; the operator must stop that one first.
    #[error("{} is served by another agent, which must be stopped first", .0.display())]
    Taken(PathBuf),
    /// Others could replace the socket, so it could not be trusted.
    #[error(
        "{} can be written by others (mode {mode:o}); the plugin could be led to a false agent",
        directory.display()
    )]
    OpenDirectory {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file system refused.
    #[error("cannot make the plugin socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The listening socket; its file goes when this is dropped, unless a successor has replaced it.
#[derive(Debug)]
pub(crate) struct PluginSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl PluginSocket {
    /// Binds. The socket appears under its name in one step, listening and with mode 0600.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let io = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io)?;
        let mode = std::fs::metadata(directory).map_err(io)?.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(SocketError::OpenDirectory {
                directory: directory.to_owned(),
                mode,
            });
        }
        // Connecting reaches the kernel's queue, so even a stopped agent counts as alive.
        if StdStream::connect(path).is_ok() {
            return Err(SocketError::Taken(path.to_owned()));
        }
        let fresh = fresh_name(path);
        remove_if_there(&fresh).map_err(io)?;
        let listener = StdListener::bind(&fresh).map_err(io)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o600)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        std::fs::rename(&fresh, path).map_err(io)?;
        let inode = std::fs::metadata(path).map_err(io)?.ino();
        let listener = UnixListener::from_std(listener).map_err(io)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
        })
    }
}

impl Drop for PluginSocket {
    fn drop(&mut self) {
        let still_ours = std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the plugin socket");
        }
    }
}

fn fresh_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_root_alone_and_goes_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run/agent.sock");
        let socket = PluginSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let directory = std::fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(directory.mode() & 0o777, 0o700);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("agent.sock");
        drop(StdListener::bind(&path).unwrap());
        let live = PluginSocket::bind(&path).unwrap();
        assert!(matches!(
            PluginSocket::bind(&path),
            Err(SocketError::Taken(_))
        ));
        drop(live);
        PluginSocket::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_successors_socket_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("agent.sock");
        let old = PluginSocket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _new = PluginSocket::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_directory_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
        let error = PluginSocket::bind(&root.path().join("agent.sock")).unwrap_err();
        assert!(
            matches!(error, SocketError::OpenDirectory { mode: 0o777, .. }),
            "{error}"
        );
    }
}
