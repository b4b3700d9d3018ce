//! What policies mean.

use std::net::IpAddr;
use std::sync::Arc;

use tunnel_model::{
    Action, Clause, Identity, IpNetwork, Match, Policy, PolicyKey, PolicyRules, Rule,
    ServiceAccountMatch, Snapshot, StringMatch, Workload,
};

use crate::RefusalReason;

/// What policies can ask about a connection.
#[derive(Debug, Clone, Copy)]
pub struct PolicyFacts<'a> {
    /// The peer's identity; none when it came in clear.
    pub identity: Option<&'a Identity>,
    /// Where it comes from.
    pub source_ip: IpAddr,
    /// The pod's address it goes to.
    pub destination_ip: IpAddr,
    /// The pod's port it goes to.
    pub destination_port: u16,
}

/// Who let a connection through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedBy {
    /// Nobody had to: no ALLOW policy applies to the workload.
    NoPolicy,
    /// This ALLOW policy.
    Policy(PolicyKey),
}

/// What a policy that only warns has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRun {
    /// This DENY policy would refuse.
    WouldDeny(PolicyKey),
    /// This ALLOW policy would let through.
    WouldAllow(PolicyKey),
    /// With the ALLOW policies that only warn in force, nothing would let it through.
    WouldNotAllow,
}

/// The policies' verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyVerdict {
    /// Let through.
    Allow {
        /// By whom.
        by: AllowedBy,
        /// What policies that only warn have to say.
        dry_run: Vec<DryRun>,
    },
    /// Refused.
    Deny {
        /// Why, and by whom.
        reason: RefusalReason,
        /// What policies that only warn have to say.
        dry_run: Vec<DryRun>,
    },
}

/// Evaluates every policy that applies to `own`, as the snapshot knows it now.
///
/// Because `own` is looked up again, the verdict on a live connection follows policies attached
/// to the workload after the connection was made.
#[must_use]
pub fn evaluate(snapshot: &Snapshot, own: &Workload, facts: &PolicyFacts<'_>) -> PolicyVerdict {
    let own = current(snapshot, own);
    let policies = snapshot.policies_for(own);
    if let Some(key) = policies.clone().find_map(Result::err) {
        let reason = RefusalReason::PolicyMissing(key.clone());
        return PolicyVerdict::Deny {
            reason,
            dry_run: Vec::new(),
        };
    }
    let policies = policies.filter_map(Result::ok);
    let trial = |action: Action| {
        policies
            .clone()
            .filter(move |policy| policy.action == action && policy.dry_run)
    };
    let dry_run = warn(trial(Action::Deny), trial(Action::Allow), facts);
    match enforce(&policies.filter(|policy| !policy.dry_run), facts) {
        Ok(by) => PolicyVerdict::Allow { by, dry_run },
        Err(reason) => PolicyVerdict::Deny { reason, dry_run },
    }
}

/// The verdict of policies that are in force: first those that refuse, then those that let through.
pub(crate) fn enforce<'a>(
    policies: &(impl Iterator<Item = &'a Arc<Policy>> + Clone),
    facts: &PolicyFacts<'_>,
) -> Result<AllowedBy, RefusalReason> {
    let with = |action: Action| {
        policies
            .clone()
            .filter(move |policy| policy.action == action)
    };
    if let Some(policy) = with(Action::Deny).find(|policy| applies(policy, facts)) {
        return Err(denied_by(policy));
    }
    let mut allows = with(Action::Allow).peekable();
    if allows.peek().is_none() {
        return Ok(AllowedBy::NoPolicy);
    }
    allows
        .find(|policy| applies(policy, facts))
        .map(|policy| AllowedBy::Policy(policy.key()))
        .ok_or(RefusalReason::NotAllowed)
}

/// The workload as the snapshot knows it now: by uid, or by address if discovery calls the same
/// pod by another uid than the node did; else as given.
pub(crate) fn current<'a>(snapshot: &'a Snapshot, own: &'a Workload) -> &'a Workload {
    let same = |known: &&'a Arc<Workload>| known.name == own.name && known.identity == own.identity;
    let by_address = || {
        let mut known = own
            .ips
            .iter()
            .filter_map(|ip| snapshot.workload_by_ip(&own.network, *ip));
        known.find(same)
    };
    snapshot
        .workload_by_uid(&own.uid)
        .or_else(by_address)
        .map_or(own, |known| known)
}

fn denied_by(policy: &Policy) -> RefusalReason {
    match &policy.rules {
        PolicyRules::Valid(_) => RefusalReason::DeniedByPolicy(policy.key()),
        PolicyRules::Malformed { why } => RefusalReason::DeniedByMalformedPolicy {
            policy: policy.key(),
            why: Arc::clone(why),
        },
    }
}

fn warn<'a>(
    denies: impl Iterator<Item = &'a Arc<Policy>>,
    allows: impl Iterator<Item = &'a Arc<Policy>>,
    facts: &PolicyFacts<'_>,
) -> Vec<DryRun> {
    let denying = denies.filter(|policy| applies(policy, facts));
    let mut said: Vec<_> = denying
        .map(|policy| DryRun::WouldDeny(policy.key()))
        .collect();
    let mut allows = allows.peekable();
    if allows.peek().is_some() {
        let allowing = allows.find(|policy| applies(policy, facts));
        said.push(allowing.map_or(DryRun::WouldNotAllow, |policy| {
            DryRun::WouldAllow(policy.key())
        }));
    }
    said
}

pub(crate) fn applies(policy: &Policy, facts: &PolicyFacts<'_>) -> bool {
    match &policy.rules {
        PolicyRules::Valid(rules) => rules.iter().any(|rule| rule_holds(rule, facts)),
        PolicyRules::Malformed { .. } => policy.action == Action::Deny,
    }
}

fn rule_holds(rule: &Rule, facts: &PolicyFacts<'_>) -> bool {
    rule.clauses
        .iter()
        .all(|clause| clause_holds(clause, facts))
}

fn clause_holds(clause: &Clause, facts: &PolicyFacts<'_>) -> bool {
    clause.matches.is_empty()
        || clause
            .matches
            .iter()
            .any(|wanted| match_holds(wanted, facts))
}

fn match_holds(wanted: &Match, facts: &PolicyFacts<'_>) -> bool {
    let namespace = facts.identity.map_or("", Identity::namespace);
    let principal = facts.identity.map_or("", Identity::principal);
    let text = |text| move |wanted: &StringMatch| wanted.matches(text);
    let within = |ip: IpAddr| move |block: &IpNetwork| block.contains(ip.to_canonical());
    let port = |port: &u16| *port == facts.destination_port;
    let account = |wanted: &ServiceAccountMatch| {
        facts.identity.is_some_and(|identity| {
            *wanted.namespace == *identity.namespace()
                && *wanted.service_account == *identity.service_account()
        })
    };
    let source = within(facts.source_ip);
    let destination = within(facts.destination_ip);
    // Not a short cut: a match with nothing in it must not hold.
    !wanted.is_empty()
        && list_holds(&wanted.namespaces, &wanted.not_namespaces, text(namespace))
        && list_holds(&wanted.principals, &wanted.not_principals, text(principal))
        && list_holds(&wanted.source_ips, &wanted.not_source_ips, source)
        && list_holds(
            &wanted.destination_ips,
            &wanted.not_destination_ips,
            destination,
        )
        && list_holds(
            &wanted.destination_ports,
            &wanted.not_destination_ports,
            port,
        )
        && list_holds(
            &wanted.service_accounts,
            &wanted.not_service_accounts,
            account,
        )
}

/// An empty list asks for nothing.
fn list_holds<T>(any_of: &[T], none_of: &[T], holds: impl Fn(&T) -> bool) -> bool {
    (any_of.is_empty() || any_of.iter().any(&holds)) && !none_of.iter().any(&holds)
}
