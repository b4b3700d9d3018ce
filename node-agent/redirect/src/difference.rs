//! One difference, and how it is told.

use std::fmt;

use crate::plan::{Backend, Family};

/// One difference between a pod's namespace and its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// A chain of ours is gone.
    MissingChain {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// A chain of ours is in a table where the plan has none.
    UnexpectedChain {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// No packet reaches one of our chains.
    MissingJump {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Built-in chain.
        from: String,
        /// Our chain.
        chain: String,
    },
    /// A jump into one of our chains that the plan does not have: a second one, a conditional one,
    /// or one from another chain.
    UnexpectedJump {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain it is in.
        from: String,
        /// The rule found.
        found: String,
    },
    /// A rule of ours is gone.
    MissingRule {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Position, counted from 1.
        position: usize,
        /// The rule expected.
        rule: String,
    },
    /// At this position there is another rule than ours.
    AlteredRule {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Position, counted from 1.
        position: usize,
        /// The rule expected.
        expected: String,
        /// The rule found.
        found: String,
    },
    /// A rule in our chain that the plan does not have.
    ExtraRule {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Position, counted from 1.
        position: usize,
        /// The rule found.
        rule: String,
    },
    /// All rules are there, in another order.
    Reordered {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// Rules of ours are in the other machinery as well.
    OtherBackend {
        /// Family.
        family: Family,
        /// Where they were found.
        backend: Backend,
    },
    /// The local route is gone.
    MissingRoute {
        /// Family.
        family: Family,
        /// Routing table.
        table: u32,
    },
    /// The routing rule is gone.
    MissingRoutingRule {
        /// Family.
        family: Family,
        /// Its priority.
        priority: u32,
    },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drift::MissingChain {
                family,
                table,
                chain,
            } => {
                write!(f, "{family} {table}: chain {chain} is missing")
            }
            Drift::UnexpectedChain {
                family,
                table,
                chain,
            } => {
                write!(f, "{family} {table}: chain {chain} should not exist")
            }
            Drift::MissingJump {
                family,
                table,
                from,
                chain,
            } => {
                write!(f, "{family} {table}: {from} does not lead to {chain}")
            }
            Drift::UnexpectedJump {
                family,
                table,
                from,
                found,
            } => {
                write!(
                    f,
                    "{family} {table}: {from} has an unexpected jump `{found}`"
                )
            }
            Drift::MissingRule {
                family,
                table,
                chain,
                position,
                rule,
            } => {
                write!(
                    f,
                    "{family} {table} {chain}: rule {position} `{rule}` is missing"
                )
            }
            Drift::AlteredRule {
                family,
                table,
                chain,
                position,
                expected,
                found,
            } => write!(
                f,
                "{family} {table} {chain}: rule {position} is `{found}` instead of `{expected}`"
            ),
            Drift::ExtraRule {
                family,
                table,
                chain,
                position,
                rule,
            } => {
                write!(
                    f,
                    "{family} {table} {chain}: rule {position} `{rule}` is not ours"
                )
            }
            Drift::Reordered {
                family,
                table,
                chain,
            } => {
                write!(f, "{family} {table} {chain}: rules are in another order")
            }
            Drift::OtherBackend { family, backend } => {
                write!(
                    f,
                    "{family}: our chains also exist in the {backend} backend"
                )
            }
            Drift::MissingRoute { family, table } => {
                write!(f, "{family}: the local route of table {table} is missing")
            }
            Drift::MissingRoutingRule { family, priority } => {
                write!(
                    f,
                    "{family}: the routing rule of priority {priority} is missing"
                )
            }
        }
    }
}
