//! The node's own probes of its pods. What leaves the node's sockets for an enrolled pod takes the
//! source address that the pod's rules leave alone, so that it reaches the application without policy
//! and without a tunnel. This is a chain of the node's namespace, not of a pod's.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::difference::Drift;
use crate::drift::{Place, compare};
use crate::dump::{self, DumpTable, target};
use crate::plan::{Backend, Family, PROBE_V4, PROBE_V6, RedirectPlan};
use crate::rules::Table;

/// Our chain in the node's namespace.
pub const CHAIN_NODE: &str = "ISTIO_POSTRT";
/// The built-in chain that leads to it, before all else: others' chains may end what follows them.
const HOOK: &str = "POSTROUTING";
const JUMP: &str = "-j ISTIO_POSTRT";
/// Chains by which kubelet and kube-proxy tell others which machinery they use.
const HINTS: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

/// The addresses that the node's own connections reach without policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeSet<IpAddr>", into = "BTreeSet<IpAddr>")]
pub struct Exemption(BTreeSet<IpAddr>);

impl From<BTreeSet<IpAddr>> for Exemption {
    fn from(addresses: BTreeSet<IpAddr>) -> Self {
        addresses.into_iter().collect()
    }
}

impl From<Exemption> for BTreeSet<IpAddr> {
    fn from(exemption: Exemption) -> Self {
        exemption.0
    }
}

impl FromIterator<IpAddr> for Exemption {
    /// Leaves out what is no pod's: whatever is asked for, the node's loopback stays as it is.
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let all = addresses.into_iter().map(|address| address.to_canonical());
        Self(all.filter(is_ordinary).collect())
    }
}

fn is_ordinary(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast() && !broadcast
}

impl RedirectPlan {
    /// Those of a pod's addresses that need an exemption under this plan: where nothing inbound is
    /// captured, nothing has to be exempt from it.
    pub fn exempt(&self, addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
        let captured = move |address: &IpAddr| !self.bypass_inbound && self.has(family_of(address));
        let all = addresses.iter().map(IpAddr::to_canonical);
        all.filter(move |address| is_ordinary(address) && captured(address))
    }
}

fn family_of(address: &IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

impl Exemption {
    /// Whether all of these are in it.
    pub fn covers(&self, mut addresses: impl Iterator<Item = IpAddr>) -> bool {
        addresses.all(|address| self.0.contains(&address))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many addresses.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The same without one family.
    #[must_use]
    pub fn without(&self, family: Family) -> Self {
        let others = self.0.iter().filter(|one| family_of(one) != family);
        Self(others.copied().collect())
    }

    /// The rules of the chain, in order. A socket of the node's must exist: what the node only passes
    /// on is somebody else's connection.
    #[must_use]
    pub fn rules(&self, family: Family) -> Vec<String> {
        let source = match family {
            Family::V4 => IpAddr::V4(PROBE_V4),
            Family::V6 => IpAddr::V6(PROBE_V6),
        };
        let length = match family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let ours = self.0.iter().filter(|one| family_of(one) == family);
        ours.map(|pod| {
            format!(
                "-d {pod}/{length} -p tcp -m owner --socket-exists -j SNAT --to-source {source}"
            )
        })
        .collect()
    }

    /// How what `iptables-save -t nat` shows of one family in the node's namespace differs from this.
    /// With no address of the family, neither chain nor jump should be there.
    #[must_use]
    pub fn drift(&self, family: Family, save_output: &str) -> Vec<Drift> {
        let shown = Shown::of(save_output);
        let rules = self.rules(family);
        let mut drift = Vec::new();
        match (rules.is_empty(), shown.chain) {
            (true, false) => {}
            (true, true) => drift.push(Drift::UnexpectedChain {
                family,
                table: name(),
                chain: CHAIN_NODE.to_owned(),
            }),
            (false, there) => {
                if there {
                    let expected: Vec<&str> = rules.iter().map(String::as_str).collect();
                    let place = Place {
                        family,
                        table: Table::Nat,
                        chain: CHAIN_NODE,
                    };
                    compare(&mut drift, &place, &expected, &shown.rules);
                } else {
                    drift.push(Drift::MissingChain {
                        family,
                        table: name(),
                        chain: CHAIN_NODE.to_owned(),
                    });
                }
                shown.jump_drift(&mut drift, family);
            }
        }
        drift
    }

    /// What brings one family to this, in one transaction; `None` when nothing has to change.
    #[must_use]
    pub fn render(&self, family: Family, save_output: &str) -> Option<String> {
        if self.drift(family, save_output).is_empty() {
            return None;
        }
        let shown = Shown::of(save_output);
        let rules = self.rules(family);
        let mut body = String::new();
        if rules.is_empty() {
            shown.write_removal(&mut body);
        } else {
            write_chain(&mut body, &rules);
            let first = shown.hook.first() == Some(&JUMP);
            if !first || shown.wrong_jumps().next().is_some() {
                // All of them: which of two equal ones is removed is not ours to choose.
                shown.write_without_jumps(&mut body);
                let _ = writeln!(body, "-I {HOOK} 1 {JUMP}");
            }
        }
        Some(transaction(&body))
    }

    /// What leads from `before` to this where nobody else has been in between, without a look at the
    /// kernel; `None` when nothing has to change. A jump that is missing or not first stays so.
    #[must_use]
    pub fn render_after(&self, family: Family, before: &Self) -> Option<String> {
        let (rules, former) = (self.rules(family), before.rules(family));
        if rules == former {
            return None;
        }
        let mut body = String::new();
        if rules.is_empty() {
            let _ = writeln!(body, "-D {HOOK} {JUMP}\n-F {CHAIN_NODE}\n-X {CHAIN_NODE}");
        } else {
            write_chain(&mut body, &rules);
            if former.is_empty() {
                let _ = writeln!(body, "-I {HOOK} 1 {JUMP}");
            }
        }
        Some(transaction(&body))
    }
}

/// Naming a chain makes it, or empties it.
fn write_chain(body: &mut String, rules: &[String]) {
    let _ = writeln!(body, ":{CHAIN_NODE} - [0:0]");
    for rule in rules {
        let _ = writeln!(body, "-A {CHAIN_NODE} {rule}");
    }
}

fn transaction(body: &str) -> String {
    format!("*nat\n{body}COMMIT\n")
}

/// What is there already.
#[derive(Default)]
struct Shown<'a> {
    /// Our chain is.
    chain: bool,
    rules: Vec<&'a str>,
    /// The rules of the built-in chain.
    hook: Vec<&'a str>,
    /// Rules anywhere that lead to our chain: where, and what.
    jumps: Vec<(&'a str, &'a str)>,
}

impl<'a> Shown<'a> {
    fn of(save_output: &'a str) -> Self {
        let tables = dump::parse(save_output);
        let Some(nat) = tables.iter().find(|table| table.name == Table::Nat.name()) else {
            return Self::default();
        };
        let leads_here = |spec: &str| target(spec).is_some_and(|target| target == CHAIN_NODE);
        let all = nat.rules.iter().copied();
        Self {
            chain: nat.chains.contains(&CHAIN_NODE),
            rules: nat.rules_of(CHAIN_NODE).collect(),
            hook: nat.rules_of(HOOK).collect(),
            jumps: all.filter(|(_, spec)| leads_here(spec)).collect(),
        }
    }

    /// The jump has to be there, first, and once.
    fn jump_drift(&self, drift: &mut Vec<Drift>, family: Family) {
        let (table, from, chain) = (name(), HOOK.to_owned(), CHAIN_NODE.to_owned());
        match self.hook.iter().position(|rule| *rule == JUMP) {
            None => drift.push(Drift::MissingJump {
                family,
                table,
                from,
                chain,
            }),
            Some(0) => {}
            Some(_) => drift.push(Drift::LateJump {
                family,
                table,
                from,
                chain,
                before: self.hook.first().copied().unwrap_or_default().to_owned(),
            }),
        }
        let unexpected = |(from, found): (&str, &str)| Drift::UnexpectedJump {
            family,
            table: name(),
            from: from.to_owned(),
            found: found.to_owned(),
        };
        drift.extend(self.wrong_jumps().map(unexpected));
    }

    fn write_without_jumps(&self, body: &mut String) {
        for (chain, spec) in &self.jumps {
            let _ = writeln!(body, "-D {chain} {spec}");
        }
    }

    fn write_removal(&self, body: &mut String) {
        self.write_without_jumps(body);
        let _ = writeln!(body, "-F {CHAIN_NODE}\n-X {CHAIN_NODE}");
    }

    /// All but one plain jump of the built-in chain.
    fn wrong_jumps(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        let mut seen = false;
        self.jumps.iter().copied().filter(move |jump| {
            let right = !seen && *jump == (HOOK, JUMP);
            seen |= right;
            !right
        })
    }
}

fn name() -> String {
    Table::Nat.to_string()
}

/// Which machinery the node's own rules are in, given what the save tool shows of each: the kubelet's
/// and kube-proxy's, or else where ours are already, or else where others have more rules. All of
/// them work beside each other, but of two translations of one connection the first one counts.
#[must_use]
pub fn backend_of_the_node(dumps: &[(Backend, String)], otherwise: Backend) -> Backend {
    let signs = |backend: Backend| {
        let dumps = dumps.iter().filter(|(of, _)| *of == backend);
        let tables: Vec<DumpTable<'_>> = dumps.flat_map(|(_, text)| dump::parse(text)).collect();
        let has = |chain: &str| tables.iter().any(|table| table.chains.contains(&chain));
        let rules = tables.iter().flat_map(|table| &table.rules);
        let others = rules.filter(|(chain, spec)| *chain != CHAIN_NODE && *spec != JUMP);
        (HINTS.into_iter().any(has), has(CHAIN_NODE), others.count())
    };
    match signs(Backend::Nft).cmp(&signs(Backend::Legacy)) {
        Ordering::Greater => Backend::Nft,
        Ordering::Less => Backend::Legacy,
        Ordering::Equal => otherwise,
    }
}

#[cfg(test)]
mod tests;
