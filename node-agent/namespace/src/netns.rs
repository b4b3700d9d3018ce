//! A network namespace, held by a descriptor.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc;

/// Which namespace it is: the same for every descriptor of it while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device of the namespace file system.
    pub dev: u64,
    /// Number within it.
    pub ino: u64,
}

/// Why a path or descriptor cannot be taken for a pod's namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is nothing at the path: the pod is gone.
    #[error("there is no network namespace at {path}: the pod is gone")]
    Gone {
        /// The path.
        path: PathBuf,
    },
    /// The path exists but cannot be opened.
    #[error("cannot open the network namespace {path}: {source}; check the mount of the runtime's namespaces")]
    Open {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is something else.
    #[error("what was given as a network namespace is none: the caller's fault")]
    NotANamespace,
    /// It is the namespace of the node itself.
    #[error("refusing the node's own network namespace: only pods with their own are redirected")]
    Host,
    /// The kernel did not answer.
    #[error("cannot tell which network namespace a descriptor means: {0}")]
    Kernel(#[from] io::Error),
}

/// A pod's network namespace. It stays in existence while this is held.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
}

impl Netns {
    /// Opens the namespace at a path.
    ///
    /// # Errors
    /// See [`NetnsError`]; [`NetnsError::Gone`] is the ordinary fate of a deleted pod.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetnsError> {
        let path = path.as_ref();
        // Not blocking: the path comes from outside and might be a pipe.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        match opened {
            Ok(file) => Self::from_fd(file.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NetnsError::Gone {
                path: path.to_owned(),
            }),
            Err(source) => Err(NetnsError::Open {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Takes a descriptor that somebody passed.
    ///
    /// # Errors
    /// If it is not a network namespace, or the node's own.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NetnsError> {
        if !is_network_namespace(fd.as_fd())? {
            return Err(NetnsError::NotANamespace);
        }
        let id = identify(fd.as_fd())?;
        let own = File::open("/proc/self/ns/net")?;
        if identify(own.as_fd())? == id {
            return Err(NetnsError::Host);
        }
        Ok(Self { fd, id })
    }

    /// Which namespace it is.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Another descriptor of the same namespace.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            id: self.id,
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.fd
    }
}

fn identify(fd: BorrowedFd<'_>) -> io::Result<NetnsId> {
    let stat = nix::sys::stat::fstat(fd)?;
    Ok(NetnsId {
        dev: stat.st_dev,
        ino: stat.st_ino,
    })
}

fn is_network_namespace(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // The number of the question means something else to other files, so the file system first.
    if nix::sys::statfs::fstatfs(fd)?.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
        return Ok(false);
    }
    // SAFETY: the request takes no argument and the descriptor is open for as long as it is borrowed.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(kind == libc::CLONE_NEWNET)
}
