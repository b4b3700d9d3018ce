use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whom a tunnel stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address.
    Ip(IpAddr),
    /// A hostname.
    Name(&'a str),
}

/// The `:authority` of a CONNECT request: `ip:port`, `[v6]:port` or `hostname:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Whom it is for.
    pub host: Host<'a>,
    /// The port asked for.
    pub port: u16,
}

impl<'a> Authority<'a> {
    /// Reads an authority. Anything beside the three shapes is `None`: user names, missing or
    /// zero ports, IPv6 without brackets, names no resolver would take.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if let Some(inner) = host.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            Host::Ip(IpAddr::from(ip).to_canonical())
        } else if let Ok(ip) = host.parse::<Ipv4Addr>() {
            Host::Ip(ip.into())
        } else {
            Host::Name(hostname(host)?)
        };
        // The number parser of the standard library also takes a sign.
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0)?;
        Some(Self { host, port })
    }
}

fn hostname(text: &str) -> Option<&str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // A last label of digits would be a mistyped IPv4 address to everybody else.
    let last_is_number = name.rsplit('.').next()?.bytes().all(|b| b.is_ascii_digit());
    (name.len() <= 253 && name.split('.').all(label) && !last_is_number).then_some(name)
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}
