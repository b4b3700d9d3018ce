//! What runs out or is forgotten: a watch, a token, a root. Connections go on, and an operator sees what is the matter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use anyhow::ensure;
use e2e_cluster::{Claims, Options, Shop, nobody_noticed, until_says};
use e2e_netlab::run;
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// How long the API server is away.
fn away() -> Duration {
    let seconds = std::env::var("AMBIENT_FAULT_SECONDS").map_or(10, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

#[test]
fn what_expires_is_noticed_and_cuts_nobody() {
    let values = ["settings.rootRotationPause=10s"];
    let shop = Shop::open(&Options::default(), &values).unwrap();
    for (pod, account) in [
        ("early", "server"),
        ("meanwhile", "server"),
        ("outside", "outside"),
    ] {
        shop.add_outside(pod, account).unwrap();
    }
    the_watch_expires(&shop);
    the_token_expires(&shop);
    the_root_is_replaced_at_once(&shop);
    shop.cluster.check().unwrap();
}

/// An API server that starts knows nothing of the past: who followed it before cannot go on from where that was, because
/// there were other changes since.
fn the_watch_expires(shop: &Shop) {
    let load = shop.load().unwrap();
    let agents = [0, 1].map(|node| shop.agent(&shop.nodes[node]).unwrap());
    shop.label_into_mesh("early").unwrap();
    let change = ["-n", "shop", "create", "configmap", "another-change"];
    shop.cluster.kubectl(&change).unwrap();
    shop.cluster.kill_api().unwrap();
    for agent in &agents {
        let words = ["NOT CONNECTED", "what was known stays in force"];
        until_says("status: not connected", &words, || agent.status()).unwrap();
    }
    thread::sleep(away());
    shop.cluster.start_api().unwrap();
    shop.label_into_mesh("meanwhile").unwrap();
    for agent in &agents {
        let words = ["the API server has forgotten what changed since"];
        until_says("log: the watch has expired", &words, || agent.log()).unwrap();
        let words = ["pods: connected", "namespaces: connected"];
        until_says("status: followed again", &words, || agent.status()).unwrap();
    }
    for pod in ["early", "meanwhile"] {
        shop.until_captured(pod).unwrap();
    }
    nobody_noticed("watch expired", load).unwrap();
    shop.until_reached("meanwhile").unwrap();
}

/// A kubelet hangs, so that it does not renew the token of the agent on its node, and istiod is another one, to which the
/// agent must prove itself anew.
fn the_token_expires(shop: &Shop) {
    let load = shop.load().unwrap();
    let (first, second) = (shop.first().unwrap(), shop.second().unwrap());
    let (content, refused) = (shop.agent(first).unwrap(), shop.agent(second).unwrap());
    shop.cluster.kubectl(&["cordon", second]).unwrap();
    let machine = shop.cluster.node(second).unwrap().machine();
    machine.signal("kubelet", Signal::SIGSTOP).unwrap();
    put_expired_token(shop, second);
    let istiod = ["-n", "istio-system", "delete", "pod", "-l", "app=istiod"];
    let istiod = [&istiod[..], &["--wait=false"]].concat();
    shop.cluster.kubectl(&istiod).unwrap();
    let words = [
        "the server refused (UNAUTHENTICATED)",
        "check that the token is of this pod, has not expired",
    ];
    until_says("log: the token is refused", &words, || refused.log()).unwrap();
    until_says("status: the token is refused", &words, || refused.status()).unwrap();
    // It needs a certificate, and the agent must ask for that with the token.
    shop.label_into_mesh("outside").unwrap();
    let words = ["no certificate", "refused", "has not expired"];
    until_says("event: no certificate, and why", &words, || {
        shop.events("outside")
    })
    .unwrap();
    let words = ["control plane: connected"];
    until_says("status: the other one is content", &words, || {
        content.status()
    })
    .unwrap();
    machine.signal("kubelet", Signal::SIGCONT).unwrap();
    until_says("status: connected again", &words, || refused.status()).unwrap();
    shop.cluster.kubectl(&["uncordon", second]).unwrap();
    shop.until_captured("outside").unwrap();
    nobody_noticed("token expired", load).unwrap();
    shop.until_reached("outside").unwrap();
}

/// Writes over the token that the kubelet has put on a node for the agent.
fn put_expired_token(shop: &Shop, node: &str) {
    let pod = shop.bundle().pod(node).unwrap();
    let key = shop.cluster.token_key().unwrap();
    let claims = Claims::of(&shop.cluster, "istio-system", &pod, "istio-ca").unwrap();
    let token = claims.expired(&key, Duration::from_secs(60)).unwrap();
    // Nothing else is the matter with it.
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["istio-ca"]},
    });
    let verdict = shop.cluster.create(&review.to_string()).unwrap();
    let why = verdict["status"]["error"].as_str().unwrap_or_default();
    assert!(why.contains("expired"), "{verdict}");
    let uid = ["-n", "istio-system", "get", "pod", &pod];
    let uid = [&uid[..], &["-o", "jsonpath={.metadata.uid}"]].concat();
    let uid = shop.cluster.kubectl(&uid).unwrap();
    let volumes = format!("/var/lib/kubelet/pods/{uid}/volumes");
    let script = r#"set -eu; test -s "$0"; printf %s "$1" >"$0""#;
    let file = format!("{volumes}/kubernetes.io~projected/token/istio-token");
    let node = shop.cluster.node(node).unwrap();
    run(node.enter("bash").args(["-c", script, &file, &token])).unwrap();
}

/// As operators do who want another self-signed root at once: the secret is deleted, istiod restarted.
fn the_root_is_replaced_at_once(shop: &Shop) {
    let load = shop.load().unwrap();
    let roots = |node: &str| {
        let all = shop.cluster.node(node)?.certificates()?;
        let roots: BTreeSet<String> = all.into_iter().map(|one| one.roots).collect();
        Ok::<_, anyhow::Error>(roots)
    };
    let before = roots(&shop.nodes[0]).unwrap();
    assert_eq!(
        (before.len(), &before),
        (1, &roots(&shop.nodes[1]).unwrap())
    );
    let secret = ["-n", "istio-system", "delete", "secret", "istio-ca-secret"];
    shop.cluster.kubectl(&secret).unwrap();
    let restart = ["-n", "istio-system", "rollout", "restart"];
    let restart = [&restart[..], &["deployment/istiod"]].concat();
    shop.cluster.kubectl(&restart).unwrap();
    for node in &shop.nodes {
        let agent = shop.agent(node).unwrap();
        let words = ["the roots have changed; they are believed at once"];
        until_says("log: the roots have changed", &words, || agent.log()).unwrap();
        until_says("all certificates are of the new root", &[], || {
            let now = roots(node)?;
            ensure!(now.len() == 1 && now.is_disjoint(&before), "{now:?}");
            Ok(String::new())
        })
        .unwrap();
    }
    nobody_noticed("self-signed root replaced at once", load).unwrap();
    shop.until_reached("server").unwrap();
}
