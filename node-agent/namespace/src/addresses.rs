//! Addresses, and whether there is IPv6, in a namespace.

use std::fs;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use crate::enter::{EnterError, enter};
use crate::netlink::Netlink;
use crate::netns::Netns;
use crate::routes::LOOPBACK;

/// Why a pod's addresses could not be listed.
#[derive(thiserror::Error, Debug)]
pub enum AddressesError {
    /// Its namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The kernel did not answer.
    #[error("cannot list the pod's addresses: {0}")]
    List(#[source] io::Error),
}

/// The addresses of a namespace, without those of its loopback interface.
///
/// # Errors
/// When the namespace cannot be entered or the kernel does not answer.
pub fn addresses(ns: &Netns) -> Result<Vec<IpAddr>, AddressesError> {
    enter(ns, addresses_here)?.map_err(AddressesError::List)
}

fn addresses_here() -> io::Result<Vec<IpAddr>> {
    let listed = Netlink::route()?.list(Message::GetAddress(AddressMessage::default()))?;
    Ok(listed.into_iter().filter_map(own_address).collect())
}

fn own_address(message: Message) -> Option<IpAddr> {
    let Message::NewAddress(message) = message else {
        return None;
    };
    if message.header.index == LOOPBACK {
        return None;
    }
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    // On a point-to-point link the other attribute is the peer's address.
    find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// How much IPv6 a namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    /// None that a packet could use.
    None,
    /// Addresses, but not on `lo`: no route can lead there. The rules are needed all the same, or
    /// the pod's IPv6 would leave in clear.
    NotOnLoopback,
    /// All of it.
    Full,
}

/// Looks how much IPv6 the calling thread's namespace has.
pub(crate) fn ipv6_here() -> io::Result<Ipv6> {
    // /proc/sys/net shows the namespace of the thread that reads.
    match fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6") {
        Ok(text) if text.trim() == "1" => {
            let some = addresses_here()?.iter().any(IpAddr::is_ipv6);
            Ok(if some {
                Ipv6::NotOnLoopback
            } else {
                Ipv6::None
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !kernel_has_ipv6() => {
            Ok(Ipv6::None)
        }
        // Not readable is no reason to leave a family open.
        _ => Ok(Ipv6::Full),
    }
}

fn kernel_has_ipv6() -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(
        AddressFamily::Inet6,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .is_ok()
}
