//! The types a setting can have: how each is read from a decoded value and named in the help.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde_json::Value;

/// A number of bytes, written `65536`, `64KiB`, `4MiB` or `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A type a row can have.
pub(crate) trait Kind: Sized {
    /// How the help names it.
    const NAME: &'static str;

    /// Reads a value, or says what was expected instead.
    fn read(value: &Value) -> Result<Self, String>;

    /// Whether it is smaller than `other`; only types with an order can have a span.
    fn precedes(&self, _other: &Self) -> bool {
        false
    }

    /// Its text, for types that are text.
    fn text(&self) -> Option<&str> {
        None
    }
}

impl Kind for String {
    const NAME: &'static str = "text";

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("expected text, found {}", name_of(value))),
        }
    }

    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl Kind for PathBuf {
    const NAME: &'static str = "path";

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        // A relative path would depend on the directory the agent happened to be started in.
        if text.starts_with('/') {
            Ok(Self::from(text))
        } else {
            Err(format!("expected an absolute path, found {text:?}"))
        }
    }
}

impl Kind for bool {
    const NAME: &'static str = "true or false";

    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("expected true or false, found {}", name_of(value)))
    }
}

impl Kind for u32 {
    const NAME: &'static str = "number";

    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_u64()
            .and_then(|number| Self::try_from(number).ok())
            .ok_or_else(|| format!("expected a whole number, found {}", name_of(value)))
    }

    fn precedes(&self, other: &Self) -> bool {
        self < other
    }
}

impl Kind for Duration {
    const NAME: &'static str = "duration";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => parse_duration(text),
            other => Err(format!(
                "expected a duration with a unit such as 10s or 5m, found {}",
                name_of(other)
            )),
        }
    }

    fn precedes(&self, other: &Self) -> bool {
        self < other
    }
}

impl Kind for ByteSize {
    const NAME: &'static str = "size";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => parse_byte_size(text),
            other => other.as_u64().map(ByteSize).ok_or_else(|| {
                format!(
                    "expected a size such as 65536 or 64KiB, found {}",
                    name_of(other)
                )
            }),
        }
    }

    fn precedes(&self, other: &Self) -> bool {
        self < other
    }
}

impl Kind for SocketAddr {
    const NAME: &'static str = "ip:port";

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        text.parse().map_err(|_| {
            format!(
                "expected an address and port such as 127.0.0.1:15000 or [::]:15020, found {text:?}"
            )
        })
    }
}

impl Kind for IpAddr {
    const NAME: &'static str = "ip";

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        text.parse()
            .map_err(|_| format!("expected an address such as 10.0.0.1 or fd00::1, found {text:?}"))
    }
}

/// A host, by name or address, and a port, written `istiod.istio-system.svc:15012`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The name or the address, the latter without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Kind for HostPort {
    const NAME: &'static str = "host:port";

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        parse_host_port(&text).ok_or_else(|| {
            format!(
                "expected a host and a port such as istiod.istio-system.svc:15012 or \
                 [fd00::1]:15012, found {text:?}"
            )
        })
    }
}

/// Upstream's settings may begin with the scheme; there is but one.
fn parse_host_port(text: &str) -> Option<HostPort> {
    let text = text.strip_prefix("https://").unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let good = if let Some(address) = in_brackets {
        address.parse::<Ipv6Addr>().is_ok()
    } else {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        !host.is_empty() && host.bytes().all(allowed)
    };
    let host = in_brackets.unwrap_or(host).to_owned();
    good.then_some(HostPort { host, port })
}

/// Address blocks, written `[10.244.0.0/16, fd00:10:244::/56]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks(pub Vec<IpNetwork>);

impl Kind for Blocks {
    const NAME: &'static str = "list of address blocks";

    fn read(value: &Value) -> Result<Self, String> {
        let texts = Vec::<String>::read(value)?;
        if texts.is_empty() {
            return Err("expected at least one block".to_owned());
        }
        let block = |text: String| match text.parse() {
            Ok(block) if text.contains('/') => Ok(block),
            _ => Err(format!(
                "expected a block such as 10.244.0.0/16 or fd00:10:244::/56, found {text:?}"
            )),
        };
        texts
            .into_iter()
            .map(block)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Kind for Vec<String> {
    const NAME: &'static str = "list of text";

    fn read(value: &Value) -> Result<Self, String> {
        let Some(items) = value.as_array() else {
            return Err(format!("expected a list, found {}", name_of(value)));
        };
        items.iter().map(String::read).collect()
    }
}

impl<T: Kind> Kind for Option<T> {
    const NAME: &'static str = T::NAME;

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            other => T::read(other).map(Some),
        }
    }

    fn text(&self) -> Option<&str> {
        self.as_ref().and_then(T::text)
    }
}

/// Reads a duration: one or more of a whole number and a unit (`ms`, `s`, `m`, `h`, `d`).
///
/// # Errors
/// Says what was expected, quoting the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let complaint =
        || format!("expected a duration with a unit such as 10s, 500ms or 1h30m, found {text:?}");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(complaint());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(complaint)?;
        let unit_length = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_length);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(complaint()),
        };
        let part = number.checked_mul(milliseconds).ok_or_else(complaint)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(complaint)?;
        rest = next;
    }
    Ok(total)
}

/// Reads a size in bytes: a whole number and optionally `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// Says what was expected, quoting the text.
pub fn parse_byte_size(text: &str) -> Result<ByteSize, String> {
    let complaint = || format!("expected a size such as 65536, 64KiB or 4MiB, found {text:?}");
    let (number, unit) = leading_number(text.trim()).ok_or_else(complaint)?;
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(complaint()),
    };
    number
        .checked_mul(factor)
        .map(ByteSize)
        .ok_or_else(complaint)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let length = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    digits.parse().ok().map(|number| (number, rest))
}

/// How a person would call a decoded value.
pub(crate) fn name_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}
