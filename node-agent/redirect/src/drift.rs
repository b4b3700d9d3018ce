//! How what the kernel shows differs from the plan.

use crate::canonical::canonical;
use crate::difference::Drift;
use crate::dump::{self, DumpTable};
use crate::plan::{Family, RedirectPlan};
use crate::rules::{HOOKS, Table};

impl RedirectPlan {
    /// How what `iptables-save` shows of one family differs from the plan. Chains and rules of
    /// others are not looked at.
    #[must_use]
    pub fn drift(&self, family: Family, save_output: &str) -> Vec<Drift> {
        let found = dump::parse(save_output);
        let nothing = DumpTable::default();
        let mut drift = Vec::new();
        let planned = if self.has(family) { self.tables() } else { &[] };
        for table in planned {
            let shown = found
                .iter()
                .find(|shown| shown.name == table.name())
                .unwrap_or(&nothing);
            for (hook, ours) in HOOKS {
                self.chain_drift(&mut drift, family, *table, ours, shown);
                jump_drift(&mut drift, family, *table, (hook, ours), shown);
            }
        }
        for shown in &found {
            let expected = planned.iter().any(|table| table.name() == shown.name);
            unexpected(&mut drift, family, shown, expected);
        }
        drift
    }

    /// Whether a dump shows anything of ours.
    #[must_use]
    pub fn shows_ours(save_output: &str) -> bool {
        dump::parse(save_output)
            .iter()
            .any(|table| table.our_chains().next().is_some() || table.jumps().next().is_some())
    }

    fn chain_drift(
        &self,
        drift: &mut Vec<Drift>,
        family: Family,
        table: Table,
        chain: &str,
        shown: &DumpTable<'_>,
    ) {
        if !shown.chains.contains(&chain) {
            drift.push(Drift::MissingChain {
                family,
                table: table.to_string(),
                chain: chain.to_owned(),
            });
            return;
        }
        let rules = self.packet_rules(family);
        let expected: Vec<&str> = rules
            .iter()
            .filter(|rule| rule.table == table && rule.chain == chain)
            .map(|rule| rule.spec.as_str())
            .collect();
        let found: Vec<&str> = shown.rules_of(chain).collect();
        compare(
            drift,
            &Place {
                family,
                table,
                chain,
            },
            &expected,
            &found,
        );
    }
}

/// Where rules are compared.
pub(crate) struct Place<'a> {
    /// Family.
    pub(crate) family: Family,
    /// Table.
    pub(crate) table: Table,
    /// Chain.
    pub(crate) chain: &'a str,
}

/// Compares the rules of one chain, in order.
pub(crate) fn compare(
    drift: &mut Vec<Drift>,
    place: &Place<'_>,
    expected: &[&str],
    found: &[&str],
) {
    let (family, table, chain) = (
        place.family,
        place.table.to_string(),
        place.chain.to_owned(),
    );
    let want: Vec<_> = expected.iter().map(|rule| canonical(rule)).collect();
    let have: Vec<_> = found.iter().map(|rule| canonical(rule)).collect();
    if want == have {
        return;
    }
    let (mut sorted_want, mut sorted_have) = (want.clone(), have.clone());
    sorted_want.sort();
    sorted_have.sort();
    if sorted_want == sorted_have {
        drift.push(Drift::Reordered {
            family,
            table,
            chain,
        });
        return;
    }
    // What is the same at both ends is set aside; what is left between is where they differ.
    let head = want.iter().zip(&have).take_while(|(a, b)| a == b).count();
    let tail = want[head..].iter().rev().zip(have[head..].iter().rev());
    let tail = tail.take_while(|(a, b)| a == b).count();
    let (missing, extra) = (
        &expected[head..expected.len() - tail],
        &found[head..found.len() - tail],
    );
    for index in 0..missing.len().max(extra.len()) {
        let (table, chain, position) = (table.clone(), chain.clone(), head + index + 1);
        drift.push(match (missing.get(index), extra.get(index)) {
            (Some(expected), Some(found)) => Drift::AlteredRule {
                family,
                table,
                chain,
                position,
                expected: (*expected).to_owned(),
                found: (*found).to_owned(),
            },
            (Some(rule), None) => Drift::MissingRule {
                family,
                table,
                chain,
                position,
                rule: (*rule).to_owned(),
            },
            (None, rule) => Drift::ExtraRule {
                family,
                table,
                chain,
                position,
                rule: rule.copied().unwrap_or_default().to_owned(),
            },
        });
    }
}

fn jump_drift(
    drift: &mut Vec<Drift>,
    family: Family,
    table: Table,
    (hook, ours): (&str, &str),
    shown: &DumpTable<'_>,
) {
    let plain = format!("-j {ours}");
    if !shown
        .jumps()
        .any(|(chain, spec)| chain == hook && spec == plain)
    {
        drift.push(Drift::MissingJump {
            family,
            table: table.to_string(),
            from: hook.to_owned(),
            chain: ours.to_owned(),
        });
    }
}

/// What is ours by name but not in the plan.
fn unexpected(drift: &mut Vec<Drift>, family: Family, shown: &DumpTable<'_>, expected: bool) {
    if !expected {
        drift.extend(shown.our_chains().map(|chain| Drift::UnexpectedChain {
            family,
            table: shown.name.to_owned(),
            chain: chain.to_owned(),
        }));
    }
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (from, spec) in shown.jumps() {
        let planned = expected
            && HOOKS
                .iter()
                .any(|(hook, ours)| from == *hook && spec == format!("-j {ours}"));
        if !planned || seen.contains(&(from, spec)) {
            drift.push(Drift::UnexpectedJump {
                family,
                table: shown.name.to_owned(),
                from: from.to_owned(),
                found: spec.to_owned(),
            });
        }
        seen.push((from, spec));
    }
}
