//! The packet rules, in order, as `iptables` writes them.

use std::fmt;
use std::net::SocketAddr;

use ipnetwork::IpNetwork;

use crate::plan::{Capture, Family, RedirectPlan, marks, ports};
use crate::spared::Spared;

/// Our chain that packets entering the pod pass.
pub const CHAIN_PREROUTING: &str = "ISTIO_PRERT";
/// Our chain that packets leaving the pod's processes pass.
pub const CHAIN_OUTPUT: &str = "ISTIO_OUTPUT";

/// A table of the packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Marks.
    Mangle,
    /// Before connection tracking.
    Raw,
    /// Redirection. Rendered last: capture starts only when all it relies on is in.
    Nat,
}

impl Table {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Mangle => "mangle",
            Table::Raw => "raw",
            Table::Nat => "nat",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One rule: where it is and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketRule {
    /// Table.
    pub table: Table,
    /// Chain: one of ours, or the built-in chain of a jump to ours.
    pub chain: &'static str,
    /// Matches and target, without `-A CHAIN`.
    pub spec: String,
}

impl PacketRule {
    fn new(table: Table, chain: &'static str, spec: impl Into<String>) -> Self {
        Self {
            table,
            chain,
            spec: spec.into(),
        }
    }

    fn captures(&self) -> bool {
        self.spec.contains("-j REDIRECT ")
    }
}

/// The built-in chains and the chain of ours each leads to.
pub(crate) const HOOKS: [(&str, &str); 2] =
    [("PREROUTING", CHAIN_PREROUTING), ("OUTPUT", CHAIN_OUTPUT)];

impl RedirectPlan {
    /// The tables the plan uses, in the order they are installed.
    #[must_use]
    pub fn tables(&self) -> &'static [Table] {
        if self.dns {
            &[Table::Mangle, Table::Raw, Table::Nat]
        } else {
            &[Table::Mangle, Table::Nat]
        }
    }

    /// The rules of our chains for one family, in order.
    #[must_use]
    pub fn packet_rules(&self, family: Family) -> Vec<PacketRule> {
        let words = Words::of(self, family);
        let mut rules = words.mangle();
        if self.dns {
            rules.extend(words.raw());
        }
        let spared = || {
            let of_family = |spared: &&Spared| spared.family() == Some(family);
            self.spared.iter().filter(of_family)
        };
        if !self.bypass_inbound {
            rules.extend(
                spared().map(|spared| spare(CHAIN_PREROUTING, spared.remote, spared.local)),
            );
            rules.extend(words.nat_prerouting());
        }
        rules.extend(spared().map(|spared| spare(CHAIN_OUTPUT, spared.local, spared.remote)));
        rules.extend(words.nat_output(self.dns));
        if self.capture == Capture::NothingNew {
            rules.retain(|rule| !rule.captures());
        }
        rules
    }
}

/// Leaves packets of one connection alone that the nat table takes for a first packet, because the
/// connection is older than connection tracking here. A SYN begins another connection.
fn spare(chain: &'static str, from: SocketAddr, to: SocketAddr) -> PacketRule {
    let host = |address: SocketAddr| IpNetwork::from(address.ip());
    let spec = format!(
        "-s {} -d {} -p tcp -m tcp --sport {} --dport {} ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
        host(from),
        host(to),
        from.port(),
        to.port()
    );
    PacketRule::new(Table::Nat, chain, spec)
}

/// The phrases the rules of one family are made of.
struct Words {
    probe: String,
    not_loopback: &'static str,
    ours: String,
    not_ours: String,
    connection: String,
}

impl Words {
    fn of(plan: &RedirectPlan, family: Family) -> Self {
        let (tunnel, connection, mask) = (marks::TUNNEL, marks::CONNECTION, marks::MASK);
        Self {
            probe: match family {
                Family::V4 => format!("{}/32", plan.probe_source_v4),
                Family::V6 => format!("{}/128", plan.probe_source_v6),
            },
            not_loopback: match family {
                Family::V4 => "! -d 127.0.0.1/32",
                Family::V6 => "! -d ::1/128",
            },
            ours: format!("-m mark --mark {tunnel:#x}/{mask:#x}"),
            not_ours: format!("-m mark ! --mark {tunnel:#x}/{mask:#x}"),
            connection: format!("{connection:#x}/{mask:#x}"),
        }
    }

    fn mangle(&self) -> Vec<PacketRule> {
        let Self {
            ours, connection, ..
        } = self;
        vec![
            PacketRule::new(
                Table::Mangle,
                CHAIN_PREROUTING,
                format!("{ours} -j CONNMARK --set-xmark {connection}"),
            ),
            PacketRule::new(
                Table::Mangle,
                CHAIN_OUTPUT,
                format!(
                    "-m connmark --mark {connection} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"
                ),
            ),
        ]
    }

    /// Look-ups by the tunnel and by the application may use the same ports: the tunnel's are
    /// tracked apart.
    fn raw(&self) -> Vec<PacketRule> {
        let Self { ours, not_ours, .. } = self;
        vec![
            PacketRule::new(
                Table::Raw,
                CHAIN_PREROUTING,
                format!("-p udp {not_ours} -m udp --sport 53 -j CT --zone 1"),
            ),
            PacketRule::new(
                Table::Raw,
                CHAIN_OUTPUT,
                format!("-p udp {ours} -m udp --dport 53 -j CT --zone 1"),
            ),
        ]
    }

    fn nat_prerouting(&self) -> Vec<PacketRule> {
        let Self {
            probe,
            not_loopback,
            not_ours,
            ..
        } = self;
        let (hbone, inbound) = (ports::INBOUND_HBONE, ports::INBOUND_PLAINTEXT);
        let rule = |spec: String| PacketRule::new(Table::Nat, CHAIN_PREROUTING, spec);
        vec![
            rule(format!("-s {probe} -p tcp -j ACCEPT")),
            rule(format!(
                "{not_loopback} -p tcp -m tcp ! --dport {hbone} {not_ours} -j REDIRECT --to-ports {inbound}"
            )),
        ]
    }

    fn nat_output(&self, dns: bool) -> Vec<PacketRule> {
        let Self {
            probe,
            not_loopback,
            not_ours,
            connection,
            ..
        } = self;
        let (outbound, resolver) = (ports::OUTBOUND, ports::DNS);
        let rule = |spec: String| PacketRule::new(Table::Nat, CHAIN_OUTPUT, spec);
        let mut rules = vec![rule(format!("-d {probe} -p tcp -j ACCEPT"))];
        if dns {
            rules.push(rule(format!(
                "! -o lo -p udp {not_ours} -m udp --dport 53 -j REDIRECT --to-ports {resolver}"
            )));
            rules.push(rule(format!(
                "{not_loopback} -p tcp -m tcp --dport 53 {not_ours} -j REDIRECT --to-ports {resolver}"
            )));
        }
        rules.push(rule(format!(
            "-p tcp -m mark --mark {connection} -j ACCEPT"
        )));
        // An application that calls itself by the pod's address stays inside the pod.
        rules.push(rule(format!("{not_loopback} -o lo -j ACCEPT")));
        rules.push(rule(format!(
            "{not_loopback} -p tcp {not_ours} -j REDIRECT --to-ports {outbound}"
        )));
        rules
    }
}
