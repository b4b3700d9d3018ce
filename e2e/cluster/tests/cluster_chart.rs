//! The chart: rendered by helm, with settings that the agent takes, and manifests that an API server takes, strictly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use e2e_cluster::{Cluster, Istio, Options, Programs, chart};
use node_agent_settings::CniProfile;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Every value given, and some that are easily got wrong in a template.
const ALL: &str = r"
hub: registry.example:5000/mesh
tag: 7
image: agent
imagePullPolicy: Always
imagePullSecrets: [one, two]
settings:
  leaveDeadline: 90s
istioNamespace: mesh-system
revision: canary
caAddress: ca.example:443
multiCluster: {clusterName: second}
network: east
podCidrs: [10.244.0.0/16, 'fd00::/56']
logLevel: debug
logAsJson: true
excludeNamespaces: [kube-system, other]
ambient:
  ipv6: false
  enablementSelectors:
  - podSelector: {matchLabels: {mesh: 'yes'}}
platform: k3s
cniNetnsDir: /run/k3s/netns
chained: true
terminationGracePeriodSeconds: 90
resources: null
seLinuxOptions: {type: spc_t}
seccompProfile: {type: RuntimeDefault}
networkPolicy: {enabled: true}
nodeSelector: {disk: fast}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - matchExpressions: [{key: mesh, operator: Exists}]
tolerations: null
podAnnotations: {note: 'a: b'}
podLabels: {team: mesh}
env: {RUST_BACKTRACE: 1}
";

/// helm on the chart, in directories of its own.
struct Helm {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Helm {
    fn new(programs: &Programs) -> Self {
        Self {
            program: programs.peer("helm").unwrap(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, self.home.path());
        }
        command.args(words).arg(chart().canonicalize().unwrap());
        command.args(["--namespace", "istio-system"]);
        command.output().unwrap()
    }

    /// The manifests with some values.
    fn template(&self, values: &str) -> String {
        let file = self.home.path().join("values.yaml");
        std::fs::write(&file, values).unwrap();
        let output = self.run(&["template", "ambient", "--values", file.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What the agent says to the settings that a chart has rendered, on a node called `a`.
fn agent_takes(programs: &Programs, settings: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agent.yaml");
    // What a kubelet puts into each pod.
    let account = directory.path().display();
    std::fs::write(&file, format!("{settings}\nserviceAccountDir: {account}\n")).unwrap();
    let authority = rcgen::generate_simple_self_signed(["authority".to_owned()]).unwrap();
    std::fs::write(directory.path().join("ca.crt"), authority.cert.pem()).unwrap();
    std::fs::write(directory.path().join("token"), "token").unwrap();
    let agent = programs.podkit.with_file_name("ambient-agent");
    let mut command = Command::new(&agent);
    command.args(["validate", "--config"]).arg(&file);
    for (name, value) in [
        ("NODE_NAME", "a"),
        ("POD_NAME", "ztunnel-x"),
        ("POD_NAMESPACE", "istio-system"),
        ("INSTANCE_IP", "10.0.0.1"),
        ("SERVICE_ACCOUNT", "ztunnel"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
    ] {
        command.env(name, value);
    }
    let output = command.output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}\n{settings}");
}

#[test]
fn the_chart_is_what_an_api_server_and_the_agent_take() {
    let programs = Programs::from_env().unwrap();
    let helm = Helm::new(&programs);
    let lint = helm.run(&["lint", "--strict"]);
    assert!(lint.status.success(), "{lint:?}");
    let options = Options {
        nodes: vec!["a".to_owned()],
        istio: Istio::Absent,
        ..Options::default()
    };
    let cluster = Cluster::start(&options).unwrap();
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}";
    cluster.apply(namespace).unwrap();
    for values in ["{}", ALL] {
        let manifests = helm.template(values);
        cluster.accepts(&manifests).unwrap();
        cluster.apply(&manifests).unwrap();
        let get = |what: &str, path: &str| {
            let path = format!("jsonpath={{{path}}}");
            let asked = ["-n", "istio-system", "get", what, "-o", &path];
            cluster.kubectl(&asked).unwrap()
        };
        agent_takes(
            &programs,
            &get("configmap/ztunnel-settings", r".data.agent\.yaml"),
        );
        let pod = ".spec.template.spec";
        let ds = "daemonset/ztunnel";
        assert_eq!(get(ds, &format!("{pod}.serviceAccountName")), "ztunnel");
        assert_eq!(get(ds, ".spec.selector.matchLabels.app"), "ztunnel");
        assert_eq!(get("serviceaccount/ztunnel", ".metadata.name"), "ztunnel");
    }
    // A field that the API does not know is a mistake, not a comment.
    let wrong = helm.template("{}").replace("hostPath:", "hostpath:");
    assert!(cluster.accepts(&wrong).is_err());
}

#[test]
fn values_that_nobody_reads_are_refused() {
    let helm = Helm::new(&Programs::from_env().unwrap());
    for (wrong, named) in [
        (
            "terminationGracePeriodSeconds=soon",
            "terminationGracePeriodSeconds",
        ),
        ("platform=k4s", "platform"),
        ("imagePullSecret=one", "imagePullSecret"),
        ("ambient.ipv4=true", "ipv4"),
        ("xdsAddress=istiod", "xdsAddress"),
        ("cniBinDir=opt", "cniBinDir"),
        ("image=agent", "hub"),
    ] {
        let output = helm.run(&["template", "ambient", "--set", wrong]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(named), "{text}");
    }
}

#[test]
fn the_chart_mounts_what_the_agents_profiles_name() {
    let helm = Helm::new(&Programs::from_env().unwrap());
    for facts in CniProfile::all() {
        let name = format!("{:?}", facts.profile).to_lowercase();
        let manifests = helm.template(&format!("platform: {name}"));
        for (key, place) in [
            ("cniConfDir", facts.conf_dir),
            ("cniBinDir", facts.bin_dirs[0]),
        ] {
            let (setting, mount) = (format!("{key}: {place}\n"), format!("{{path: \"{place}\","));
            for line in [setting, mount] {
                assert!(
                    manifests.contains(&line),
                    "{name}: no {line} in {manifests}"
                );
            }
        }
    }
}
