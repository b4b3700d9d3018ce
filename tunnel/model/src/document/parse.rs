use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::{GatewayAddress, GatewayDestination, Interner, NetworkAddress, PolicyKey, ServiceKey};

use super::shape::GatewayDocument;

/// One of a few words; case, dashes and underscores do not matter, so that both the dump's
/// `OnlyHealthy` and the protocol's `ONLY_HEALTHY` are read.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let plain = |byte: &u8| !matches!(byte, b'_' | b'-');
    let same = |word: &str| {
        let given = text.bytes().filter(plain).map(|b| b.to_ascii_lowercase());
        given.eq(word.bytes().map(|b| b.to_ascii_lowercase()))
    };
    let found = words.iter().find(|(word, _)| same(word));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is none of {}", known.join(", "))
    })
}

/// As [`word`], where saying nothing means the default.
pub(super) fn optional_word<T: Copy + Default>(
    text: Option<&str>,
    words: &[(&str, T)],
) -> Result<T, String> {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| Ok(T::default()), |text| word(text, words))
}

pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is not an IP address"))?;
    Ok(ip.to_canonical())
}

/// A block of addresses, `10.0.0.0/8`, or one address.
pub(super) fn block(text: &str) -> Result<IpNetwork, String> {
    let read: IpNetwork = text
        .parse()
        .map_err(|_| format!("{text:?} is not a block of addresses"))?;
    Ok(unmapped(read).unwrap_or(read))
}

/// A block of v4-mapped IPv6 addresses as the IPv4 block it is: addresses are compared unmapped.
fn unmapped(block: IpNetwork) -> Option<IpNetwork> {
    let IpNetwork::V6(v6) = block else {
        return None;
    };
    let v4 = Ipv6Addr::to_ipv4_mapped(&v6.ip())?;
    IpNetwork::new(v4.into(), v6.prefix().checked_sub(96)?).ok()
}

/// `network/rest`; without a slash the network is the one without a name.
fn networked(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("", text))
}

pub(super) fn network_address(
    text: &str,
    interner: &mut Interner,
) -> Result<NetworkAddress, String> {
    let (network, address) = networked(text);
    Ok(NetworkAddress {
        network: interner.text(network),
        ip: ip(address)?,
    })
}

/// `network/block`; the block itself has a slash, so the network may not be left out.
pub(super) fn network_block(
    text: &str,
    interner: &mut Interner,
) -> Result<(std::sync::Arc<str>, IpNetwork), String> {
    let (network, rest) = networked(text);
    Ok((interner.text(network), block(rest)?))
}

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

/// A gateway's destination is `network/ip` or `namespace/hostname`.
pub(super) fn gateway(
    document: &GatewayDocument,
    interner: &mut Interner,
) -> Result<GatewayAddress, String> {
    let text = document.destination.as_str();
    let destination = match network_address(text, interner) {
        Ok(address) => GatewayDestination::Address(address),
        Err(_) => GatewayDestination::Hostname(
            service_key(text, interner)
                .map_err(|_| format!("{text:?} is neither NETWORK/IP nor NAMESPACE/HOSTNAME"))?,
        ),
    };
    let hbone_port = document.hbone_mtls_port.unwrap_or(15008);
    if hbone_port == 0 {
        return Err("hboneMtlsPort cannot be 0".to_owned());
    }
    Ok(GatewayAddress {
        destination,
        hbone_port,
    })
}
