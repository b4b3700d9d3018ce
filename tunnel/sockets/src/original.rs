//! Where a redirected connection wanted to go.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

/// The destination a connection had before the pod's rules redirected it (`SO_ORIGINAL_DST`), with
/// v4-mapped addresses given as IPv4.
///
/// # Errors
/// The kernel's error when the connection was not redirected (there is no conntrack entry): the
/// caller decides what a direct connection to the listener means.
pub fn original_destination(socket: &impl AsFd) -> io::Result<SocketAddr> {
    if let Ok(v4) = getsockopt(&socket.as_fd(), sockopt::OriginalDst) {
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into());
    }
    let v6 = getsockopt(&socket.as_fd(), sockopt::Ip6tOriginalDst)?;
    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical();
    let port = u16::from_be(v6.sin6_port);
    Ok(match ip {
        std::net::IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
        std::net::IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into(),
    })
}
