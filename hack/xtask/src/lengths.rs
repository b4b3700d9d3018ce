//! Files and functions small enough to be read in one go.

use crate::finding::{Findings, Place};
use crate::tree::{Role, SourceFile, SourceTree};

const FILE_BUDGET: usize = 300;
const FILE_LIMIT: usize = 500;
const FUNCTION_BUDGET: usize = 40;
const FUNCTION_LIMIT: usize = 80;

const SPLIT_FILE: &str = "split it by what the parts do";
const SPLIT_FUNCTION: &str = "separate deciding from doing, or name a step";

pub(crate) fn check(tree: &SourceTree, findings: &mut Findings) {
    for file in tree
        .files
        .iter()
        .filter(|file| file.role == Role::Production)
    {
        check_file(file, findings);
    }
}

fn check_file(file: &SourceFile, findings: &mut Findings) {
    let lines = file.source.production_lines();
    let what = format!("{lines} production lines (budget {FILE_BUDGET}, limit {FILE_LIMIT})");
    if lines > FILE_LIMIT {
        findings.fail(Place::file(&file.path), what, SPLIT_FILE);
    } else if lines > FILE_BUDGET {
        findings.warn(Place::file(&file.path), what, SPLIT_FILE);
    }
    for function in file.source.functions() {
        if file.source.is_test_line(function.first_line) {
            continue;
        }
        let what = format!(
            "function `{}` has {} lines (budget {FUNCTION_BUDGET}, limit {FUNCTION_LIMIT})",
            function.name, function.lines
        );
        let place = Place::line(&file.path, function.first_line);
        if function.lines > FUNCTION_LIMIT {
            findings.fail(place, what, SPLIT_FUNCTION);
        } else if function.lines > FUNCTION_BUDGET {
            findings.warn(place, what, SPLIT_FUNCTION);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::finding::Level;
    use crate::graph::Colour;
    use crate::source::Source;

    fn check_text(text: &str) -> Findings {
        let file = SourceFile {
            path: "a.rs".to_owned(),
            package: "a".to_owned(),
            colour: Colour::Io,
            role: Role::Production,
            is_root: false,
            source: Source::new(text),
        };
        let mut findings = Findings::default();
        check_file(&file, &mut findings);
        findings
    }

    #[test]
    fn a_long_function_fails_and_a_long_test_does_not() {
        let body = "    x();\n".repeat(FUNCTION_LIMIT);
        let long = format!("\nfn long() {{\n{body}}}\n");
        let findings = check_text(&long);
        assert_eq!(findings.count(Level::Fail), 1);
        assert!(findings.texts()[0].starts_with("a.rs:2: function `long` has 82 lines"));
        let test = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(check_text(&test).texts().is_empty());
    }

    #[test]
    fn a_file_is_measured_without_blank_lines() {
        let at_limit = "const A: u8 = 1;\n\n".repeat(FILE_LIMIT);
        assert_eq!(check_text(&at_limit).count(Level::Warn), 1);
        assert_eq!(check_text(&at_limit).count(Level::Fail), 0);
        let over = at_limit + "const B: u8 = 1;\n";
        assert_eq!(check_text(&over).count(Level::Fail), 1);
    }
}
