//! Which crate may depend on which.

use crate::finding::{Findings, Place};
use crate::graph::{Colour, Graph, Member};

/// Crates by purpose of which what ships links at most one.
const ONE_OF_EACH: [(&str, &[&str]); 6] = [
    (
        "TLS",
        &["rustls", "openssl", "native-tls", "boring", "s2n-tls"],
    ),
    (
        "cryptography",
        &["aws-lc-rs", "ring", "openssl-sys", "boring-sys"],
    ),
    ("HTTP/2", &["h2", "nghttp2", "fluke-h2-parse"]),
    (
        "YAML",
        &[
            "serde-saphyr",
            "serde_yaml",
            "serde_yml",
            "serde_norway",
            "yaml-rust2",
        ],
    ),
    ("IP network", &["ipnetwork", "ipnet", "cidr", "iprange"]),
    // jiff comes with Kubernetes' types, and nothing of ours names it.
    ("time", &["time", "chrono"]),
];

/// What `ambient-cni` may use of ours.
const PLUGIN_MAY_USE: [&str; 4] = [
    "cni-plugin-spec",
    "cni-plugin-handoff",
    "node-agent-redirect",
    "node-agent-namespace",
];
/// What it may not link at all.
const PLUGIN_MAY_NOT_LINK: [&str; 8] = [
    "tokio",
    "rustls",
    "openssl",
    "aws-lc-rs",
    "hyper",
    "h2",
    "kube",
    "tunnel-credentials",
];
/// One below the promise, which is "under 40".
const PLUGIN_TREE: usize = 39;

/// Names by which Kubernetes and CNI are known outside of this project.
const CLUSTER_WORDS: [&str; 4] = ["kube", "k8s", "rscni", "cni-plugin"];

/// Not in the graph at all, whoever brings them.
const BANNED: [&str; 4] = ["ring", "openssl-sys", "native-tls", "serde_yaml"];
/// Others may bring them, we do not name them.
const NOT_IN_OUR_CODE: [&str; 4] = ["lazy_static", "async-trait", "rustls-pemfile", "jiff"];

/// Crates of ours that may name rustls: who makes the configurations, who drives sessions with
/// them, who chooses the provider for the process.
const MAY_NAME_RUSTLS: [&str; 5] = [
    "tunnel-control",
    "tunnel-credentials",
    "tunnel-hbone",
    "tunnel",
    "node-agent",
];

pub(crate) fn check(graph: &Graph, findings: &mut Findings) {
    for package in graph
        .packages()
        .filter(|p| BANNED.contains(&p.name.as_str()))
    {
        let what = format!("{} {} is in the graph", package.name, package.version);
        findings.fail(
            Place::file("Cargo.lock"),
            what,
            "`cargo tree -i` shows who brings it",
        );
    }
    for member in graph.members() {
        colours(graph, member, findings);
        sides(graph, member, findings);
        if ships(member) {
            one_of_each(graph, member, findings);
            named_crates(graph, member, findings);
        }
        if member.name == "cni-plugin" {
            plugin(graph, member, findings);
        }
    }
}

fn ships(member: &Member) -> bool {
    !matches!(member.colour, Colour::Test | Colour::Tool)
}

fn colours(graph: &Graph, member: &Member, findings: &mut Findings) {
    let allowed: &[Colour] = match member.colour {
        Colour::Pure => &[Colour::Pure],
        Colour::Priv => &[Colour::Pure, Colour::Priv],
        Colour::Io => &[Colour::Pure, Colour::Io, Colour::Priv],
        Colour::Tool | Colour::Test => return,
    };
    for dependency in graph.direct(member) {
        let Some(other) = graph.member(&dependency.id) else {
            continue;
        };
        if !allowed.contains(&other.colour) {
            findings.fail(
                Place::file(&member.manifest),
                format!(
                    "{} is {:?} and depends on {}, which is {:?}",
                    member.name, member.colour, other.name, other.colour
                ),
                "turn the arrow round: let the io crate ask and obey",
            );
        }
    }
}

/// The tunnel does not know Kubernetes, CNI or the agent; the plugin does not know the tunnel.
fn sides(graph: &Graph, member: &Member, findings: &mut Findings) {
    let names: Vec<&str> = graph
        .direct(member)
        .map(|package| package.name.as_str())
        .collect();
    let of = |prefix: &str| names.iter().copied().find(|name| name.starts_with(prefix));
    let place = || Place::file(&member.manifest);
    if member.directory.starts_with("tunnel") {
        let stranger = CLUSTER_WORDS.into_iter().chain(["node-agent"]).find_map(of);
        if let Some(stranger) = stranger {
            let what = format!("{} is below tunnel/ and depends on {stranger}", member.name);
            findings.fail(
                place(),
                what,
                "pass what it needs through the tunnel's own types",
            );
        }
    }
    if member.directory.starts_with("cni-plugin")
        && let Some(stranger) = of("tunnel")
    {
        let what = format!(
            "{} is below cni-plugin/ and depends on {stranger}",
            member.name
        );
        findings.fail(
            place(),
            what,
            "the plugin speaks to the agent, never to the tunnel",
        );
    }
    let root = member.directory == "node-agent" || member.directory.starts_with("e2e");
    if let (Some(one), Some(other), false) = (of("tunnel"), of("cni-plugin"), root) {
        let what = format!("{} depends on both sides, {one} and {other}", member.name);
        findings.fail(place(), what, "only node-agent and e2e join the two");
    }
}

fn one_of_each(graph: &Graph, member: &Member, findings: &mut Findings) {
    let linked = graph.linked(member);
    for (purpose, names) in ONE_OF_EACH {
        let found: Vec<String> = linked
            .values()
            .filter(|package| names.contains(&package.name.as_str()))
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        if found.len() > 1 {
            findings.fail(
                Place::file(&member.manifest),
                format!(
                    "{} links {} {purpose} crates: {}",
                    member.name,
                    found.len(),
                    found.join(", ")
                ),
                "settle on one; `cargo tree -i` shows who brings the other",
            );
        }
    }
}

fn named_crates(graph: &Graph, member: &Member, findings: &mut Findings) {
    for package in graph.direct(member) {
        if NOT_IN_OUR_CODE.contains(&package.name.as_str()) {
            let what = format!("{} depends on {}", member.name, package.name);
            findings.fail(
                Place::file(&member.manifest),
                what,
                "the standard library, or a crate we have already, does it",
            );
        }
    }
    let names_it = graph.direct(member).any(|package| package.name == "rustls");
    if names_it && !MAY_NAME_RUSTLS.contains(&member.name.as_str()) {
        findings.fail(
            Place::file(&member.manifest),
            format!("{} depends on rustls", member.name),
            "take the finished configuration from tunnel-credentials instead",
        );
    }
}

fn plugin(graph: &Graph, member: &Member, findings: &mut Findings) {
    let linked = graph.linked(member);
    let place = || Place::file(&member.manifest);
    if linked.len() > PLUGIN_TREE {
        let what = format!(
            "ambient-cni links {} crates, {PLUGIN_TREE} are allowed",
            linked.len()
        );
        findings.fail(
            place(),
            what,
            "`cargo tree -p cni-plugin -e normal` shows what to cut",
        );
    }
    for package in linked.values() {
        let name = package.name.as_str();
        if PLUGIN_MAY_NOT_LINK.contains(&name) {
            let what = format!("ambient-cni links {name}");
            findings.fail(
                place(),
                what,
                "the plugin stays small: move the work to the agent",
            );
        }
    }
    for dependency in graph.direct(member) {
        let name = dependency.name.as_str();
        if graph.member(&dependency.id).is_some() && !PLUGIN_MAY_USE.contains(&name) {
            let what = format!("ambient-cni depends on {name}");
            findings.fail(
                place(),
                what,
                "it may use spec, handoff, redirect and namespace",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::graph::testing::graph;

    fn texts(
        members: &[(&str, &str, Colour)],
        others: &[&str],
        edges: &[(&str, &str)],
    ) -> Vec<String> {
        let mut findings = Findings::default();
        check(&graph(members, others, edges), &mut findings);
        findings.texts()
    }

    #[test]
    fn pure_may_not_ask_io() {
        let members = [
            ("tunnel-decide", "tunnel/decide", Colour::Pure),
            ("tunnel", "tunnel", Colour::Io),
        ];
        let found = texts(&members, &[], &[("tunnel-decide", "tunnel")]);
        let expected =
            "tunnel/decide/Cargo.toml:1: tunnel-decide is Pure and depends on tunnel, which is Io";
        assert_eq!(found, [expected]);
        assert!(texts(&members, &[], &[("tunnel", "tunnel-decide")]).is_empty());
    }

    #[test]
    fn what_ships_does_not_need_tests() {
        let members = [
            ("tunnel", "tunnel", Colour::Io),
            ("e2e-netlab", "e2e/netlab", Colour::Test),
        ];
        assert_eq!(texts(&members, &[], &[("tunnel", "e2e-netlab")]).len(), 1);
        assert!(texts(&members, &[], &[("e2e-netlab", "tunnel")]).is_empty());
    }

    #[test]
    fn sides_stay_apart() {
        let members = [
            ("tunnel", "tunnel", Colour::Io),
            ("cni-plugin-spec", "cni-plugin/spec", Colour::Pure),
            ("node-agent", "node-agent", Colour::Io),
            ("node-agent-zds", "node-agent/zds", Colour::Io),
        ];
        let both = |name: &'static str| [(name, "tunnel"), (name, "cni-plugin-spec")];
        assert!(texts(&members, &[], &both("node-agent")).is_empty());
        assert_eq!(texts(&members, &[], &both("node-agent-zds")).len(), 1);
        assert_eq!(
            texts(&members, &["kube-client"], &[("tunnel", "kube-client")]).len(),
            1
        );
        assert_eq!(texts(&members, &[], &[("tunnel", "node-agent")]).len(), 1);
        // Wrong side and wrong colour.
        assert_eq!(
            texts(&members, &[], &[("cni-plugin-spec", "tunnel")]).len(),
            2
        );
    }

    #[test]
    fn the_plugin_is_small_and_knows_few() {
        let members = [
            ("cni-plugin", "cni-plugin", Colour::Priv),
            ("node-agent-settings", "node-agent/settings", Colour::Pure),
        ];
        let found = texts(
            &members,
            &["a", "tokio"],
            &[("cni-plugin", "a"), ("a", "tokio")],
        );
        assert_eq!(found, ["cni-plugin/Cargo.toml:1: ambient-cni links tokio"]);
        assert_eq!(
            texts(&members, &[], &[("cni-plugin", "node-agent-settings")]).len(),
            1
        );
        let many: Vec<String> = (0..PLUGIN_TREE)
            .map(|number| format!("c{number}"))
            .collect();
        let others: Vec<&str> = many.iter().map(String::as_str).collect();
        let edges: Vec<_> = others.iter().map(|name| ("cni-plugin", *name)).collect();
        assert_eq!(texts(&members, &others, &edges).len(), 1);
        assert!(texts(&members, &others, &edges[1..]).is_empty());
    }

    #[test]
    fn one_crate_per_purpose_even_through_others_and_in_two_versions() {
        let members = [("tunnel", "tunnel", Colour::Io)];
        let edges = [("tunnel", "ipnetwork"), ("tunnel", "x"), ("x", "ipnet")];
        assert_eq!(
            texts(&members, &["ipnetwork", "ipnet", "x"], &edges).len(),
            1
        );
        let edges = [("tunnel", "h2@1"), ("tunnel", "x"), ("x", "h2@2")];
        assert_eq!(texts(&members, &["h2@1", "h2@2", "x"], &edges).len(), 1);
        let edges = [
            ("tunnel", "ipnetwork"),
            ("tunnel", "x-macro"),
            ("x-macro", "ipnet"),
        ];
        assert!(texts(&members, &["ipnetwork", "ipnet", "x-macro"], &edges).is_empty());
    }

    #[test]
    fn banned_crates_are_found_wherever_they_are() {
        let members = [("tunnel", "tunnel", Colour::Io)];
        assert_eq!(
            texts(&members, &["ring"], &[]),
            ["Cargo.lock:1: ring 1.0.0 is in the graph"]
        );
        let through = [("tunnel", "x"), ("x", "lazy_static")];
        assert!(texts(&members, &["x", "lazy_static"], &through).is_empty());
        assert_eq!(
            texts(&members, &["lazy_static"], &[("tunnel", "lazy_static")]).len(),
            1
        );
    }

    #[test]
    fn rustls_is_named_in_few_places() {
        let members = [("tunnel-discovery", "tunnel/discovery", Colour::Io)];
        assert_eq!(
            texts(&members, &["rustls"], &[("tunnel-discovery", "rustls")]).len(),
            1
        );
    }
}
