//! The text `iptables-restore --noflush` reads.

use std::fmt::Write as _;

use crate::difference::Drift;
use crate::dump::{self, DumpTable};
use crate::plan::{Family, RedirectPlan};
use crate::rules::{HOOKS, Table};

impl RedirectPlan {
    /// What installs the plan's rules of one family where none of ours exist.
    #[must_use]
    pub fn render(&self, family: Family) -> String {
        let mut text = String::with_capacity(2048);
        for table in self.tables() {
            let _ = writeln!(text, "*{table}");
            self.write_chains(&mut text, *table, family);
            write_jumps(&mut text, &[]);
            text.push_str("COMMIT\n");
        }
        text
    }

    /// What removes our chains and the jumps to them, given what `iptables-save` shows of that
    /// family; `None` when there is nothing of ours. Nothing else is named, and the plan's own
    /// shape does not matter, so what an older plan left behind goes too.
    #[must_use]
    pub fn render_undo(&self, _family: Family, save_output: &str) -> Option<String> {
        let mut text = String::new();
        for table in dump::parse(save_output).iter().rev() {
            let mut body = String::new();
            write_removal(&mut body, table);
            if !body.is_empty() {
                let _ = write!(text, "*{}\n{body}COMMIT\n", table.name);
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// What brings one family from what `iptables-save` shows to the plan, each table at once, so
    /// that at no moment the rules of a table are missing; `None` when nothing has to change.
    ///
    /// Chains and jumps that are wanted and there are kept, and only filled anew: when another
    /// change of the namespace comes between, the nft tool looks again and gets confused by a chain
    /// that is deleted and made in one transaction.
    #[must_use]
    pub fn render_repair(&self, family: Family, save_output: &str) -> Option<String> {
        let drift: Vec<Drift> = self.drift(family, save_output);
        if drift.is_empty() {
            return None;
        }
        let found = dump::parse(save_output);
        let nothing = DumpTable::default();
        let mut text = String::with_capacity(2048);
        // What is right stays untouched: each table is a transaction, which a busy kernel takes its
        // time for.
        let differs = |table: &Table| drift.iter().any(|one| one.table() == Some(table.name()));
        for table in [Table::Mangle, Table::Raw, Table::Nat]
            .into_iter()
            .filter(differs)
        {
            let old = found.iter().find(|old| old.name == table.name());
            let old = old.unwrap_or(&nothing);
            let mut body = String::new();
            if self.has(family) && self.tables().contains(&table) {
                let kept = write_wrong_jumps(&mut body, old);
                self.write_chains(&mut body, table, family);
                write_jumps(&mut body, &kept);
            } else {
                write_removal(&mut body, old);
            }
            if !body.is_empty() {
                let _ = write!(text, "*{table}\n{body}COMMIT\n");
            }
        }
        Some(text)
    }

    /// Our chains, empty if they were there, and what goes into them.
    fn write_chains(&self, text: &mut String, table: Table, family: Family) {
        for (_, ours) in HOOKS {
            let _ = writeln!(text, ":{ours} - [0:0]");
        }
        for rule in self
            .packet_rules(family)
            .iter()
            .filter(|rule| rule.table == table)
        {
            let _ = writeln!(text, "-A {} {}", rule.chain, rule.spec);
        }
    }
}

/// Removes jumps that the plan does not have; gives back the chains they rightly start from.
fn write_wrong_jumps<'a>(body: &mut String, table: &DumpTable<'a>) -> Vec<&'a str> {
    let mut kept = Vec::new();
    for (chain, spec) in table.jumps() {
        let mut hooks = HOOKS.iter();
        let planned = hooks.any(|(hook, ours)| chain == *hook && spec == format!("-j {ours}"));
        if planned && !kept.contains(&chain) {
            kept.push(chain);
        } else {
            // Of equal ones this removes the first, and one stays.
            let _ = writeln!(body, "-D {chain} {spec}");
        }
    }
    kept
}

fn write_jumps(text: &mut String, kept: &[&str]) {
    for (hook, ours) in HOOKS.iter().filter(|(hook, _)| !kept.contains(hook)) {
        let _ = writeln!(text, "-A {hook} -j {ours}");
    }
}

fn write_removal(body: &mut String, table: &DumpTable<'_>) {
    for (chain, spec) in table.jumps() {
        let _ = writeln!(body, "-D {chain} {spec}");
    }
    // Both are emptied before either is deleted: one may lead to the other.
    for chain in table.our_chains() {
        let _ = writeln!(body, "-F {chain}");
    }
    for chain in table.our_chains() {
        let _ = writeln!(body, "-X {chain}");
    }
}
