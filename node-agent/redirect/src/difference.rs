//! One difference, and how it is told.

use crate::plan::{Backend, Family};

/// One difference between a pod's namespace and its plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Drift {
    /// A chain of ours is gone.
    #[error("{family} {table}: chain {chain} is missing")]
    MissingChain {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// A chain of ours is in a table where the plan has none.
    #[error("{family} {table}: chain {chain} should not exist")]
    UnexpectedChain {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// No packet reaches one of our chains.
    #[error("{family} {table}: {from} does not lead to {chain}")]
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
    /// Other rules come before the jump into one of our chains, and may end what follows them.
    #[error("{family} {table}: {from} leads to {chain} only after `{before}`")]
    LateJump {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Built-in chain.
        from: String,
        /// Our chain.
        chain: String,
        /// The first rule of the built-in chain.
        before: String,
    },
    /// A jump into one of our chains that the plan does not have: a second one, a conditional one,
    /// or one from another chain.
    #[error("{family} {table}: {from} has an unexpected jump `{found}`")]
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
    #[error("{family} {table} {chain}: rule {position} `{rule}` is missing")]
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
    #[error("{family} {table} {chain}: rule {position} is `{found}` instead of `{expected}`")]
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
    #[error("{family} {table} {chain}: rule {position} `{rule}` is not ours")]
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
    #[error("{family} {table} {chain}: rules are in another order")]
    Reordered {
        /// Family.
        family: Family,
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// Rules of ours are in the other machinery as well.
    #[error("{family}: our chains also exist in the {backend} backend")]
    OtherBackend {
        /// Family.
        family: Family,
        /// Where they were found.
        backend: Backend,
    },
    /// The local route is gone.
    #[error("{family}: the local route of table {table} is missing")]
    MissingRoute {
        /// Family.
        family: Family,
        /// Routing table.
        table: u32,
    },
    /// The routing rule is gone.
    #[error("{family}: the routing rule of priority {priority} is missing")]
    MissingRoutingRule {
        /// Family.
        family: Family,
        /// Its priority.
        priority: u32,
    },
}

impl Drift {
    /// The table of packet rules that it is in, if it is in one.
    pub(crate) fn table(&self) -> Option<&str> {
        match self {
            Self::MissingChain { table, .. }
            | Self::UnexpectedChain { table, .. }
            | Self::MissingJump { table, .. }
            | Self::LateJump { table, .. }
            | Self::UnexpectedJump { table, .. }
            | Self::MissingRule { table, .. }
            | Self::AlteredRule { table, .. }
            | Self::ExtraRule { table, .. }
            | Self::Reordered { table, .. } => Some(table),
            Self::OtherBackend { .. }
            | Self::MissingRoute { .. }
            | Self::MissingRoutingRule { .. } => None,
        }
    }
}
