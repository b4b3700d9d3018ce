//! Socket options of every kind of socket that is made inside a pod.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::request::{Family, Port};

/// `SO_MARK` of every socket of the tunnel inside a pod: the pod's rules leave marked packets
/// alone, so the tunnel's own traffic is never captured again.
pub const PACKET_MARK: u32 = 0x539;

/// Connections waiting to be accepted. The kernel caps it at `net.core.somaxconn` of the pod's
/// namespace; large, because a burst must wait rather than be refused.
const BACKLOG: i32 = 4096;

const KEEPALIVE: Duration = Duration::from_secs(180);
const KEEPALIVE_PROBES: u32 = 9;

/// What a socket made in a pod's namespace will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// To another address, from the pod's own: marked.
    Outbound,
    /// To the application in the pod: marked, and may be bound to the client's address.
    Transparent,
    /// As the application itself would make it: unmarked, so the pod's rules capture it. Only for
    /// the self-probe.
    Captured,
}

pub(crate) fn listener(port: Port, ipv6: bool) -> io::Result<TcpListener> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(
        domain,
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if ipv6 {
        socket.set_only_v6(false)?;
    }
    // No SO_REUSEPORT: with it, a process of the same user inside the pod could open the port a
    // second time and take a share of the connections.
    socket.set_reuse_address(true)?;
    socket.set_mark(PACKET_MARK)?;
    // Accepted connections inherit these, which saves the calls for each.
    socket.set_tcp_nodelay(true)?;
    if port != Port::InboundHbone {
        // Tunnels watch their peer with pings.
        keep_alive(&socket)?;
        reset_when_cut_off(&socket)?;
    }
    let address = if ipv6 {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port.number()))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.number()))
    };
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub(crate) fn stream(family: Family, kind: SocketKind) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(
        domain,
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    match kind {
        SocketKind::Captured => {}
        SocketKind::Outbound => {
            socket.set_mark(PACKET_MARK)?;
            keep_alive(&socket)?;
            reset_when_cut_off(&socket)?;
        }
        SocketKind::Transparent => {
            socket.set_mark(PACKET_MARK)?;
            keep_alive(&socket)?;
            reset_when_cut_off(&socket)?;
            transparent(&socket, family)?;
        }
    }
    Ok(socket.into())
}

/// A connection that is closed without further ado ends with RST, also when the kernel closes it
/// because the process was killed: an application must not take that for the end of the stream.
/// Whoever ends a connection in order turns this off first.
///
/// Not on the HBONE port: what a tunnel carries is protected by TLS, so a peer cannot mistake its
/// end for an end of streams, and a killed process's last bytes should still reach the peer. They
/// hold the answers by which it knows what was delivered.
fn reset_when_cut_off(socket: &Socket) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

fn keep_alive(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE)
            .with_retries(KEEPALIVE_PROBES),
    )
}

fn transparent(socket: &Socket, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => {
            socket.set_ip_transparent_v4(true)?;
            socket.set_freebind_v4(true)?;
        }
        Family::V6 => {
            ipv6_transparent(socket)?;
            socket.set_freebind_v6(true)?;
        }
    }
    // A port that is asked for may be one that another connection from that address has, to another
    // destination, or had.
    socket.set_reuse_address(true)?;
    // A port that is not is then chosen at connect, by the whole 4-tuple: without it one client address
    // would be limited to one connection for each local port, whatever the destination.
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    Ok(())
}

/// `IPV6_TRANSPARENT` (`linux/in6.h`). The socket libraries know the option for IPv4 only.
fn ipv6_transparent(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the length of the call (borrowed from `socket`), and the
    // pointer and length describe one live `c_int`, which is what this option takes.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_TRANSPARENT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
