//! The well-known socket, where a successor asks for what is kept.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
};
use node_agent_namespace::{PeerCredentials, peer_credentials};

/// The door could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Others could replace the socket, so it could not be trusted.
    #[error(
        "{} can be written by others (mode {mode:o}); an upgrade could be led to a false agent",
        directory.display()
    )]
    OpenDirectory {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Somebody who is not root answers.
    #[error("user {uid} answers at {}: that is not the agent", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// The kernel or the file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn failing<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> DoorError {
    let path = path.to_owned();
    move |source| DoorError::Kernel {
        action,
        path,
        source: source.into(),
    }
}

/// The listening end.
#[derive(Debug)]
pub struct Door {
    listener: OwnedFd,
}

impl Door {
    /// Binds. The socket appears under its name in one step, listening and with mode 0600; one of
    /// a predecessor is replaced in the same step.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn bind(path: &Path) -> Result<Self, DoorError> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        private_directory(directory)?;
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failing("replace", &fresh)(error));
            }
            _ => {}
        }
        let listener = packet_socket().map_err(failing("make", path))?;
        let address = UnixAddr::new(&fresh).map_err(failing("name", &fresh))?;
        bind(listener.as_raw_fd(), &address).map_err(failing("bind", &fresh))?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))
            .map_err(failing("protect", &fresh))?;
        let backlog = Backlog::new(16).map_err(failing("listen on", &fresh))?;
        listen(&listener, backlog).map_err(failing("listen on", &fresh))?;
        std::fs::rename(&fresh, path).map_err(failing("replace", path))?;
        Ok(Self { listener })
    }

    /// The listening end that somebody else bound.
    #[must_use]
    pub fn from_listener(listener: OwnedFd) -> Self {
        Self { listener }
    }

    /// Asks at the door; `None` when nobody is behind it.
    ///
    /// # Errors
    /// Somebody is, but is not root, or the kernel refuses.
    pub fn knock(path: &Path) -> Result<Option<(OwnedFd, PeerCredentials)>, DoorError> {
        let socket = packet_socket().map_err(failing("make", path))?;
        let address = UnixAddr::new(path).map_err(failing("name", path))?;
        match connect(socket.as_raw_fd(), &address).map_err(io::Error::from) {
            Ok(()) => {}
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                    _ => Err(failing("ask at", path)(error)),
                };
            }
        }
        let peer = peer_credentials(&socket).map_err(failing("identify who answers at", path))?;
        if peer.uid != 0 {
            return Err(DoorError::Stranger {
                path: path.to_owned(),
                uid: peer.uid,
            });
        }
        Ok(Some((socket, peer)))
    }

    /// The next successor that asks, if one does. Only root's processes are heard.
    ///
    /// # Errors
    /// The kernel refuses; most often descriptors have run out.
    pub fn accept(&self) -> io::Result<Option<OwnedFd>> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = match accept4(self.listener.as_raw_fd(), flags) {
            Ok(number) => crate::process::owned(number),
            Err(nix::Error::EAGAIN | nix::Error::ECONNABORTED | nix::Error::EINTR) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let peer = peer_credentials(&socket)?;
        if peer.uid == 0 {
            return Ok(Some(socket));
        }
        tracing::warn!(
            uid = peer.uid,
            pid = peer.pid,
            "a stranger asked at the holder's socket"
        );
        Ok(None)
    }

    /// A duplicate, for whoever answers once this process is gone.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone()
    }
}

impl AsRawFd for Door {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl From<Door> for OwnedFd {
    fn from(door: Door) -> Self {
        door.listener
    }
}

/// Makes a directory for root alone, or refuses one that others can write.
pub(crate) fn private_directory(directory: &Path) -> Result<(), DoorError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failing("make", directory))?;
    let facts = std::fs::metadata(directory).map_err(failing("look at", directory))?;
    let mode = facts.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(DoorError::OpenDirectory {
            directory: directory.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn packet_socket() -> nix::Result<OwnedFd> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )
}
