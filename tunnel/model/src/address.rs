//! Addresses by the part they play.
//!
//! A transparent proxy's classic error is to use the address of one part for another, so each has
//! a type of its own. All of them hold IPv4 addresses as IPv4, never mapped into IPv6.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SocketAddr);

        impl $name {
            /// The address in this part; a v4-mapped IPv6 address becomes IPv4.
            #[must_use]
            pub fn new(address: SocketAddr) -> Self {
                Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }

            /// The plain address, for system calls and logs.
            #[must_use]
            pub const fn get(self) -> SocketAddr {
                self.0
            }

            /// Its IP address.
            #[must_use]
            pub const fn ip(self) -> IpAddr {
                self.0.ip()
            }

            /// Its port.
            #[must_use]
            pub const fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

roles! {
    /// Who opened a connection.
    SourceAddr;
    /// Where a captured connection wanted to go before it was redirected.
    OriginalDst;
    /// Whom we dial for it.
    NextHop;
    /// What the CONNECT names: the address the peer delivers to.
    HboneTarget;
}

/// The Kubernetes uid of a pod, or what a foreign agent uses in its place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(std::sync::Arc<str>);

impl PodUid {
    /// Wraps a uid.
    #[must_use]
    pub fn new(uid: impl Into<std::sync::Arc<str>>) -> Self {
        Self(uid.into())
    }

    /// The text.
    #[must_use]
    pub const fn as_arc(&self) -> &std::sync::Arc<str> {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodUid({})", self.0)
    }
}
