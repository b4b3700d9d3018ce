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
            self.write_table(&mut text, *table, family);
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
    #[must_use]
    pub fn render_repair(&self, family: Family, save_output: &str) -> Option<String> {
        let drift: Vec<Drift> = self.drift(family, save_output);
        if drift.is_empty() {
            return None;
        }
        let found = dump::parse(save_output);
        let mut text = String::with_capacity(2048);
        for table in [Table::Mangle, Table::Raw, Table::Nat] {
            let mut body = String::new();
            if let Some(old) = found.iter().find(|old| old.name == table.name()) {
                write_removal(&mut body, old);
            }
            if self.tables().contains(&table) {
                self.write_table(&mut body, table, family);
            }
            if !body.is_empty() {
                let _ = write!(text, "*{table}\n{body}COMMIT\n");
            }
        }
        Some(text)
    }

    fn write_table(&self, text: &mut String, table: Table, family: Family) {
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
        for (hook, ours) in HOOKS {
            let _ = writeln!(text, "-A {hook} -j {ours}");
        }
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
