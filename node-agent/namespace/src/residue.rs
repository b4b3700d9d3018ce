//! What a namespace holds already, found out without leaving a trace: listing the legacy tables
//! with the legacy tool's other commands would create them, so only the kernel's own lists are read.

use std::fs;
use std::io;

use node_agent_redirect::{Backend, Family};

use crate::netlink::Netlink;

const NFT_SUBSYSTEM: u16 = 10;
const NFT_GET_TABLE: u16 = 1;
const NFT_NEW_TABLE: u16 = 0;
const NETLINK_HEADER: usize = 16;

/// Which combinations of backend and family hold any table at all; in a fresh namespace, none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Residue(Vec<(Backend, Family)>);

impl Residue {
    /// Looks at the namespace of the calling thread.
    pub(crate) fn look() -> io::Result<Self> {
        let mut found = Vec::new();
        for (family, list) in [
            (Family::V4, "/proc/thread-self/net/ip_tables_names"),
            (Family::V6, "/proc/thread-self/net/ip6_tables_names"),
        ] {
            if has_legacy_table(list)? {
                found.push((Backend::Legacy, family));
            }
        }
        found.extend(
            nft_families()?
                .into_iter()
                .map(|family| (Backend::Nft, family)),
        );
        Ok(Self(found))
    }

    /// The combinations that hold tables.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Backend, Family)> + '_ {
        self.0.iter().copied()
    }
}

fn has_legacy_table(list: &str) -> io::Result<bool> {
    match fs::read_to_string(list) {
        Ok(names) => Ok(!names.trim().is_empty()),
        // The kernel has no such machinery, or has not loaded it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The families that have a table in nftables.
fn nft_families() -> io::Result<Vec<Family>> {
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
    let mut families: Vec<Family> = answers
        .iter()
        .filter(|answer| answer.kind == NFT_SUBSYSTEM << 8 | NFT_NEW_TABLE)
        .filter_map(
            |answer| match i32::from(*answer.message.get(NETLINK_HEADER)?) {
                libc::NFPROTO_IPV4 => Some(Family::V4),
                libc::NFPROTO_IPV6 => Some(Family::V6),
                _ => None,
            },
        )
        .collect();
    families.sort_unstable();
    families.dedup();
    Ok(families)
}
