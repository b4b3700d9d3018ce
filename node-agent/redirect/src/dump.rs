//! Reads what `iptables-save` prints.

use crate::canonical::split;
use crate::rules::{CHAIN_OUTPUT, CHAIN_PREROUTING};

/// Whether a chain is one of ours.
pub(crate) fn is_ours(chain: &str) -> bool {
    chain == CHAIN_PREROUTING || chain == CHAIN_OUTPUT
}

/// One table of a dump.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DumpTable<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its chains.
    pub(crate) chains: Vec<&'a str>,
    /// Its rules: chain and the rest of the line, in order.
    pub(crate) rules: Vec<(&'a str, &'a str)>,
}

impl<'a> DumpTable<'a> {
    /// The rules of one chain, in order.
    pub(crate) fn rules_of<'s>(&'s self, chain: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.rules
            .iter()
            .filter(move |(of, _)| *of == chain)
            .map(|(_, spec)| *spec)
    }

    /// The rules outside our chains that lead into them: chain and rule.
    pub(crate) fn jumps(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.rules.iter().copied().filter(|(chain, spec)| {
            !is_ours(chain) && target(spec).is_some_and(|target| is_ours(&target))
        })
    }

    /// Our chains of this table.
    pub(crate) fn our_chains(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.chains.iter().copied().filter(|chain| is_ours(chain))
    }
}

/// The target of a rule.
pub(crate) fn target(spec: &str) -> Option<String> {
    // A quoted comment is one word, whatever it says.
    let mut words = split(spec).into_iter();
    words.find(|word| matches!(word.as_str(), "-j" | "-g" | "--jump" | "--goto"))?;
    words.next()
}

/// The tables of a dump. Lines it does not know are passed over: they are not ours.
pub(crate) fn parse(text: &str) -> Vec<DumpTable<'_>> {
    let mut tables: Vec<DumpTable<'_>> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(DumpTable {
                name,
                ..DumpTable::default()
            });
            continue;
        }
        let Some(table) = tables.last_mut() else {
            continue;
        };
        if let Some(rest) = line.strip_prefix(':') {
            table.chains.extend(rest.split_ascii_whitespace().next());
        } else if let Some(rule) = strip_counters(line).strip_prefix("-A ") {
            let (chain, spec) = rule.split_once(' ').unwrap_or((rule, ""));
            table.rules.push((chain, spec.trim()));
        }
    }
    tables
}

/// A dump made with counters has `[packets:bytes]` before each rule.
fn strip_counters(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => rest.trim_start(),
        None => line,
    }
}
