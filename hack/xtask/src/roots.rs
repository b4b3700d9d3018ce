//! Crate roots say what the crate is for and forbid what it may not do; tests are never ignored;
//! commands can be run.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;

use crate::finding::{Findings, Place};
use crate::graph::Colour;
use crate::source::Source;
use crate::tree::{SourceFile, SourceTree};

/// The only crates that may hold `unsafe` code.
const UNSAFE_HOMES: [&str; 4] = [
    "node-agent-confine",
    "node-agent-holder",
    "node-agent-namespace",
    "tunnel-sockets",
];

const SENTENCES: usize = 3;

pub(crate) fn check(tree: &SourceTree, root: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    for file in &tree.files {
        if file.is_root && file.colour != Colour::Test {
            check_docs(file, findings);
        }
        if file.is_root {
            check_unsafe(file, findings);
        }
        check_ignored(file, findings);
    }
    for directory in ["hack", ".ci"] {
        check_commands(root, directory, findings)?;
    }
    Ok(())
}

fn check_docs(file: &SourceFile, findings: &mut Findings) {
    let count = sentences(&file.source);
    if count < SENTENCES {
        findings.fail(
            Place::file(&file.path),
            format!(
                "the root of {} has {count} sentences of documentation",
                file.package
            ),
            "say in three what the crate does, what it refuses to do and what it owns",
        );
    }
}

/// Sentences in the `//!` lines: a full stop at the end or before a space and a new beginning.
fn sentences(source: &Source) -> usize {
    let docs: Vec<_> = source
        .text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("//!"))
        .map(str::trim)
        .collect();
    let text = docs.join(" ");
    let mut count = 0;
    for (at, _) in text.match_indices(['.', '!', '?']) {
        let after = text[at + 1..].trim_start_matches(['`', ')', '*', '"']);
        let next = after.trim_start().chars().next();
        let ends = after.is_empty() || after.starts_with(' ');
        count += usize::from(ends && !next.is_some_and(char::is_lowercase));
    }
    count
}

fn check_unsafe(file: &SourceFile, findings: &mut Findings) {
    let home = UNSAFE_HOMES.contains(&file.package.as_str());
    if !home && !file.source.code.contains("#![forbid(unsafe_code)]") {
        findings.fail(
            Place::file(&file.path),
            format!("{} does not forbid unsafe code", file.package),
            "add `#![forbid(unsafe_code)]`; what needs unsafe belongs to node-agent/confine, \
             node-agent/holder, node-agent/namespace or tunnel/sockets",
        );
    }
}

fn check_ignored(file: &SourceFile, findings: &mut Findings) {
    const RUN_IT: &str = "make the test able to run, or remove it; one that cannot run must fail";
    for at in file.source.find("#[ignore") {
        let place = Place::line(&file.path, file.source.line_of(at));
        findings.fail(place, "a test is ignored", RUN_IT);
    }
    for (number, line) in file.source.text.lines().enumerate() {
        let trimmed = line.trim_start();
        let fence = trimmed
            .strip_prefix("///")
            .or_else(|| trimmed.strip_prefix("//!"));
        if fence.is_some_and(|rest| rest.trim_start().starts_with("```ignore")) {
            let place = Place::line(&file.path, number + 1);
            findings.fail(place, "a documentation test is ignored", RUN_IT);
        }
    }
}

/// Files without an ending in `hack/` and `.ci/` are commands.
fn check_commands(root: &Path, directory: &str, findings: &mut Findings) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(root.join(directory)) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some() {
            continue;
        }
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let mode = path.metadata()?.permissions().mode();
        if mode & 0o111 != 0o111 {
            findings.fail(
                Place::file(&shown),
                "a command is not executable",
                "chmod +x it and commit the mode",
            );
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        check_script(&shown, &text, findings);
    }
    Ok(())
}

fn check_script(shown: &str, text: &str, findings: &mut Findings) {
    let first = text.lines().next().unwrap_or("");
    if !first.starts_with("#!") {
        let what = "a command does not say what runs it";
        findings.fail(Place::file(shown), what, "begin it with #!");
    }
    if first.contains("bash") && !text.lines().any(|line| line.trim() == "set -euo pipefail") {
        let what = "a shell command goes on after errors";
        findings.fail(Place::file(shown), what, "add `set -euo pipefail`");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::tree::Role;

    fn file(text: &str) -> SourceFile {
        SourceFile {
            path: "a.rs".to_owned(),
            package: "a".to_owned(),
            colour: Colour::Io,
            role: Role::Production,
            is_root: true,
            source: Source::new(text),
        }
    }

    #[test]
    fn sentences_are_counted_by_their_ends() {
        for (text, expected) in [
            ("//! One. Two! Three?", 3),
            ("//! A crate for v1.1.0 of e.g. things.", 1),
            ("//! One\n//! goes on. `Two`.\n//!\n//! Three (here).", 3),
            ("/// Not the root. At all. Never.", 0),
        ] {
            assert_eq!(sentences(&Source::new(text)), expected, "{text}");
        }
    }

    #[test]
    fn unsafe_must_be_forbidden_in_code_not_in_words() {
        let mut findings = Findings::default();
        check_unsafe(&file("// #![forbid(unsafe_code)]\n"), &mut findings);
        assert_eq!(findings.texts().len(), 1);
        let mut findings = Findings::default();
        check_unsafe(&file("#![forbid(unsafe_code)]\n"), &mut findings);
        assert!(findings.texts().is_empty());
    }

    #[test]
    fn ignored_tests_are_found_in_code_and_in_docs() {
        let text = "/// ```ignore\n/// x\n/// ```\nfn a() {}\n#[test]\n#[ignore = \"x\"]\nfn b() {}\n// #[ignore]\n";
        let mut findings = Findings::default();
        check_ignored(&file(text), &mut findings);
        assert_eq!(findings.texts().len(), 2, "{findings:?}");
    }

    #[test]
    fn scripts_stop_at_errors() {
        let mut findings = Findings::default();
        check_script("hack/x", "#!/usr/bin/env bash\necho\n", &mut findings);
        check_script(
            "hack/y",
            "#!/usr/bin/env bash\nset -euo pipefail\n",
            &mut findings,
        );
        check_script("hack/z", "echo\n", &mut findings);
        assert_eq!(findings.texts().len(), 2, "{findings:?}");
    }
}
