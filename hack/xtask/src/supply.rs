//! Where packages may come from, and under which licences.

use spdx::{Expression, ParseMode};

use crate::finding::{Findings, Place};
use crate::graph::{Graph, Package};

/// As cargo spells it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What may be linked into, or used to build, what is shipped under this project's own licence.
const LICENCES: [&str; 8] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];
/// Exceptions take nothing away.
const EXCEPTIONS: [&str; 1] = ["LLVM-exception"];

pub(crate) fn check(graph: &Graph, findings: &mut Findings) {
    for package in graph.packages() {
        let what = match (problem_of_source(package), problem_of_licence(package)) {
            (None, None) => continue,
            (Some(what), _) | (None, Some(what)) => what,
        };
        findings.fail(
            Place::file("Cargo.lock"),
            format!("{} {}: {what}", package.name, package.version),
            "`cargo tree -i` shows who brings it; take another crate, or add to hack/xtask/src/supply.rs what may be taken",
        );
    }
    for member in graph.members() {
        for name in &member.any_version {
            findings.fail(
                Place::file(&member.manifest),
                format!("takes any version of {name}"),
                "say which version it was written for",
            );
        }
    }
}

fn problem_of_source(package: &Package) -> Option<String> {
    let source = package.source.as_ref()?;
    (source != REGISTRY).then(|| format!("comes from {source}"))
}

fn problem_of_licence(package: &Package) -> Option<String> {
    let Some(text) = &package.license else {
        return Some("declares no licence".to_owned());
    };
    // Older crates separate alternatives by a slash.
    let expression = match Expression::parse_mode(text, ParseMode::LAX) {
        Ok(expression) => expression,
        Err(error) => return Some(format!("its licence `{text}` cannot be read: {error}")),
    };
    let allowed = expression.evaluate(|asked| {
        let licence = asked.license.id().map(|id| id.name);
        let exception = asked
            .addition
            .as_ref()
            .map(|one| one.id().map(|id| id.name));
        licence.is_some_and(|name| LICENCES.contains(&name))
            && exception.is_none_or(|name| name.is_some_and(|name| EXCEPTIONS.contains(&name)))
    });
    (!allowed).then(|| format!("its licence `{text}` is not among those that may be taken"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::graph::Colour;
    use crate::graph::testing::graph;

    fn found(change: impl Fn(&mut Package)) -> Vec<String> {
        let mut graph = graph(&[("ours", "ours", Colour::Pure)], &["other"], &[]);
        let other = graph.packages_mut().find(|one| one.name == "other");
        change(other.unwrap());
        let mut findings = Findings::default();
        check(&graph, &mut findings);
        findings.texts()
    }

    #[test]
    fn a_licence_is_read_as_an_expression() {
        for (text, allowed) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-3.0-only OR MIT", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("MIT AND GPL-3.0-only", false),
            ("Apache-2.0 WITH Classpath-exception-2.0", false),
            ("LicenseRef-mine", false),
            ("nonsense", false),
        ] {
            let told = found(|package| package.license = Some(text.to_owned()));
            assert_eq!(told.is_empty(), allowed, "{text}: {told:?}");
        }
        let told = found(|package| package.license = None);
        assert!(told[0].contains("declares no licence"), "{told:?}");
    }

    #[test]
    fn packages_come_from_the_one_registry_or_lie_here() {
        let from = |source: &str| found(|package| package.source = Some(source.to_owned()));
        assert!(from(REGISTRY).is_empty());
        for source in [
            "git+https://example.org/x",
            "registry+https://example.org/index",
        ] {
            assert!(from(source)[0].contains(source));
        }
    }

    #[test]
    fn any_version_is_none() {
        let mut graph = graph(&[("ours", "ours", Colour::Pure)], &[], &[]);
        for member in graph.members_mut() {
            member.any_version.push("loose".to_owned());
        }
        let mut findings = Findings::default();
        check(&graph, &mut findings);
        assert!(findings.texts()[0].contains("any version of loose"));
    }
}
