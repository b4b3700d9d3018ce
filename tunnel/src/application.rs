//! Connections to the application in the pod, which come from the client's address.
//!
//! The port beside that address is ours to choose, and must not be one of a connection that the
//! client itself has to the same application: the two would be one connection to the pod. In the
//! mesh there are few of those, but a pod that was taken in while it ran keeps what it had open. A
//! client's kernel gives even ports to connections it makes as long as there are any, so ours are
//! odd. They are given in a row: a port is in use for a minute after its connection has ended
//! (`TIME_WAIT` is ours, because it is the client that ends most connections), and the one that was
//! given longest ago is the one most likely to be free.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tunnel_hbone::AppStream;
use tunnel_model::NextHop;
use tunnel_sockets::{Family, SocketKind, bind};

use crate::connect::connect;
use crate::pod::Pod;

/// The ports Linux gives to connections unless told otherwise, of which ours are every second.
const FIRST: u16 = 32_769;
const LAST: u16 = 60_999;
const COUNT: u16 = (LAST - FIRST) / 2 + 1;
/// After so many ports that were in use the kernel chooses, which looks at all of them: the next in
/// the row are hardly older.
const ATTEMPTS: usize = 2;

/// The row of ports of one pod, on all threads: each gets the next.
#[derive(Debug)]
pub(crate) struct Ports(AtomicU16);

impl Ports {
    /// Begins anywhere: after a restart the ports given last are still in use.
    pub(crate) fn new(random: u64) -> Self {
        // Less than the count, which is far less than a port can be.
        let begin = u16::try_from(random % u64::from(COUNT)).unwrap_or_default();
        Self(AtomicU16::new(begin))
    }

    fn next(&self) -> u16 {
        let step = |at: u16| Some((at + 1) % COUNT);
        // The closure always has a next one.
        let (Ok(at) | Err(at)) = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        FIRST + 2 * at
    }
}

/// A connection to the application that comes from the client's address. The error is for the
/// access line.
pub(crate) async fn connect_app(
    pod: &Rc<Pod>,
    client: SocketAddr,
    to: NextHop,
) -> Result<AppStream, String> {
    let family = Family::of(&to.ip());
    let lends = client.ip() != to.ip() && Family::of(&client.ip()) == family;
    let kind = if lends {
        SocketKind::Transparent
    } else {
        SocketKind::Outbound
    };
    // Its own address is the kernel's to give ports to.
    let mut own_choices = if lends { 0..ATTEMPTS } else { 0..0 };
    loop {
        let socket = pod.stock.take(family, kind).await;
        let socket = socket.map_err(|error| error.to_string())?;
        let chosen = own_choices.next().map(|_| pod.facts.ports.next());
        let outcome = attempt(pod, socket, lends.then_some((client.ip(), chosen)), to).await;
        match outcome {
            Err(Failure::PortTaken(_)) if chosen.is_some() => {}
            outcome => {
                let told = outcome.map_err(|failure| failure.tell(to));
                return told.map(AppStream::made);
            }
        }
    }
}

/// Why there is no connection.
enum Failure {
    /// Something has the port, or a connection just ended that had all the same.
    PortTaken(io::Error),
    Refused(io::Error),
    Late(Duration),
}

impl Failure {
    fn tell(&self, to: NextHop) -> String {
        match self {
            Self::PortTaken(error) => {
                format!("no port is left beside the client's address: {error}")
            }
            Self::Refused(error) => {
                format!("the application at {to} refused the connection: {error}")
            }
            Self::Late(limit) => format!("the application at {to} did not accept within {limit:?}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::PortTaken(error),
            _ => Self::Refused(error),
        }
    }
}

/// One attempt, from an address with a port of our choice or of the kernel's.
async fn attempt(
    pod: &Pod,
    socket: OwnedFd,
    from: Option<(IpAddr, Option<u16>)>,
    to: NextHop,
) -> Result<TcpStream, Failure> {
    match from {
        None => {}
        Some((client, None)) => bind(&socket, SocketAddr::new(client, 0))?,
        Some((client, Some(port))) => {
            // Others of ours, to other destinations, may have the port, as when the kernel chooses: the
            // socket was made so that it shares.
            bind(&socket, SocketAddr::new(client, port))?;
        }
    }
    let limit = pod.context.settings.limits.connect_timeout;
    match timeout(limit, connect(socket, to.get())).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(Failure::Late(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_odd_of_the_kernels_range_and_all_of_them_come_before_the_first_again() {
        for random in [0, 7, u64::from(COUNT) - 1, u64::MAX] {
            let ports = Ports::new(random);
            let row: Vec<u16> = (0..COUNT).map(|_| ports.next()).collect();
            let mut sorted = row.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq((FIRST..=LAST).step_by(2)));
            assert_eq!(ports.next(), row[0]);
        }
    }
}
