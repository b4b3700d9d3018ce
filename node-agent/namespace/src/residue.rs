//! What a namespace holds already, found out without leaving a trace: listing the legacy tables
//! with the legacy tool's other commands would create them, so only the kernel's own lists are read.

use std::fs;
use std::io;

use node_agent_redirect::{Backend, Family};

use crate::attributes::{attributes, find};
use crate::netlink::Netlink;

const NFT_SUBSYSTEM: u16 = 10;
const NFT_GET_TABLE: u16 = 1;
const NFT_NEW_TABLE: u16 = 0;
const NFT_TABLE_NAME: u16 = 1;
const NETLINK_HEADER: usize = 16;
/// Family, version, resource.
const NFT_HEADER: usize = 4;

/// The tables that each combination of backend and family holds; in a fresh namespace, none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Residue(Vec<(Backend, Family, Vec<String>)>);

impl Residue {
    /// Looks at the namespace of the calling thread.
    pub(crate) fn look() -> io::Result<Self> {
        let mut found = Vec::new();
        for (family, list) in [
            (Family::V4, "/proc/thread-self/net/ip_tables_names"),
            (Family::V6, "/proc/thread-self/net/ip6_tables_names"),
        ] {
            found.push((Backend::Legacy, family, legacy_tables(list)?));
        }
        let nft = nft_tables()?;
        for family in [Family::V4, Family::V6] {
            let tables = nft.iter().filter(|(of, _)| *of == family);
            let tables = tables.map(|(_, name)| name.clone()).collect();
            found.push((Backend::Nft, family, tables));
        }
        found.retain(|(_, _, tables)| !tables.is_empty());
        Ok(Self(found))
    }

    /// The combinations that hold tables.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Backend, Family)> + '_ {
        self.0
            .iter()
            .map(|(backend, family, _)| (*backend, *family))
    }

    /// The combinations that hold the table of this name: to show only that one in the others would
    /// create it.
    pub(crate) fn with_table(&self, name: &str) -> impl Iterator<Item = (Backend, Family)> {
        let has = |tables: &[String]| tables.iter().any(|table| table == name);
        let holding = self.0.iter().filter(|(_, _, tables)| has(tables));
        let all: Vec<_> = holding
            .map(|(backend, family, _)| (*backend, *family))
            .collect();
        all.into_iter()
    }
}

fn legacy_tables(list: &str) -> io::Result<Vec<String>> {
    match fs::read_to_string(list) {
        Ok(names) => Ok(names.lines().map(|name| name.trim().to_owned()).collect()),
        // The kernel has no such machinery, or has not loaded it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The tables in nftables, of the families that the tools know.
fn nft_tables() -> io::Result<Vec<(Family, String)>> {
    let unknown = |error: &io::Error| {
        matches!(
            error.raw_os_error(),
            Some(
                libc::EPROTONOSUPPORT
                    | libc::EAFNOSUPPORT
                    | libc::EINVAL
                    | libc::EOPNOTSUPP
                    | libc::ENOENT
            )
        )
    };
    let listed = Netlink::netfilter().and_then(|mut netlink| {
        // Any family, version 0, no resource.
        netlink.list_raw(NFT_SUBSYSTEM << 8 | NFT_GET_TABLE, &[0, 0, 0, 0])
    });
    let answers = match listed {
        Ok(answers) => answers,
        // The kernel has no nftables.
        Err(error) if unknown(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let tables = answers
        .iter()
        .filter(|answer| answer.kind == NFT_SUBSYSTEM << 8 | NFT_NEW_TABLE)
        .filter_map(|answer| nft_table(&answer.message));
    Ok(tables.collect())
}

fn nft_table(message: &[u8]) -> Option<(Family, String)> {
    let family = match i32::from(*message.get(NETLINK_HEADER)?) {
        libc::NFPROTO_IPV4 => Family::V4,
        libc::NFPROTO_IPV6 => Family::V6,
        _ => return None,
    };
    let attributes = attributes(message.get(NETLINK_HEADER + NFT_HEADER..)?);
    let name = find(&attributes, NFT_TABLE_NAME).unwrap_or_default();
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    Some((family, String::from_utf8_lossy(name).into_owned()))
}
