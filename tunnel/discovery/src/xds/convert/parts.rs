//! What several kinds of resources are made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tunnel_model::{
    GatewayAddress, GatewayDestination, Interner, IpNetwork, NetworkAddress, PolicyKey, PortMap,
    ServiceKey,
};

use crate::xds::proto::workload as proto;

/// The port on which gateways take tunnels when nothing else is said.
const HBONE_PORT: u16 = 15008;

/// Puts the name of a field in front of what is wrong with it.
pub(super) fn at<T>(field: &str, read: Result<T, String>) -> Result<T, String> {
    read.map_err(|why| format!("{field}: {why}"))
}

/// An address of 4 or 16 bytes.
pub(super) fn ip(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(v4).into());
    }
    let v6 = <[u8; 16]>::try_from(bytes)
        .map_err(|_| format!("an address cannot have {} bytes", bytes.len()))?;
    Ok(IpAddr::from(Ipv6Addr::from(v6)).to_canonical())
}

/// A block of addresses; one of v4-mapped IPv6 addresses is the IPv4 block it stands for.
pub(super) fn block(bytes: &[u8], length: u32) -> Result<IpNetwork, String> {
    let wrong = || {
        format!(
            "a block of {} bytes cannot have the length {length}",
            bytes.len()
        )
    };
    let ip = ip(bytes)?;
    let length = match (bytes.len(), ip) {
        (16, IpAddr::V4(_)) => length.checked_sub(96).ok_or_else(wrong)?,
        _ => length,
    };
    let length = u8::try_from(length).map_err(|_| wrong())?;
    IpNetwork::new(ip, length).map_err(|_| wrong())
}

/// Not cut down to 16 bits: a port that cannot be is a mistake, not another port.
pub(super) fn port(value: u32) -> Result<u16, String> {
    port_or_none(value)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{value} is not a port"))
}

/// A port, where 0 has a meaning.
pub(super) fn port_or_none(value: u32) -> Result<u16, String> {
    u16::try_from(value).map_err(|_| format!("{value} is not a port"))
}

/// The ports of an endpoint. One without a target cannot be reached, and is left out.
pub(super) fn ports(list: &proto::PortList) -> Result<PortMap, String> {
    let mut pairs = Vec::with_capacity(list.ports.len());
    for proto::Port {
        service_port,
        target_port,
    } in &list.ports
    {
        let (service, target) = (port(*service_port)?, port_or_none(*target_port)?);
        if target > 0 {
            pairs.push((service, target));
        }
    }
    Ok(PortMap::new(pairs))
}

/// Two names with a slash between them.
fn pair<'a>(text: &'a str, shape: &str) -> Result<(&'a str, &'a str), String> {
    match text.split_once('/') {
        Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains('/') => Ok((a, b)),
        _ => Err(format!("{text:?} is not {shape}")),
    }
}

pub(super) fn service_key(text: &str, interner: &mut Interner) -> Result<ServiceKey, String> {
    let (namespace, hostname) = pair(text, "NAMESPACE/HOSTNAME")?;
    Ok(ServiceKey::new(
        interner.text(namespace),
        interner.text(hostname),
    ))
}

pub(super) fn policy_key(text: &str, interner: &mut Interner) -> Result<PolicyKey, String> {
    let (namespace, name) = pair(text, "NAMESPACE/NAME")?;
    Ok(PolicyKey::new(
        interner.text(namespace),
        interner.text(name),
    ))
}

/// An address on a network, without its length.
pub(super) fn network_address(
    address: &proto::NetworkAddress,
    interner: &mut Interner,
) -> Result<NetworkAddress, String> {
    Ok(NetworkAddress {
        network: interner.text(&address.network),
        ip: ip(&address.address)?,
    })
}

/// A waypoint or a network gateway, if there is one.
pub(super) fn gateway(
    gateway: Option<&proto::GatewayAddress>,
    interner: &mut Interner,
) -> Result<Option<GatewayAddress>, String> {
    let Some(gateway) = gateway else {
        return Ok(None);
    };
    let destination = match (&gateway.hostname, &gateway.address) {
        (None, Some(address)) => GatewayDestination::Address(network_address(address, interner)?),
        (Some(name), None) if name.namespace.is_empty() || name.hostname.is_empty() => {
            return Err("its hostname needs a namespace and a name".to_owned());
        }
        (Some(name), None) => GatewayDestination::Hostname(ServiceKey::new(
            interner.text(&name.namespace),
            interner.text(&name.hostname),
        )),
        _ => return Err("it has neither an address nor a hostname, or both".to_owned()),
    };
    let hbone_port = match port_or_none(gateway.hbone_mtls_port)? {
        0 => HBONE_PORT,
        port => port,
    };
    Ok(Some(GatewayAddress {
        destination,
        hbone_port,
    }))
}

/// One of the values an enumeration has, by its place.
pub(super) fn one_of<T: Copy>(values: &[T], number: i32) -> Result<T, String> {
    usize::try_from(number)
        .ok()
        .and_then(|place| values.get(place))
        .copied()
        .ok_or_else(|| format!("there is no value {number}"))
}
