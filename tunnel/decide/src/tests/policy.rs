use std::sync::Arc;

use tunnel_model::{
    Action, Clause, Identity, IpNetwork, Match, Policy, PolicyKey, PolicyRules, Rule, Scope,
    ServiceAccountMatch, StringMatch,
};

use super::{Mesh, hbone, identity, ip, key, own};
use crate::policy::{AllowedBy, DryRun, PolicyFacts, PolicyVerdict, evaluate};

fn policy(name: &str, action: Action, rules: Vec<Rule>) -> Policy {
    Policy {
        name: name.into(),
        namespace: "ns".into(),
        scope: Scope::Namespace,
        action,
        rules: PolicyRules::Valid(rules),
        dry_run: false,
    }
}

/// One rule of clauses, each a list of matches.
fn rule(clauses: Vec<Vec<Match>>) -> Rule {
    Rule {
        clauses: clauses
            .into_iter()
            .map(|matches| Clause { matches })
            .collect(),
    }
}

fn everything() -> Vec<Rule> {
    vec![Rule::default()]
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

/// The connection all tables ask about: `td/ns/x/sa/..` written out, or no identity.
fn facts(identity: Option<&Identity>) -> PolicyFacts<'_> {
    PolicyFacts {
        identity,
        source_ip: ip("10.0.0.1"),
        destination_ip: ip("10.0.0.2"),
        destination_port: 8080,
    }
}

fn verdict(policies: Vec<Policy>, identity: Option<&Identity>) -> PolicyVerdict {
    let mut mesh = Mesh::default().workload(hbone("server", &["10.0.0.2"]));
    for policy in policies {
        mesh = mesh.policy(policy);
    }
    let snapshot = mesh.build();
    let own = own(&snapshot, "server");
    evaluate(&snapshot, &own, &facts(identity))
}

/// Whether rules match a connection of `td/ns/ns/sa/client`, and one without identity.
fn check_rules(rules: &[Rule], with: bool, without: bool) {
    for (identity, expected) in [(Some(identity("client")), with), (None, without)] {
        let denied = verdict(
            vec![policy("d", Action::Deny, rules.to_vec())],
            identity.as_ref(),
        );
        let allowed = verdict(
            vec![policy("a", Action::Allow, rules.to_vec())],
            identity.as_ref(),
        );
        let is_denied = matches!(denied, PolicyVerdict::Deny { .. });
        let is_allowed = matches!(allowed, PolicyVerdict::Allow { .. });
        assert_eq!(
            (is_denied, is_allowed),
            (expected, expected),
            "{identity:?}: {rules:?}"
        );
    }
}

fn check(wanted: Match, with: bool, without: bool) {
    check_rules(&[rule(vec![vec![wanted]])], with, without);
}

#[test]
fn levels() {
    let yes = || Match {
        destination_ports: vec![8080],
        ..Match::default()
    };
    let no = || Match {
        destination_ports: vec![1],
        ..Match::default()
    };
    let empty = Match::default;
    let one = |clauses| vec![rule(clauses)];
    let table = [
        (vec![], false),
        (vec![Rule::default()], true),
        (one(vec![vec![]]), true),
        (one(vec![vec![empty()]]), false),
        (one(vec![vec![empty(), yes()]]), true),
        (one(vec![vec![no(), yes()]]), true),
        (one(vec![vec![yes()], vec![no()]]), false),
        (one(vec![vec![yes()], vec![]]), true),
        (one(vec![vec![yes()], vec![empty()]]), false),
        (vec![rule(vec![vec![no()]]), rule(vec![vec![yes()]])], true),
        (vec![rule(vec![vec![no()]]), rule(vec![vec![no()]])], false),
    ];
    for (rules, matches) in table {
        check_rules(&rules, matches, matches);
    }
}

#[test]
fn namespaces() {
    let wanted = |list: &[StringMatch]| Match {
        namespaces: list.to_vec(),
        ..Match::default()
    };
    let unwanted = |list: &[StringMatch]| Match {
        not_namespaces: list.to_vec(),
        ..Match::default()
    };
    check(wanted(&[exact("ns")]), true, false);
    check(wanted(&[exact("other"), exact("ns")]), true, false);
    check(wanted(&[exact("other")]), false, false);
    check(wanted(&[exact("")]), false, true);
    check(unwanted(&[exact("ns")]), false, true);
    check(unwanted(&[exact("other")]), true, true);
    check(unwanted(&[exact("other"), exact("ns")]), false, true);
    check(unwanted(&[exact("")]), true, false);
}

#[test]
fn principals() {
    let wanted = |one: StringMatch| Match {
        principals: vec![one],
        ..Match::default()
    };
    let unwanted = |one: StringMatch| Match {
        not_principals: vec![one],
        ..Match::default()
    };
    let client = "td/ns/ns/sa/client";
    let table = [
        (exact(client), true, false),
        (exact("spiffe://td/ns/ns/sa/client"), false, false),
        (exact("td/ns/ns/sa/clien"), false, false),
        (StringMatch::Prefix("td/ns/ns/".into()), true, false),
        (StringMatch::Prefix("other/".into()), false, false),
        (StringMatch::Suffix("/sa/client".into()), true, false),
        (StringMatch::Suffix("/sa/other".into()), false, false),
        (StringMatch::Presence, true, false),
        // Every text starts and ends with nothing, even no identity's.
        (StringMatch::Prefix("".into()), true, true),
        (StringMatch::Suffix("".into()), true, true),
    ];
    for (one, with, without) in table {
        check(wanted(one.clone()), with, without);
        check(unwanted(one), !with, !without);
    }
}

#[test]
fn addresses_and_ports() {
    let blocks = |list: &[&str]| -> Vec<IpNetwork> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    };
    let table: [(&[&str], bool, bool); 6] = [
        (&["10.0.0.1"], true, false),
        (&["10.0.0.2/32"], false, true),
        (&["10.0.0.0/24"], true, true),
        (&["10.1.0.0/16", "10.0.0.0/8"], true, true),
        (&["fd00::/8", "::/0"], false, false),
        (&["0.0.0.0/0"], true, true),
    ];
    for (list, source, destination) in table {
        check(
            Match {
                source_ips: blocks(list),
                ..Match::default()
            },
            source,
            source,
        );
        check(
            Match {
                not_source_ips: blocks(list),
                ..Match::default()
            },
            !source,
            !source,
        );
        let (is, not) = (destination, !destination);
        check(
            Match {
                destination_ips: blocks(list),
                ..Match::default()
            },
            is,
            is,
        );
        check(
            Match {
                not_destination_ips: blocks(list),
                ..Match::default()
            },
            not,
            not,
        );
    }
    for (ports, is) in [
        (vec![8080], true),
        (vec![80, 8080], true),
        (vec![80, 15008], false),
    ] {
        check(
            Match {
                destination_ports: ports.clone(),
                ..Match::default()
            },
            is,
            is,
        );
        check(
            Match {
                not_destination_ports: ports,
                ..Match::default()
            },
            !is,
            !is,
        );
    }
}

#[test]
fn service_accounts() {
    let account = |namespace: &str, name: &str| ServiceAccountMatch {
        namespace: namespace.into(),
        service_account: name.into(),
    };
    let table = [
        (vec![account("ns", "client")], true),
        (vec![account("ns", "other")], false),
        (vec![account("other", "client")], false),
        (
            vec![account("other", "client"), account("ns", "client")],
            true,
        ),
    ];
    for (list, is) in table {
        check(
            Match {
                service_accounts: list.clone(),
                ..Match::default()
            },
            is,
            false,
        );
        check(
            Match {
                not_service_accounts: list,
                ..Match::default()
            },
            !is,
            true,
        );
    }
    // Whatever the trust domain.
    let foreign = Identity::new("foreign", "ns", "client").unwrap();
    let wanted = Match {
        service_accounts: vec![account("ns", "client")],
        ..Match::default()
    };
    let policies = vec![policy("a", Action::Allow, vec![rule(vec![vec![wanted]])])];
    assert!(matches!(
        verdict(policies, Some(&foreign)),
        PolicyVerdict::Allow { .. }
    ));
}

#[test]
fn kinds_are_joined_by_and() {
    let both = |port: u16, not_namespace: &str| Match {
        destination_ports: vec![port],
        not_namespaces: vec![exact(not_namespace)],
        ..Match::default()
    };
    check(both(8080, "other"), true, true);
    check(both(8080, "ns"), false, true);
    check(both(1, "other"), false, false);
}

/// What evaluation says for a set of policies: by whom it is allowed, or the reason's words.
fn check_order(policies: Vec<Policy>, expected: Result<AllowedBy, &str>) {
    let client = identity("client");
    match (verdict(policies, Some(&client)), expected) {
        (PolicyVerdict::Allow { by, .. }, Ok(expected)) => assert_eq!(by, expected),
        (PolicyVerdict::Deny { reason, .. }, Err(expected)) => {
            let said = reason.to_string();
            let start = "connection closed due to policy rejection: ";
            assert_eq!(said.strip_prefix(start), Some(expected));
        }
        (verdict, expected) => panic!("{verdict:?}, not {expected:?}"),
    }
}

fn malformed(name: &str, action: Action) -> Policy {
    let rules = PolicyRules::Malformed { why: "bad".into() };
    Policy {
        rules,
        ..policy(name, action, Vec::new())
    }
}

#[test]
fn order_of_evaluation() {
    let (allow, deny) = (Action::Allow, Action::Deny);
    let none_allowed = "allow policies exist, but none allowed";
    check_order(vec![], Ok(AllowedBy::NoPolicy));
    check_order(vec![policy("d", deny, vec![])], Ok(AllowedBy::NoPolicy));
    check_order(vec![policy("a", allow, vec![])], Err(none_allowed));
    check_order(
        vec![policy("a", allow, everything())],
        Ok(AllowedBy::Policy(key("a"))),
    );
    let some = vec![policy("a", allow, vec![]), policy("b", allow, everything())];
    check_order(some, Ok(AllowedBy::Policy(key("b"))));
    check_order(
        vec![policy("d", deny, everything())],
        Err("explicitly denied by: ns/d"),
    );
    let both = vec![
        policy("a", allow, everything()),
        policy("d", deny, everything()),
    ];
    check_order(both, Err("explicitly denied by: ns/d"));
}

#[test]
fn malformed_policies_refuse() {
    let said =
        "explicitly denied by: ns/d (which cannot be understood and so denies everything: bad)";
    check_order(vec![malformed("d", Action::Deny)], Err(said));
    let none_allowed = "allow policies exist, but none allowed";
    check_order(vec![malformed("a", Action::Allow)], Err(none_allowed));
    let other = vec![
        malformed("a", Action::Allow),
        policy("b", Action::Allow, everything()),
    ];
    check_order(other, Ok(AllowedBy::Policy(key("b"))));
}

#[test]
fn dry_runs_only_warn() {
    let dry = |policy: Policy| Policy {
        dry_run: true,
        ..policy
    };
    let check = |policies: Vec<Policy>, allowed: bool, said: &[DryRun]| {
        let client = identity("client");
        let (is_allowed, dry_run) = match verdict(policies, Some(&client)) {
            PolicyVerdict::Allow { dry_run, .. } => (true, dry_run),
            PolicyVerdict::Deny { dry_run, .. } => (false, dry_run),
        };
        assert_eq!((is_allowed, &*dry_run), (allowed, said));
    };
    let (allow, deny) = (Action::Allow, Action::Deny);
    check(
        vec![dry(policy("d", deny, everything()))],
        true,
        &[DryRun::WouldDeny(key("d"))],
    );
    check(vec![dry(policy("d", deny, vec![]))], true, &[]);
    check(
        vec![dry(malformed("d", deny))],
        true,
        &[DryRun::WouldDeny(key("d"))],
    );
    check(
        vec![dry(policy("a", allow, vec![]))],
        true,
        &[DryRun::WouldNotAllow],
    );
    let does = dry(policy("a", allow, everything()));
    check(vec![does.clone()], true, &[DryRun::WouldAllow(key("a"))]);
    check(
        vec![does, policy("b", allow, vec![])],
        false,
        &[DryRun::WouldAllow(key("a"))],
    );
}

#[test]
fn scopes_and_names() {
    let strict = || Policy {
        scope: Scope::WorkloadSelector,
        ..policy(
            "strict",
            Action::Deny,
            vec![rule(vec![vec![Match {
                not_principals: vec![StringMatch::Presence],
                ..Match::default()
            }]])],
        )
    };
    let check = |names: &[PolicyKey], policies: Vec<Policy>, plain: bool, identified: bool| {
        let mut server = hbone("server", &["10.0.0.2"]);
        server.authorization_policies = names.to_vec();
        let mut mesh = Mesh::default().workload(server);
        for policy in policies {
            mesh = mesh.policy(policy);
        }
        let snapshot = mesh.build();
        let own = own(&snapshot, "server");
        let client = identity("client");
        for (identity, expected) in [(None, plain), (Some(&client), identified)] {
            let verdict = evaluate(&snapshot, &own, &facts(identity));
            assert_eq!(
                matches!(verdict, PolicyVerdict::Allow { .. }),
                expected,
                "{verdict:?}"
            );
        }
    };
    // Strict mutual TLS is a DENY of whoever has no principal, attached by name.
    check(&[key("strict")], vec![strict()], false, true);
    check(&[], vec![strict()], true, true);
    // A name that has not arrived refuses, whatever else allows.
    check(&[key("lost")], vec![], false, false);
    check(
        &[key("lost")],
        vec![policy("a", Action::Allow, everything())],
        false,
        false,
    );
    let elsewhere = |scope| Policy {
        namespace: "elsewhere".into(),
        scope,
        ..policy("d", Action::Deny, everything())
    };
    check(&[], vec![elsewhere(Scope::Namespace)], true, true);
    check(&[], vec![elsewhere(Scope::Global)], false, false);
    check(
        &[PolicyKey::new("elsewhere", "d")],
        vec![elsewhere(Scope::WorkloadSelector)],
        false,
        false,
    );
}

#[test]
fn a_policy_attached_later_counts_for_a_workload_known_from_before() {
    let before = hbone("server", &["10.0.0.2"]);
    for uid in ["server", "another uid for the same pod"] {
        let mut now = hbone("server", &["10.0.0.2"]);
        now.uid = uid.into();
        now.authorization_policies = vec![key("d")];
        let deny = Policy {
            scope: Scope::WorkloadSelector,
            ..policy("d", Action::Deny, everything())
        };
        let snapshot = Mesh::default().workload(now).policy(deny).build();
        let verdict = evaluate(&snapshot, &Arc::new(before.clone()), &facts(None));
        assert!(matches!(verdict, PolicyVerdict::Deny { .. }), "{uid}");
    }
}
