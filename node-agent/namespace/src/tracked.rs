//! What connection tracking still knows of connections that the tunnel had a part in.

use std::io;

use node_agent_redirect::{marks, ports};

use crate::attributes::{append, attributes, find};
use crate::netlink::{Answer, Netlink};

/// Forgets, in the calling thread's namespace, every tracked connection that was captured or made
/// in a client's name. Says how many there were.
///
/// Tracking keeps such a connection for minutes after its end. When the pod leaves the mesh and is
/// taken in again within that time, an application's new connection that happens to have the same
/// addresses and ports would be taken for the old one, and translated or marked like it.
pub(crate) fn forget() -> io::Result<usize> {
    let mut netlink = Netlink::netfilter()?;
    let listed = match netlink.list_raw(CONNTRACK | GET, &ANY_FAMILY) {
        Ok(listed) => listed,
        // The kernel does not let anybody see what it tracks.
        Err(error) if is_unsupported(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut forgotten = 0;
    for order in listed.iter().filter_map(removal) {
        match netlink.order_raw(CONNTRACK | DELETE, &order) {
            Ok(()) => forgotten += 1,
            // It ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPROTONOSUPPORT | libc::EINVAL | libc::EOPNOTSUPP)
    )
}

/// The order that removes a tracked connection, if it is one of ours.
fn removal(answer: &Answer) -> Option<Vec<u8>> {
    let message = answer.message.get(NETLINK_HEADER..)?;
    let header = message.get(..NETFILTER_HEADER)?;
    let all = attributes(message.get(NETFILTER_HEADER..)?);
    if !is_ours(&all) {
        return None;
    }
    let mut order = header.to_vec();
    append(&mut order, ORIGINAL | NESTED, find(&all, ORIGINAL)?);
    if let Some(zone) = find(&all, ZONE) {
        append(&mut order, ZONE, zone);
    }
    // Another connection may have come into its place.
    append(&mut order, ID, find(&all, ID)?);
    Some(order)
}

/// Whether it carries our mark, or its answers come from one of our ports though it was meant for
/// somewhere else.
fn is_ours(all: &[(u16, &[u8])]) -> bool {
    let mark = find(all, MARK).and_then(|value| value.try_into().ok());
    if mark.map(u32::from_be_bytes).unwrap_or_default() & marks::MASK == marks::CONNECTION {
        return true;
    }
    let port = |tuple: u16, end: u16| {
        let tuple = attributes(find(all, tuple)?);
        let protocol = attributes(find(&tuple, PROTOCOL)?);
        let port = find(&protocol, end)?.try_into().ok()?;
        Some(u16::from_be_bytes(port))
    };
    let (meant, answers) = (port(ORIGINAL, TO_PORT), port(REPLY, FROM_PORT));
    let redirected = [ports::OUTBOUND, ports::INBOUND_PLAINTEXT, ports::DNS];
    answers != meant && answers.is_some_and(|port| redirected.contains(&port))
}

const NETLINK_HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;
const ANY_FAMILY: [u8; NETFILTER_HEADER] = [0; NETFILTER_HEADER];

/// Subsystem of connection tracking, and what can be asked of it.
const CONNTRACK: u16 = 1 << 8;
const GET: u16 = 1;
const DELETE: u16 = 2;

const NESTED: u16 = 0x8000;
/// Attributes of a tracked connection, of a tuple, and of its protocol's part.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;
const PROTOCOL: u16 = 2;
const FROM_PORT: u16 = 2;
const TO_PORT: u16 = 3;
