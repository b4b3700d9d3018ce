//! Connections to the application in the pod, which come from the client's address.
//!
//! The port beside that address is ours to choose, and must not be one of a connection that the
//! client itself has to the same application: the two would be one connection to the pod. In the
//! mesh there are few of those, but a pod that was taken in while it ran keeps what it had open. A
//! client's kernel gives even ports to connections it makes as long as there are any, so ours are
//! odd.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tunnel_hbone::AppStream;
use tunnel_model::NextHop;
use tunnel_sockets::{Family, SocketKind};

use crate::pod::Pod;

/// The ports Linux gives to connections unless told otherwise, of which ours are every second.
const FIRST: u16 = 32_769;
const LAST: u16 = 60_999;
/// After so many ports that were in use the kernel chooses, which looks at all of them.
const ATTEMPTS: usize = 8;

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
        let chosen = own_choices.next().map(|_| odd(pod.context.random()));
        let outcome = attempt(pod, socket, lends.then_some((client.ip(), chosen)), to).await;
        match outcome {
            Err(Failure::PortTaken(_)) if chosen.is_some() => {}
            outcome => {
                let told = outcome.map_err(|failure| failure.tell(to));
                return told.map(AppStream::born_armed);
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
    socket: TcpSocket,
    from: Option<(IpAddr, Option<u16>)>,
    to: NextHop,
) -> Result<TcpStream, Failure> {
    match from {
        None => {}
        Some((client, None)) => socket.bind(SocketAddr::new(client, 0))?,
        Some((client, Some(port))) => {
            // Others of ours, to other destinations, may have the port, as when the kernel chooses.
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(client, port))?;
        }
    }
    let limit = pod.context.settings.limits.connect_timeout;
    match timeout(limit, socket.connect(to.get())).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(Failure::Late(limit)),
    }
}

fn odd(random: u64) -> u16 {
    let count = u64::from((LAST - FIRST) / 2 + 1);
    // Less than the count, which is far less than a port can be.
    let step = u16::try_from(random % count).unwrap_or_default();
    FIRST + 2 * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_odd_and_of_the_kernels_range() {
        let count = u64::from((LAST - FIRST) / 2 + 1);
        for random in (0..count).chain([u64::MAX]) {
            let port = odd(random);
            assert!(port % 2 == 1 && (FIRST..=LAST).contains(&port), "{port}");
        }
        assert_eq!((odd(0), odd(count - 1), odd(count)), (FIRST, LAST, FIRST));
    }
}
