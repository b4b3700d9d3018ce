//! The plan: what a pod's redirection has to look like.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

use crate::spared::Spared;

/// The newest plan version this build can install.
pub const PLAN_VERSION: u32 = 2;
/// The version of plans that say no more than the first builds understood. A plan has the lowest
/// version that can express it, so that an older plugin goes on serving new pods.
const FIRST_VERSION: u32 = 1;

/// Packet and connection marks the rules and the tunnel's sockets agree on.
pub mod marks {
    /// Mark (`SO_MARK`) on every socket the tunnel creates in a pod: "leave this packet alone".
    pub const TUNNEL: u32 = 0x539;
    /// Mark kept with a connection that the tunnel opened towards the application.
    pub const CONNECTION: u32 = 0x111;
    /// The bits of a mark that are ours; the others belong to whoever else marks packets.
    pub const MASK: u32 = 0xfff;
}

/// Ports the rules send connections to, or leave alone.
pub mod ports {
    /// Where connections the pod opens are sent.
    pub const OUTBOUND: u16 = 15001;
    /// Where plaintext connections to the pod are sent.
    pub const INBOUND_PLAINTEXT: u16 = 15006;
    /// Where peers reach the tunnel directly; never redirected.
    pub const INBOUND_HBONE: u16 = 15008;
    /// Where the pod's name look-ups are sent when they are captured.
    pub const DNS: u16 = 15053;
}

/// Routing table that holds the local route.
const ROUTE_TABLE: u32 = 100;
/// Every IPv4 address: no bit of the prefix counts.
const EVERYTHING_V4: Ipv4Network = match Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0) {
    Some(network) => network,
    None => unreachable!(),
};
/// Every IPv6 address.
const EVERYTHING_V6: Ipv6Network = match Ipv6Network::new_checked(Ipv6Addr::UNSPECIFIED, 0) {
    Some(network) => network,
    None => unreachable!(),
};
/// Priority of the routing rule that leads to that table.
const RULE_PRIORITY: u32 = 32764;

/// An address family; each has its own rules, and each is judged on its own.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Which of the kernel's two packet filter machineries holds the rules.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// nftables, through `iptables-nft`.
    Nft,
    /// The older `x_tables`, through `iptables-legacy`.
    Legacy,
}

impl Backend {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Backend::Nft => Backend::Legacy,
            Backend::Legacy => Backend::Nft,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Nft => "nft",
            Backend::Legacy => "legacy",
        })
    }
}

/// How far a plan captures.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// Every new connection.
    #[default]
    Everything,
    /// No new one. What was captured stays captured to its end: packets of live connections are
    /// still rewritten, because the tables and their hooks are there.
    NothingNew,
}

impl Capture {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_everything(&self) -> bool {
        *self == Capture::Everything
    }
}

/// What a pod's redirection has to look like. Written by the agent, obeyed by the plugin, kept per
/// pod so that the same set is checked and removed later whatever the defaults are by then.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, each a field of the persisted plan"
)]
pub struct RedirectPlan {
    /// Version of the plan; see [`RedirectPlan::validate`].
    pub version: u32,
    /// Which machinery holds the rules.
    pub backend: Backend,
    /// Redirect IPv4.
    pub ipv4: bool,
    /// Redirect IPv6, where the pod has it.
    pub ipv6: bool,
    /// Capture the pod's name look-ups.
    pub dns: bool,
    /// Leave inbound plaintext alone (ingress gateways); inbound HBONE still works.
    pub bypass_inbound: bool,
    /// Source address of the node's own health probes, IPv4: never captured.
    pub probe_source_v4: Ipv4Addr,
    /// Source address of the node's own health probes, IPv6: never captured.
    pub probe_source_v6: Ipv6Addr,
    /// How far it captures; needs version 2 if not everything.
    #[serde(default, skip_serializing_if = "Capture::is_everything")]
    pub capture: Capture,
    /// Connections that were open before capture began and pass uncaptured; needs version 2 if
    /// there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<Spared>,
}

/// Default source address of probes, IPv4.
pub(crate) const PROBE_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
/// Default source address of probes, IPv6.
pub(crate) const PROBE_V6: Ipv6Addr = Ipv6Addr::new(
    0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff,
);

/// A route of the pod: everything in this table is delivered locally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRoute {
    /// Address family.
    pub family: Family,
    /// Routing table it lives in.
    pub table: u32,
    /// Destination; everything.
    pub destination: IpNetwork,
}

/// A routing rule of the pod: marked packets are looked up in that table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingRule {
    /// Address family.
    pub family: Family,
    /// Mark that leads here.
    pub mark: u32,
    /// Bits of the mark that count.
    pub mask: u32,
    /// Priority of the rule.
    pub priority: u32,
    /// Table to look in.
    pub table: u32,
}

impl RedirectPlan {
    /// The plan for an ordinary pod: both families, no capture of name look-ups.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self {
            version: FIRST_VERSION,
            backend,
            ipv4: true,
            ipv6: true,
            dns: false,
            bypass_inbound: false,
            probe_source_v4: PROBE_V4,
            probe_source_v6: PROBE_V6,
            capture: Capture::Everything,
            spared: Vec::new(),
        }
    }

    /// The same plan, capturing everything but these connections.
    #[must_use]
    pub fn sparing(&self, spared: Vec<Spared>) -> Self {
        Self {
            capture: Capture::Everything,
            spared,
            ..self.clone()
        }
        .with_fitting_version()
    }

    /// The same plan, capturing nothing new. Nothing is to be spared from no capture.
    #[must_use]
    pub fn capturing_nothing_new(&self) -> Self {
        Self {
            capture: Capture::NothingNew,
            spared: Vec::new(),
            ..self.clone()
        }
        .with_fitting_version()
    }

    fn with_fitting_version(mut self) -> Self {
        self.version = self.needed_version();
        self
    }

    /// The lowest version that can express it.
    pub(crate) fn needed_version(&self) -> u32 {
        if self.capture.is_everything() && self.spared.is_empty() {
            FIRST_VERSION
        } else {
            PLAN_VERSION
        }
    }

    /// Whether the plan redirects this family.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// The families the plan redirects.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| self.has(*family))
    }

    /// The routes the pod needs: replies to connections the tunnel opened in somebody else's name
    /// are delivered to the tunnel's socket instead of leaving the pod.
    #[must_use]
    pub fn routes(&self) -> Vec<LocalRoute> {
        self.families()
            .map(|family| LocalRoute {
                family,
                table: ROUTE_TABLE,
                destination: match family {
                    Family::V4 => IpNetwork::V4(EVERYTHING_V4),
                    Family::V6 => IpNetwork::V6(EVERYTHING_V6),
                },
            })
            .collect()
    }

    /// The routing rules the pod needs: which packets use those routes.
    #[must_use]
    pub fn routing_rules(&self) -> Vec<RoutingRule> {
        self.families()
            .map(|family| RoutingRule {
                family,
                mark: marks::CONNECTION,
                mask: marks::MASK,
                priority: RULE_PRIORITY,
                table: ROUTE_TABLE,
            })
            .collect()
    }
}
