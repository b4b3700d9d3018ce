use std::sync::Arc;

use tunnel_model::{
    Action, Clause, Interner, IpNetwork, Match, Policy, PolicyRules, Rule, Scope,
    ServiceAccountMatch, StringMatch,
};

use super::parts::{self, at, one_of};
use crate::xds::proto::authorization as proto;

const SCOPES: &[Scope] = &[Scope::Global, Scope::Namespace, Scope::WorkloadSelector];
const ACTIONS: &[Action] = &[Action::Allow, Action::Deny];

/// Why a policy is rejected, and what stands in for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PolicyFault {
    /// Not even its name could be read.
    Unknown(String),
    /// Its name could be read. If no earlier version of it is known, the one in here, which lets
    /// nothing more through than whatever it says, is better than none.
    Malformed {
        /// The first thing that is wrong.
        why: String,
        /// The policy, to refuse with.
        stand_in: Policy,
    },
}

impl PolicyFault {
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Unknown(why) | Self::Malformed { why, .. } => why,
        }
    }
}

pub(super) fn read(
    message: &proto::Authorization,
    interner: &mut Interner,
) -> Result<Policy, PolicyFault> {
    for (field, value) in [("name", &message.name), ("namespace", &message.namespace)] {
        if value.is_empty() {
            return Err(PolicyFault::Unknown(format!("{field}: is needed")));
        }
    }
    let scope = at("scope", one_of(SCOPES, message.scope));
    let action = at("action", one_of(ACTIONS, message.action));
    let rules = at("rules", rules(message, interner));
    let (name, namespace) = (
        interner.text(&message.name),
        interner.text(&message.namespace),
    );
    let make = |scope, action, rules, dry_run| Policy {
        name,
        namespace,
        scope,
        action,
        rules,
        dry_run,
    };
    match (scope, action, rules) {
        (Ok(scope), Ok(action), Ok(rules)) => {
            let rules = PolicyRules::Valid(rules);
            Ok(make(scope, action, rules, message.dry_run))
        }
        (scope, action, rules) => {
            let why = [
                scope.as_ref().err(),
                action.as_ref().err(),
                rules.as_ref().err(),
            ];
            let why = why
                .into_iter()
                .flatten()
                .next()
                .cloned()
                .unwrap_or_default();
            let malformed = PolicyRules::Malformed {
                why: why.as_str().into(),
            };
            // Whether to enforce it is one of the things that may have been misread.
            let dry_run = message.dry_run && action.is_ok();
            let stand_in = make(
                scope.unwrap_or(Scope::Global),
                action.unwrap_or(Action::Deny),
                malformed,
                dry_run,
            );
            Err(PolicyFault::Malformed { why, stand_in })
        }
    }
}

fn rules(message: &proto::Authorization, interner: &mut Interner) -> Result<Vec<Rule>, String> {
    let mut rule = |rule: &proto::Rule| {
        let clauses = rule.clauses.iter().map(|clause| {
            let matches = clause.matches.iter();
            let matches = matches.map(|one| read_match(one, interner));
            Ok(Clause {
                matches: matches.collect::<Result<_, String>>()?,
            })
        });
        Ok(Rule {
            clauses: clauses.collect::<Result<_, String>>()?,
        })
    };
    message.rules.iter().map(&mut rule).collect()
}

fn read_match(message: &proto::Match, interner: &mut Interner) -> Result<Match, String> {
    let m = message;
    let mut text = |text: &str| interner.text(text);
    Ok(Match {
        namespaces: at("namespaces", texts(&m.namespaces, &mut text))?,
        not_namespaces: at("not_namespaces", texts(&m.not_namespaces, &mut text))?,
        principals: at("principals", texts(&m.principals, &mut text))?,
        not_principals: at("not_principals", texts(&m.not_principals, &mut text))?,
        source_ips: at("source_ips", blocks(&m.source_ips))?,
        not_source_ips: at("not_source_ips", blocks(&m.not_source_ips))?,
        destination_ips: at("destination_ips", blocks(&m.destination_ips))?,
        not_destination_ips: at("not_destination_ips", blocks(&m.not_destination_ips))?,
        destination_ports: at("destination_ports", ports(&m.destination_ports))?,
        not_destination_ports: at("not_destination_ports", ports(&m.not_destination_ports))?,
        service_accounts: at("service_accounts", accounts(&m.service_accounts, &mut text))?,
        not_service_accounts: at(
            "not_service_accounts",
            accounts(&m.not_service_accounts, &mut text),
        )?,
    })
}

fn texts(
    all: &[proto::StringMatch],
    text: &mut impl FnMut(&str) -> Arc<str>,
) -> Result<Vec<StringMatch>, String> {
    let mut one = |one: &proto::StringMatch| match one {
        proto::StringMatch {
            exact: Some(wanted),
            prefix: None,
            suffix: None,
            presence: None,
        } => Ok(StringMatch::Exact(text(wanted))),
        proto::StringMatch {
            exact: None,
            prefix: Some(wanted),
            suffix: None,
            presence: None,
        } => Ok(StringMatch::Prefix(text(wanted))),
        proto::StringMatch {
            exact: None,
            prefix: None,
            suffix: Some(wanted),
            presence: None,
        } => Ok(StringMatch::Suffix(text(wanted))),
        proto::StringMatch {
            exact: None,
            prefix: None,
            suffix: None,
            presence: Some(_),
        } => Ok(StringMatch::Presence),
        // Left out, a value of a negative list would let more through.
        _ => Err("a value says nothing to compare with, or several things".to_owned()),
    };
    all.iter().map(&mut one).collect()
}

fn blocks(all: &[proto::Block]) -> Result<Vec<IpNetwork>, String> {
    all.iter()
        .map(|block| parts::block(&block.address, block.length))
        .collect()
}

fn ports(all: &[u32]) -> Result<Vec<u16>, String> {
    all.iter().map(|value| parts::port(*value)).collect()
}

fn accounts(
    all: &[proto::ServiceAccount],
    text: &mut impl FnMut(&str) -> Arc<str>,
) -> Result<Vec<ServiceAccountMatch>, String> {
    let mut one = |one: &proto::ServiceAccount| {
        if one.namespace.is_empty() || one.service_account.is_empty() {
            return Err("a service account needs a namespace and a name".to_owned());
        }
        Ok(ServiceAccountMatch {
            namespace: text(&one.namespace),
            service_account: text(&one.service_account),
        })
    };
    all.iter().map(&mut one).collect()
}
