use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An address with a v4-mapped IPv6 address written as the IPv4 address it is.
///
/// Wildcard IPv6 listeners report IPv4 peers in the mapped form; every lookup and every rule
/// wants the other one.
#[must_use]
pub fn canonical_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SocketAddr);

        impl $name {
            /// Takes an address in this role, v4-mapped IPv6 written as IPv4.
            #[must_use]
            pub fn new(address: SocketAddr) -> Self {
                Self(canonical_address(address))
            }

            /// The plain socket address.
            #[must_use]
            pub fn get(self) -> SocketAddr {
                self.0
            }

            /// The IP address.
            #[must_use]
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            /// The port.
            #[must_use]
            pub fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl From<SocketAddr> for $name {
            fn from(address: SocketAddr) -> Self {
                Self::new(address)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

role! {
    /// Where a connection came from.
    SourceAddr
}
role! {
    /// Where the application wanted a captured connection to go.
    OriginalDst
}
role! {
    /// Where the tunnel itself connects to.
    NextHop
}
role! {
    /// The destination named in the CONNECT authority of a tunnel stream.
    HboneTarget
}
