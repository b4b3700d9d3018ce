//! A descriptor that is known to be somebody else's network namespace.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::fstat;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// What tells one namespace from another, for as long as somebody keeps it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device of the namespace file system.
    pub dev: u64,
    /// Inode of the namespace.
    pub ino: u64,
}

impl std::fmt::Display for NetnsId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "net:[{}]", self.ino)
    }
}

/// A network namespace of a pod; keeps it alive while it exists.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
}

/// Why something is not a pod's network namespace.
#[derive(thiserror::Error, Debug)]
pub enum NetnsError {
    /// There is nothing at the path; the ordinary fate of a pod that was deleted.
    #[error("there is no network namespace at {path}: the pod is gone")]
    Gone {
        /// The path.
        path: PathBuf,
    },
    /// The path cannot be opened.
    #[error(
        "cannot open network namespace {path}: {source}; check that the directory of namespaces is visible here"
    )]
    Open {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not say what a descriptor is.
    #[error("cannot examine the namespace descriptor: {0}")]
    Kernel(#[from] io::Error),
    /// It is no network namespace.
    #[error(
        "what was given is not a network namespace: the caller passed something else, or the namespace was unmounted"
    )]
    NotANamespace,
    /// It is the namespace this process, or the host, runs in.
    #[error(
        "this is the network namespace of the node or of this process, not of a pod: refused; a pod with hostNetwork is never redirected"
    )]
    Host,
    /// A new one cannot be made.
    #[error("cannot create a network namespace: {0}; CAP_SYS_ADMIN is needed")]
    Create(#[source] io::Error),
}

impl Netns {
    /// Opens the namespace at a path, as container runtimes name it.
    ///
    /// # Errors
    /// When there is none, when it is something else, and when it is the host's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetnsError> {
        let path = path.as_ref();
        // Not by its driver: whatever the path names, opening it must neither hang nor do anything.
        let probed = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)
            .and_then(|probe| {
                let kind = fstatfs(&probe).map_err(io::Error::from)?;
                Ok((probe, kind.filesystem_type() == NSFS_MAGIC))
            });
        let opened = match probed {
            Ok((_, false)) => return Err(NetnsError::NotANamespace),
            Ok((probe, true)) => File::open(format!("/proc/self/fd/{}", probe.as_raw_fd())),
            Err(error) => Err(error),
        };
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
    /// When it is not a network namespace, and when it is the host's.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NetnsError> {
        // The request below means other things to other files, so the file system comes first.
        if fstatfs(&fd).map_err(io::Error::from)?.filesystem_type() != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace);
        }
        // SAFETY: NS_GET_NSTYPE takes no argument and only reads from the open descriptor.
        let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
        if kind < 0 {
            return Err(io::Error::last_os_error().into());
        }
        if kind != libc::CLONE_NEWNET {
            return Err(NetnsError::NotANamespace);
        }
        let status = fstat(&fd).map_err(io::Error::from)?;
        let id = NetnsId {
            dev: status.st_dev,
            ino: status.st_ino,
        };
        if is_host(id)? {
            return Err(NetnsError::Host);
        }
        Ok(Self { fd, id })
    }

    /// A new, empty namespace that nobody else knows; it ends with the returned value.
    ///
    /// # Errors
    /// When the privilege is missing.
    pub fn create() -> Result<Self, NetnsError> {
        let made = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns-new".into())
                .spawn_scoped(scope, || -> io::Result<OwnedFd> {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    Ok(File::open("/proc/thread-self/ns/net")?.into())
                })?;
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        });
        Self::from_fd(made.map_err(NetnsError::Create)?)
    }

    /// Which namespace it is.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// A second descriptor of the same namespace.
    ///
    /// # Errors
    /// When descriptors have run out.
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
    fn from(ns: Netns) -> Self {
        ns.fd
    }
}

/// Whether this is the namespace of this process or of the machine's first one. The latter may not
/// be readable from inside a container; then the former has to do.
fn is_host(id: NetnsId) -> io::Result<bool> {
    let of = |path: &str| {
        fs::metadata(path).map(|file| NetnsId {
            dev: file.dev(),
            ino: file.ino(),
        })
    };
    let own = of("/proc/self/ns/net")?;
    Ok(own == id || of("/proc/1/ns/net").is_ok_and(|first| first == id))
}
