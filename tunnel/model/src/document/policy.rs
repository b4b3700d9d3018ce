use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::{
    Action, Clause, Interner, Match, Policy, PolicyRules, Rule, Scope, ServiceAccountMatch,
    StringMatch,
};

use super::mistake::{Entry, Mistake, Mistakes};
use super::parse;
use super::shape::{MatchDocument, PolicyDocument, ServiceAccountDocument, StringMatchDocument};

const SCOPES: &[(&str, Scope)] = &[
    ("Global", Scope::Global),
    ("Namespace", Scope::Namespace),
    ("WorkloadSelector", Scope::WorkloadSelector),
];
const ACTIONS: &[(&str, Action)] = &[("Allow", Action::Allow), ("Deny", Action::Deny)];

impl PolicyDocument {
    /// The policy, or everything that is wrong with it.
    ///
    /// # Errors
    /// Its mistakes, never empty.
    pub fn to_policy(&self, interner: &mut Interner) -> Result<Policy, Vec<Mistake>> {
        let mut found = Vec::new();
        let name = format!("{}/{}", self.namespace, self.name);
        let entry = Entry {
            list: "policies",
            index: 0,
            name: &name,
        };
        let policy = read(
            self,
            interner,
            &mut Mistakes {
                entry,
                found: &mut found,
            },
        );
        if found.is_empty() {
            Ok(policy)
        } else {
            Err(found)
        }
    }

    /// The policy in any case, for a source that cannot be asked again: with mistakes in it, it
    /// is malformed, and what it does and applies to is read in the way that refuses more.
    #[must_use]
    pub fn to_policy_lenient(&self, interner: &mut Interner) -> Policy {
        self.to_policy(interner).unwrap_or_else(|mistakes| {
            let why: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Policy {
                name: interner.text(&self.name),
                namespace: interner.text(&self.namespace),
                scope: parse::word(&self.scope, SCOPES).unwrap_or(Scope::Global),
                action: parse::word(&self.action, ACTIONS).unwrap_or(Action::Deny),
                rules: PolicyRules::Malformed {
                    why: why.join("; ").into(),
                },
                // Whether to enforce it is one of the things that may have been misread.
                dry_run: self.dry_run && parse::word(&self.action, ACTIONS).is_ok(),
            }
        })
    }
}

/// The policy a document entry describes, with its mistakes noted.
pub(super) fn read(
    document: &PolicyDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Policy {
    if document.name.is_empty() {
        mistakes.add("name", "is needed");
    }
    if document.namespace.is_empty() {
        mistakes.add("namespace", "is needed");
    }
    let scope = parse::word(&document.scope, SCOPES);
    let action = parse::word(&document.action, ACTIONS);
    Policy {
        name: interner.text(&document.name),
        namespace: interner.text(&document.namespace),
        scope: mistakes
            .take("scope", scope.map(Some))
            .unwrap_or(Scope::Global),
        action: mistakes
            .take("action", action.map(Some))
            .unwrap_or(Action::Deny),
        rules: PolicyRules::Valid(rules(document, interner, mistakes)),
        dry_run: document.dry_run,
    }
}

fn rules(
    document: &PolicyDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (r, clauses) in document.rules.iter().flatten().enumerate() {
        let mut rule = Rule::default();
        for (c, matches) in clauses.iter().enumerate() {
            let matches = matches.iter().enumerate().map(|(m, document)| {
                let place = format!("rules[{r}][{c}][{m}]");
                MatchReader {
                    place,
                    interner,
                    mistakes,
                }
                .read(document)
            });
            rule.clauses.push(Clause {
                matches: matches.collect(),
            });
        }
        rules.push(rule);
    }
    rules
}

/// Reads one match, whose place is `rules[rule][clause][match]`.
struct MatchReader<'a, 'b> {
    place: String,
    interner: &'a mut Interner,
    mistakes: &'a mut Mistakes<'b>,
}

impl MatchReader<'_, '_> {
    fn read(mut self, document: &MatchDocument) -> Match {
        let d = document;
        Match {
            namespaces: self.texts("namespaces", &d.namespaces),
            not_namespaces: self.texts("notNamespaces", &d.not_namespaces),
            principals: self.texts("principals", &d.principals),
            not_principals: self.texts("notPrincipals", &d.not_principals),
            source_ips: self.blocks("sourceIps", &d.source_ips),
            not_source_ips: self.blocks("notSourceIps", &d.not_source_ips),
            destination_ips: self.blocks("destinationIps", &d.destination_ips),
            not_destination_ips: self.blocks("notDestinationIps", &d.not_destination_ips),
            destination_ports: self.ports("destinationPorts", &d.destination_ports),
            not_destination_ports: self.ports("notDestinationPorts", &d.not_destination_ports),
            service_accounts: self.accounts("serviceAccounts", &d.service_accounts),
            not_service_accounts: self.accounts("notServiceAccounts", &d.not_service_accounts),
        }
    }

    fn texts(&mut self, field: &str, values: &[StringMatchDocument]) -> Vec<StringMatch> {
        let field = format!("{}.{field}", self.place);
        self.mistakes
            .each(&field, values, |value| string_match(value, self.interner))
    }

    fn blocks(&mut self, field: &str, values: &[String]) -> Vec<IpNetwork> {
        let field = format!("{}.{field}", self.place);
        self.mistakes
            .each(&field, values, |value| parse::block(value))
    }

    fn ports(&mut self, field: &str, values: &[u32]) -> Vec<u16> {
        let field = format!("{}.{field}", self.place);
        self.mistakes.each(&field, values, |value| port(*value))
    }

    fn accounts(
        &mut self,
        field: &str,
        values: &[ServiceAccountDocument],
    ) -> Vec<ServiceAccountMatch> {
        let field = format!("{}.{field}", self.place);
        self.mistakes
            .each(&field, values, |value| account(value, self.interner))
    }
}

fn string_match(
    document: &StringMatchDocument,
    interner: &mut Interner,
) -> Result<StringMatch, String> {
    let mut text = |text: &str| -> Arc<str> { interner.text(text) };
    match document {
        StringMatchDocument::Exact(wanted) => Ok(StringMatch::Exact(text(wanted))),
        StringMatchDocument::Prefix(wanted) => Ok(StringMatch::Prefix(text(wanted))),
        StringMatchDocument::Suffix(wanted) => Ok(StringMatch::Suffix(text(wanted))),
        StringMatchDocument::Presence => Ok(StringMatch::Presence),
        StringMatchDocument::Unset => Err("says nothing to compare with".to_owned()),
    }
}

/// Not cut down to 16 bits: a port that cannot be is a mistake, not another port.
fn port(value: u32) -> Result<u16, String> {
    let port = u16::try_from(value).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{value} is not a port"))
}

fn account(
    document: &ServiceAccountDocument,
    interner: &mut Interner,
) -> Result<ServiceAccountMatch, String> {
    if document.namespace.is_empty() || document.service_account.is_empty() {
        return Err("needs a namespace and a serviceAccount".to_owned());
    }
    Ok(ServiceAccountMatch {
        namespace: interner.text(&document.namespace),
        service_account: interner.text(&document.service_account),
    })
}
