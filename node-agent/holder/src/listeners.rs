//! The agent's own listeners: the plugin's socket and the sites.

use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen,
    setsockopt, socket, sockopt,
};

use crate::door::{DoorError, private_directory};

/// A listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another agent is alive on it; the operator must stop that one first.
    #[error(
        "{} is served by another agent that is not the one behind the holder's socket; stop it \
         first",
        .0.display()
    )]
    Taken(PathBuf),
    /// Its directory cannot be trusted or made.
    #[error(transparent)]
    Directory(#[from] DoorError),
    /// The plugin's socket could not be made.
    #[error("cannot make the plugin socket {}: {source}", path.display())]
    Plugin {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An address could not be listened on. The operator must free it or choose another.
    #[error("cannot listen on {address}: {source}")]
    Site {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Binds the plugin's socket. It appears under its name in one step, listening and with mode 0600.
///
/// # Errors
/// See [`ListenError`].
pub fn bind_plugin(path: &Path) -> Result<UnixListener, ListenError> {
    let plugin = |source| ListenError::Plugin {
        path: path.to_owned(),
        source,
    };
    private_directory(path.parent().unwrap_or(Path::new("/")))?;
    // Connecting reaches the kernel's queue, so even a stopped agent counts as alive.
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::Taken(path.to_owned()));
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(plugin(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(plugin)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600)).map_err(plugin)?;
    listener.set_nonblocking(true).map_err(plugin)?;
    std::fs::rename(&fresh, path).map_err(plugin)?;
    Ok(listener)
}

/// Binds a site. The unspecified IPv6 address also takes IPv4, and where the machine has no IPv6 it
/// stands for the unspecified IPv4 address.
///
/// # Errors
/// When the address is taken, not this machine's, or not permitted.
pub fn bind_site(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = match tcp(address) {
        Err(nix::Error::EAFNOSUPPORT | nix::Error::EADDRNOTAVAIL)
            if address.is_ipv6() && address.ip().is_unspecified() =>
        {
            tcp((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        other => other,
    };
    bound.map_err(|errno| ListenError::Site {
        address,
        source: errno.into(),
    })
}

fn tcp(address: SocketAddr) -> nix::Result<TcpListener> {
    use std::os::fd::AsRawFd;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(
        family,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::Tcp,
    )?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(fd))
}

const BACKLOG: i32 = 128;
