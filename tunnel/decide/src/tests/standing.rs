use std::net::IpAddr;
use std::sync::Arc;

use tunnel_model::{Action, Clause, Match, Policy, PolicyRules, Rule, Scope, Snapshot, Workload};

use super::{Mesh, hbone, identity, ip, key, own};
use crate::{InForce, Missing, PolicyFacts};

fn policy(namespace: &str, name: &str, scope: Scope, action: Action, port: u16) -> Policy {
    let matching = Match {
        destination_ports: vec![port],
        ..Match::default()
    };
    let clause = Clause {
        matches: vec![matching],
    };
    Policy {
        name: name.into(),
        namespace: namespace.into(),
        scope,
        action,
        rules: PolicyRules::Valid(vec![Rule {
            clauses: vec![clause],
        }]),
        dry_run: false,
    }
}

fn selecting(namespace: &str, action: Action, port: u16) -> Policy {
    let name = format!("{action:?}-{port}");
    policy(namespace, &name, Scope::WorkloadSelector, action, port)
}

fn judged(in_force: &InForce, port: u16, missing: Missing) -> Result<(), String> {
    let peer = identity("client");
    let facts = PolicyFacts {
        identity: Some(&peer),
        source_ip: ip("10.0.0.1"),
        destination_ip: IpAddr::from([10, 0, 0, 2]),
        destination_port: port,
    };
    let judged = in_force.judge(&facts, missing);
    judged.map_err(|refusal| refusal.to_string())
}

/// A workload of this node in a mesh of which discovery has told everything else.
fn untold(policies: &[Policy]) -> (Snapshot, Arc<Workload>) {
    let mut mesh = Mesh::default();
    for policy in policies {
        mesh = mesh.policy(policy.clone());
    }
    let local = Arc::new(hbone("server", &["10.0.0.2"]));
    let snapshot = mesh.build().with_local(2, [Arc::clone(&local)]);
    (snapshot, local)
}

#[test]
fn nobody_is_let_through_whom_any_policy_that_may_select_the_pod_refuses() {
    use Action::{Allow, Deny};
    let of_all = |action, port| policy("ns", "all", Scope::Namespace, action, port);
    // Policies; whether port 80 is let through. Others are about port 81.
    let table = [
        (vec![], true),
        (vec![selecting("ns", Deny, 80)], false),
        (vec![selecting("ns", Deny, 81)], true),
        (vec![selecting("root", Deny, 80)], false),
        (vec![selecting("elsewhere", Deny, 80)], true),
        (vec![selecting("elsewhere", Allow, 81)], true),
        (vec![selecting("ns", Allow, 80)], true),
        (vec![selecting("ns", Allow, 81)], false),
        (
            vec![selecting("ns", Allow, 80), selecting("ns", Allow, 81)],
            false,
        ),
        // Who is let through by one that applies is so whatever else selects the pod.
        (vec![of_all(Allow, 80), selecting("ns", Allow, 81)], true),
        (vec![of_all(Allow, 81), selecting("ns", Allow, 80)], false),
        (vec![of_all(Deny, 80)], false),
    ];
    for (policies, passes) in table {
        let (snapshot, own) = untold(&policies);
        let in_force = InForce::untold(&snapshot, &own, "root");
        let verdict = judged(&in_force, 80, Missing::Refuse);
        assert_eq!(verdict.is_ok(), passes, "{policies:?}: {verdict:?}");
    }
}

#[test]
fn before_anything_was_told_nobody_is_let_through() {
    let own = Arc::new(hbone("server", &["10.0.0.2"]));
    let snapshot = Snapshot::default().with_local(1, [Arc::clone(&own)]);
    let in_force = InForce::untold(&snapshot, &own, "root");
    judged(&in_force, 80, Missing::Refuse).unwrap_err();
}

#[test]
fn what_is_told_anew_and_is_the_same_is_no_change() {
    let deny = |port| selecting("ns", Action::Deny, port);
    let told = |policies: &[Policy], names: &[&str]| {
        let mut server = hbone("server", &["10.0.0.2"]);
        server.authorization_policies = names.iter().map(|name| key(name)).collect();
        let mut mesh = Mesh::default().workload(server);
        for policy in policies {
            mesh = mesh.policy(policy.clone());
        }
        let snapshot = mesh.build();
        let own = own(&snapshot, "server");
        InForce::of(&snapshot, &own)
    };
    let before = told(&[deny(80)], &["Deny-80"]);
    assert!(before.same(&told(&[deny(80)], &["Deny-80"])));
    // One that does not select it.
    assert!(before.same(&told(&[deny(80), deny(81)], &["Deny-80"])));
    let mut trial = policy("ns", "trial", Scope::Namespace, Action::Deny, 80);
    trial.dry_run = true;
    assert!(before.same(&told(&[deny(80), trial], &["Deny-80"])));
    let mut other = deny(80);
    other.rules = PolicyRules::Valid(Vec::new());
    assert!(!before.same(&told(&[other], &["Deny-80"])));
    assert!(!before.same(&told(&[deny(80)], &[])));
    let late = told(&[deny(80)], &["Deny-80", "Deny-81"]);
    assert!(!before.same(&late));
    assert!(late.is_incomplete());
    judged(&late, 90, Missing::Awaited).unwrap();
    let why = judged(&late, 90, Missing::Refuse).unwrap_err();
    assert!(
        why.contains("policy change") && why.contains("ns/Deny-81"),
        "{why}"
    );
    judged(&late.received(), 90, Missing::Refuse).unwrap();
}
