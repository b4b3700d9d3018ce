//! Policies through istiod: what is plaintext, who may call whom, and what becomes of connections that are open.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use e2e_cluster::workloads::{account, list, namespace, pod, service};
use e2e_cluster::{Bundle, Cluster, Load, Options, Programs};
use e2e_netlab::log::access_lines;
use e2e_netlab::{Image, wait};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
const STORE: &str = "localhost/etcd:1";

/// A cluster with pods in the mesh and one outside.
struct Scene {
    cluster: Cluster,
    nodes: Vec<String>,
}

impl Scene {
    fn set() -> Self {
        let cluster = Cluster::start(&Options::default()).unwrap();
        Bundle::install(&cluster, &[], PATIENCE).unwrap();
        let nodes = cluster.nodes().unwrap();
        let scene = Self { cluster, nodes };
        scene.make_pods();
        scene
    }

    fn bundle(&self) -> Bundle<'_> {
        Bundle::on(&self.cluster)
    }

    fn make_pods(&self) {
        let (first, second) = (self.nodes[0].as_str(), self.nodes[1].as_str());
        import_store(&self.cluster);
        let mut items = vec![namespace("shop", true), namespace("street", false)];
        for (space, name) in [
            ("shop", "client"),
            ("shop", "other"),
            ("shop", "server"),
            ("shop", "store"),
            ("street", "stranger"),
        ] {
            items.push(account(space, name));
        }
        items.extend([
            pod("shop", "client", first, &[]),
            pod("shop", "other", first, &[]),
            pod("street", "stranger", first, &[]),
            service("shop", "server", &[(80, 8080), (90, 9000)]),
        ]);
        let serving = ["serve", "--http", "8080", "--echo", "9000"];
        let http = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2});
        let tcp = json!({"tcpSocket": {"port": 9000}, "periodSeconds": 1, "failureThreshold": 2});
        items.push(probed(pod("shop", "server", second, &serving), &http, &tcp));
        let storing = [
            "--data-dir=/data",
            "--listen-client-urls=http://0.0.0.0:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
        ];
        let grpc = json!({"grpc": {"port": 2379}, "periodSeconds": 1, "failureThreshold": 2});
        let mut store = probed(pod("shop", "store", second, &storing), &grpc, &grpc);
        store["spec"]["containers"][0]["image"] = json!(STORE);
        items.push(store);
        self.cluster.apply(&list(&items)).unwrap();
        for name in ["client", "other", "server", "store"] {
            let what = ["-n", "shop", &format!("pod/{name}")];
            self.cluster
                .wait(&what, "condition=Ready", PATIENCE)
                .unwrap();
        }
        let what = ["-n", "street", "pod/stranger"];
        self.cluster
            .wait(&what, "condition=Ready", PATIENCE)
            .unwrap();
    }

    fn call(&self, space: &str, from: &str, port: u16) -> anyhow::Result<String> {
        let to = format!("server.shop:{port}");
        let words = [
            "/podkit",
            "call",
            "http",
            "--to",
            &to,
            "--timeout-ms",
            "3000",
        ];
        self.cluster.exec(space, from, &words)
    }

    fn until_answered(&self, space: &str, from: &str) {
        let what = format!("{from} is answered");
        wait::until(&what, PATIENCE, || self.call(space, from, 80).map(drop)).unwrap();
    }

    /// How long it takes until a call fails.
    fn until_refused(&self, space: &str, from: &str) -> Duration {
        let began = Instant::now();
        let what = format!("{from} is refused");
        wait::until(&what, PATIENCE, || {
            anyhow::ensure!(self.call(space, from, 80).is_err(), "answered");
            Ok(())
        })
        .unwrap();
        began.elapsed()
    }

    fn apply(&self, kind: &str, space: &str, name: &str, spec: &Value) {
        let manifest = json!({
            "apiVersion": "security.istio.io/v1", "kind": kind,
            "metadata": {"namespace": space, "name": name}, "spec": spec,
        });
        self.cluster.apply(&manifest.to_string()).unwrap();
    }

    fn delete(&self, kind: &str, space: &str, name: &str) {
        self.cluster
            .kubectl(&["-n", space, "delete", kind, name])
            .unwrap();
    }
}

fn import_store(cluster: &Cluster) {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("etcd.tar");
    let program = Programs::from_env().unwrap().peer("server").unwrap();
    Image::of(STORE, &program, "/server")
        .write(&archive)
        .unwrap();
    cluster.import_image(&archive).unwrap();
}

fn probed(mut pod: Value, readiness: &Value, liveness: &Value) -> Value {
    let container = &mut pod["spec"]["containers"][0];
    container["readinessProbe"] = readiness.clone();
    container["livenessProbe"] = liveness.clone();
    pod
}

#[test]
fn policies_decide_and_probes_pass() {
    let scene = Scene::set();
    scene.until_answered("shop", "client");
    scene.until_answered("street", "stranger");
    strict_refuses_strangers_and_not_the_kubelet(&scene);
    every_scope_refuses_and_cuts(&scene);
    every_field_and_its_negation(&scene);
}

fn strict_refuses_strangers_and_not_the_kubelet(scene: &Scene) {
    let strict = json!({"mtls": {"mode": "STRICT"}});
    scene.apply("PeerAuthentication", "istio-system", "default", &strict);
    let took = scene.until_refused("street", "stranger");
    println!(
        "  STRICT: the first refusal {} ms after it was applied",
        took.as_millis()
    );
    scene.until_answered("shop", "client");
    let log = scene.bundle().log(&scene.nodes[1]).unwrap();
    let refused = access_lines(&log).into_iter().any(|line| {
        line.field("error").contains("policy") && line.field("dst.workload") == "server"
    });
    assert!(refused, "{log}");
    // Each probe has been made several times after the policy; two that fail would show.
    let since = Instant::now();
    wait::until("ten seconds of probes", Duration::from_secs(30), || {
        for name in ["server", "store"] {
            let path = "jsonpath={.status.containerStatuses[0].ready}/{.status.containerStatuses[0].restartCount}";
            let pod = format!("pod/{name}");
            let state = scene.cluster.kubectl(&["-n", "shop", "get", &pod, "-o", path])?;
            assert_eq!(state, "true/0", "{name}");
        }
        anyhow::ensure!(since.elapsed() > Duration::from_secs(10), "not yet");
        Ok(())
    })
    .unwrap();
}

fn from_client(space: &str, extra: &Value) -> Value {
    let mut spec = json!({
        "action": "DENY",
        "rules": [{"from": [{"source": {"principals": [format!("cluster.local/ns/{space}/sa/client")]}}]}],
    });
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// A policy that names one workload, the namespace, or the mesh: new connections are refused, open ones are cut, and those
/// of others live.
fn every_scope_refuses_and_cuts(scene: &Scene) {
    let workload = json!({"selector": {"matchLabels": {"app": "server"}}});
    for (scope, space, extra) in [
        ("one workload", "shop", workload),
        ("the namespace", "shop", json!({})),
        ("the mesh", "istio-system", json!({})),
    ] {
        let options = [
            "--to",
            &server(scene),
            "--rate",
            "1",
            "--keep",
            "3",
            "--seconds",
            "120",
        ];
        let cut = Load::start(&scene.cluster, "shop", "client", &options).unwrap();
        let kept = Load::start(&scene.cluster, "shop", "other", &options).unwrap();
        scene.apply(
            "AuthorizationPolicy",
            space,
            "deny",
            &from_client("shop", &extra),
        );
        let took = scene.until_refused("shop", "client");
        let (cut, kept) = (cut.stop().unwrap(), kept.stop().unwrap());
        println!(
            "  DENY for {scope}: first refusal after {} ms; {} of {} open connections cut, of others {}",
            took.as_millis(),
            cut.lost,
            cut.kept,
            kept.lost
        );
        assert_eq!((cut.kept, cut.lost), (3, 3), "{scope}: {}", cut.report);
        assert_eq!((kept.lost, kept.failed), (0, 0), "{scope}: {}", kept.report);
        scene.delete("authorizationpolicy", space, "deny");
        scene.until_answered("shop", "client");
    }
}

fn server(scene: &Scene) -> String {
    let path = "jsonpath={.spec.clusterIP}";
    let address = scene
        .cluster
        .kubectl(&["-n", "shop", "get", "service/server", "-o", path]);
    format!("{}:90", address.unwrap())
}

/// One rule per field, that fits the client and not the other; and the same with its negation.
fn every_field_and_its_negation(scene: &Scene) {
    let path = "jsonpath={.status.podIP}";
    let address = |name: &str| {
        let pod = format!("pod/{name}");
        scene
            .cluster
            .kubectl(&["-n", "shop", "get", &pod, "-o", path])
            .unwrap()
    };
    let (client, other) = (address("client"), address("other"));
    let account = |name: &str| format!("cluster.local/ns/shop/sa/{name}");
    let source = |field: &str, value: &str| json!([{"from": [{"source": {field: [value]}}]}]);
    let port = |field: &str, value: &str| json!([{"to": [{"operation": {field: [value]}}], "from": [{"source": {"principals": [account("client")]}}]}]);
    for (field, rules) in [
        ("principals", source("principals", &account("client"))),
        ("notPrincipals", source("notPrincipals", &account("other"))),
        (
            "namespaces",
            json!([{"from": [{"source": {"namespaces": ["shop"], "notPrincipals": [account("other")]}}]}]),
        ),
        (
            "notNamespaces",
            json!([{"from": [{"source": {"notNamespaces": ["street"], "principals": [account("client")]}}]}]),
        ),
        ("ipBlocks", source("ipBlocks", &client)),
        ("notIpBlocks", source("notIpBlocks", &other)),
        ("serviceAccounts", source("serviceAccounts", "shop/client")),
        (
            "notServiceAccounts",
            source("notServiceAccounts", "shop/other"),
        ),
        ("ports", port("ports", "8080")),
        ("notPorts", port("notPorts", "9000")),
        (
            "destination.port",
            json!([{"from": [{"source": {"principals": [account("client")]}}], "when": [{"key": "destination.port", "values": ["8080"]}]}]),
        ),
        (
            "destination.ip",
            json!([{"from": [{"source": {"principals": [account("client")]}}], "when": [{"key": "destination.ip", "notValues": ["192.0.2.1"]}]}]),
        ),
    ] {
        let spec = json!({"action": "DENY", "rules": rules});
        scene.apply("AuthorizationPolicy", "shop", "field", &spec);
        let took = scene.until_refused("shop", "client");
        println!(
            "  DENY by {field}: first refusal after {} ms",
            took.as_millis()
        );
        let answer = scene.call("shop", "other", 80);
        assert!(
            answer.is_ok(),
            "{field}: the other is refused too: {answer:?}"
        );
        scene.delete("authorizationpolicy", "shop", "field");
        scene.until_answered("shop", "client");
    }
    let allow = json!({"action": "ALLOW", "rules": source("principals", &account("other"))});
    scene.apply("AuthorizationPolicy", "shop", "allow", &allow);
    scene.until_refused("shop", "client");
    assert!(scene.call("shop", "other", 80).is_ok());
    // With no rule at all nobody is allowed.
    let nobody = json!({"action": "ALLOW"});
    scene.apply("AuthorizationPolicy", "shop", "allow", &nobody);
    scene.until_refused("shop", "other");
    scene.delete("authorizationpolicy", "shop", "allow");
    scene.until_answered("shop", "client");
}
