//! The result of an ADD: the previous plugin's, or the empty one.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::version::SpecVersion;

/// What the plugin before this one in the chain answered.
#[derive(Debug, Clone)]
pub struct PrevResult {
    raw: Box<RawValue>,
    view: View,
}

/// Why `prevResult` cannot be understood. It is the fault of the plugin before us or of the
/// runtime; repeating does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrevResultError {
    /// It has not the shape of a result.
    #[error("prevResult is not a result: {0}")]
    Shape(String),
    /// One of its addresses is none.
    #[error("prevResult has the address \"{}\", which is not of the form address/prefix", .0.escape_debug())]
    Address(String),
    /// It is written in a version whose results look different.
    #[error("prevResult is of specification version \"{}\", which is not supported", .0.escape_debug())]
    Version(String),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    #[serde(default)]
    cni_version: Option<String>,
    #[serde(default)]
    interfaces: Option<Vec<Interface>>,
    #[serde(default)]
    ips: Option<Vec<Ip>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Interface {
    #[serde(default)]
    sandbox: Option<String>,
}

/// The address and its interface are written alike in all supported versions.
#[derive(Debug, Clone, Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    interface: Option<i64>,
}

impl PrevResult {
    pub(crate) fn read(raw: Box<RawValue>) -> Result<Self, PrevResultError> {
        // A derived reader takes an array for a struct as well; a result is an object.
        if !raw.get().starts_with('{') {
            return Err(PrevResultError::Shape("it is not an object".to_owned()));
        }
        let view: View = serde_json::from_str(raw.get())
            .map_err(|error| PrevResultError::Shape(error.to_string()))?;
        match view.cni_version.as_deref() {
            None | Some("") => {}
            Some(version) if SpecVersion::parse(version).is_some() => {}
            Some(version) => return Err(PrevResultError::Version(version.to_owned())),
        }
        for ip in view.ips.iter().flatten() {
            if !is_cidr(&ip.address) {
                return Err(PrevResultError::Address(ip.address.clone()));
            }
        }
        Ok(Self { raw, view })
    }

    /// Its text, exactly as it came.
    #[must_use]
    pub fn text(&self) -> &str {
        self.raw.get()
    }

    /// The container's addresses, each `address/prefix`: those of interfaces in the sandbox, and
    /// those without an interface. Addresses of the host's side are not the container's.
    #[must_use]
    pub fn container_addresses(&self) -> Vec<String> {
        let ips = self.view.ips.iter().flatten();
        ips.filter(|ip| !self.is_on_host(ip))
            .map(|ip| ip.address.clone())
            .collect()
    }

    fn is_on_host(&self, ip: &Ip) -> bool {
        let interface = ip
            .interface
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.view.interfaces.as_ref()?.get(index));
        interface.is_some_and(|interface| interface.sandbox.as_deref().unwrap_or("").is_empty())
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    prefix.bytes().all(|byte| byte.is_ascii_digit())
        && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest)
}

/// The result of an ADD that no plugin went before: nothing was added. Before 1.0.0 a result
/// always carries `dns`.
#[must_use]
pub fn empty_result(version: SpecVersion) -> String {
    let dns = if version < SpecVersion::V1_0_0 {
        r#","dns":{}"#
    } else {
        ""
    };
    format!(r#"{{"cniVersion":"{version}"{dns}}}"#)
}

#[cfg(test)]
mod tests;
