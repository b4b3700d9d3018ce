//! The TCP connections that a namespace's processes have.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use node_agent_redirect::{Connection, Owner};

use crate::attributes::{attributes, find};
use crate::enter::{EnterError, enter};
use crate::netlink::{Answer, Netlink};
use crate::netns::Netns;

/// Why a pod's connections could not be listed.
#[derive(thiserror::Error, Debug)]
pub enum ConnectionsError {
    /// Its namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The kernel did not answer.
    #[error("cannot list the pod's connections: {0}; the kernel needs INET_DIAG")]
    List(#[source] io::Error),
}

/// The TCP connections in a namespace, from the first SYN on until both ends have closed.
///
/// # Errors
/// When the namespace cannot be entered or the kernel does not answer.
pub fn connections(ns: &Netns) -> Result<Vec<Connection>, ConnectionsError> {
    enter(ns, connections_here)?.map_err(ConnectionsError::List)
}

/// [`connections`] in the namespace of the calling thread.
pub(crate) fn connections_here() -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let listed = Netlink::sockets()?.list_raw(SOCK_DIAG_BY_FAMILY, &request(family));
        match listed {
            Ok(answers) => found.extend(answers.iter().filter_map(connection)),
            // A kernel without IPv6.
            Err(error) if family == libc::AF_INET6 && is_unknown(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EAFNOSUPPORT | libc::EINVAL)
    )
}

/// All sockets of a family that are in one of the states.
fn request(family: libc::c_int) -> Vec<u8> {
    let mut payload = Vec::with_capacity(REQUEST);
    // Both constants are small.
    payload.push(u8::try_from(family).unwrap_or_default());
    payload.push(u8::try_from(libc::IPPROTO_TCP).unwrap_or_default());
    payload.extend_from_slice(&[0, 0]);
    let states = STATES.iter().fold(0u32, |mask, state| mask | 1 << state);
    payload.extend_from_slice(&states.to_ne_bytes());
    // Any address, port and interface.
    payload.resize(REQUEST, 0);
    payload
}

/// What one answer says: addresses are 16 bytes each, ports in network order.
fn connection(answer: &Answer) -> Option<Connection> {
    if answer.kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let socket = answer.message.get(NETLINK_HEADER..)?;
    let family = libc::c_int::from(*socket.first()?);
    let port = |at: usize| Some(u16::from_be_bytes(socket.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| -> Option<IpAddr> {
        if family == libc::AF_INET {
            let bytes: [u8; 4] = socket.get(at..at + 4)?.try_into().ok()?;
            return Some(Ipv4Addr::from(bytes).into());
        }
        let bytes: [u8; 16] = socket.get(at..at + 16)?.try_into().ok()?;
        // A socket for both families shows IPv4 in disguise; its packets are IPv4.
        Some(Ipv6Addr::from(bytes).to_canonical())
    };
    let mark = find(&attributes(socket.get(SOCKET..)?), INET_DIAG_MARK)
        .and_then(|value| value.try_into().ok())
        .map_or(0, u32::from_ne_bytes);
    let state = *socket.get(1)?;
    let inode = u32::from_ne_bytes(socket.get(68..SOCKET)?.try_into().ok()?);
    Some(Connection {
        local: SocketAddr::new(address(8)?, port(4)?),
        remote: SocketAddr::new(address(24)?, port(6)?),
        mark,
        owner: if state == FIN_WAIT2 && inode == 0 {
            Owner::Nobody
        } else {
            Owner::Somebody
        },
    })
}

const NETLINK_HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_MARK: u16 = 15;
/// Sizes of the question and of the fixed part of an answer.
const REQUEST: usize = 56;
const SOCKET: usize = 72;

/// This end has closed and the other end has said that it has all.
const FIN_WAIT2: u8 = 5;
/// All but listening ones and those where only the kernel waits for late packets. Half-open ones
/// count: their next packet is no SYN either.
const STATES: [u8; 8] = [
    1, // ESTABLISHED
    2, // SYN_SENT
    3, // SYN_RECV
    4, // FIN_WAIT1
    FIN_WAIT2, 8,  // CLOSE_WAIT
    9,  // LAST_ACK
    11, // CLOSING
];
