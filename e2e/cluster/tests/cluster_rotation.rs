//! The mesh's root is replaced in stages, as operators do with roots of their own: first both are believed, then the new one
//! signs, then the old one is gone. Nobody notices.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use anyhow::{Result, ensure};
use e2e_cluster::{MeshRoot, Options, Shop, nobody_noticed, until_says};

#[test]
fn a_root_is_replaced_in_stages_and_nobody_notices() {
    let old = MeshRoot::make("the old root").unwrap();
    let new = MeshRoot::make("the new root").unwrap();
    let options = Options {
        cacerts: Some(old.cacerts(&[&old])),
        ..Options::default()
    };
    let shop = Shop::open(&options, &["settings.rootRotationPause=10s"]).unwrap();
    until_certificates("of the old root", &shop, &old, &[&old]);
    let load = shop.load().unwrap();

    publish(&shop, &old, &[&old, &new]);
    until_certificates(
        "with both roots, by the old one",
        &shop,
        &old,
        &[&old, &new],
    );
    let added = log_says(&shop, 1);

    let reloads = istiod_reloads(&shop).unwrap();
    publish(&shop, &new, &[&old, &new]);
    // Certificates are good for a day: only who comes now has one of the new root, and is reached by those of the old one.
    until_says("istiod signs with the new root", &[], || {
        ensure!(istiod_reloads(&shop)? > reloads, "not yet");
        Ok(String::new())
    })
    .unwrap();
    new_pods_are_of(&shop, &new);
    until_certificates("still by the old root", &shop, &old, &[&old, &new]);

    publish(&shop, &new, &[&new]);
    until_certificates("of the new root only", &shop, &new, &[&new]);
    log_says(&shop, added + 1);
    nobody_noticed("root replaced in stages", load).unwrap();
    shop.until_reached("server").unwrap();
    shop.cluster.check().unwrap();
}

fn publish(shop: &Shop, signs: &MeshRoot, roots: &[&MeshRoot]) {
    let secret = signs.cacerts(roots).to_string();
    shop.cluster.apply(&secret).unwrap();
}

/// Of client and server, on both nodes; a late pod's may be newer.
fn until_certificates(what: &str, shop: &Shop, signed: &MeshRoot, roots: &[&MeshRoot]) {
    let wanted: String = roots.iter().map(|one| one.root()).collect();
    for node in &shop.nodes {
        until_says(&format!("node {node}: {what}"), &[], || {
            let all = shop.cluster.node(node)?.certificates()?;
            let old = |one: &&e2e_cluster::Shown| !one.identity.ends_with("/late");
            for one in all.iter().filter(old) {
                ensure!(
                    one.roots == wanted,
                    "roots of {}: {}",
                    one.identity,
                    one.roots
                );
                ensure!(one.chain.ends_with(signed.issuer()), "{}", one.chain);
            }
            ensure!(all.iter().any(|one| old(&one)), "none");
            Ok(String::new())
        })
        .unwrap();
    }
}

/// How often istiod has taken in another secret.
fn istiod_reloads(shop: &Shop) -> Result<usize> {
    let log = [
        "-n",
        "istio-system",
        "logs",
        "deployment/istiod",
        "--tail=-1",
    ];
    let log = shop.cluster.kubectl(&log)?;
    Ok(log.matches("has detected the newly added").count())
}

/// A pod that comes gets a certificate by who signs now, and is reached.
fn new_pods_are_of(shop: &Shop, root: &MeshRoot) {
    let mut pod = shop.beside_server("late").unwrap();
    pod["spec"]["serviceAccountName"] = "late".into();
    shop.cluster.apply(&pod.to_string()).unwrap();
    shop.until_reached("late").unwrap();
    let node = shop.cluster.node(shop.second().unwrap()).unwrap();
    let all = node.certificates().unwrap();
    let late = all.iter().find(|one| one.identity.ends_with("/late"));
    assert!(late.unwrap().chain.ends_with(root.issuer()), "{late:?}");
}

/// How often both agents have said that the roots changed, at least.
fn log_says(shop: &Shop, times: usize) -> usize {
    let says = "the roots have changed; they are believed at once";
    let counts = shop.nodes.iter().map(|node| -> Result<usize> {
        let log = shop.agent(node)?.log()?;
        Ok(log.matches(says).count())
    });
    let counts = counts.collect::<Result<Vec<_>>>().unwrap();
    let fewest = counts.into_iter().min().unwrap();
    assert!(fewest >= times, "{fewest}");
    fewest
}
