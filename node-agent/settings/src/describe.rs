//! Renders the table of settings for `--help` and for the documentation.

use std::fmt::Write as _;

use crate::table::{Default, Limits, Row, rows};

/// The table as plain text of at most 100 columns.
#[must_use]
pub fn describe() -> String {
    let mut text = String::new();
    for row in rows() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} ({})", row.key, facts(row));
        for line in wrapped(row.help, 92) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// The table as a Markdown table.
#[must_use]
pub fn describe_markdown() -> String {
    let mut text =
        String::from("| Key | Type | Default | Accepts | Meaning |\n|---|---|---|---|---|\n");
    for row in rows() {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            row.key,
            kind(row),
            default(row),
            limits(row).unwrap_or_default(),
            row.help.trim(),
        );
    }
    text
}

fn facts(row: &Row) -> String {
    let mut facts = vec![kind(row)];
    facts.extend(limits(row));
    facts.push(match row.default {
        Default::Required | Default::Absent => default(row),
        Default::Is(_) => format!("default {}", default(row)),
    });
    facts.join(", ")
}

fn kind(row: &Row) -> String {
    if row.unit.is_empty() {
        row.kind.to_owned()
    } else {
        format!("{} of {}", row.kind, row.unit)
    }
}

fn default(row: &Row) -> String {
    match row.default {
        Default::Required => "required".to_owned(),
        Default::Absent => "not set".to_owned(),
        Default::Is("") => "empty".to_owned(),
        Default::Is(text) => text.to_owned(),
    }
}

fn limits(row: &Row) -> Option<String> {
    match row.limits {
        Limits::Span(low, high) => Some(format!("{low} to {high}")),
        Limits::Any | Limits::Name => None,
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
