//! The agents' access lines as data, whether written for people or as JSON.

use serde_json::Value;
use std::collections::HashMap;

/// One line about one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLine {
    /// `connection complete`, `connection failed` ...
    pub message: String,
    /// Its fields.
    pub fields: HashMap<String, String>,
}

impl AccessLine {
    /// A field, or an empty text.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Whether these fields have these values.
    #[must_use]
    pub fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted
            .iter()
            .all(|(name, value)| self.field(name) == *value)
    }
}

/// All access lines of a log.
#[must_use]
pub fn access_lines(log: &str) -> Vec<AccessLine> {
    log.lines().filter_map(access_line).collect()
}

fn access_line(line: &str) -> Option<AccessLine> {
    if line.starts_with('{') {
        return json_line(line);
    }
    let mut parts = line
        .split('\t')
        .filter(|part| part.starts_with("connection "));
    let message = parts.next()?;
    let after = line.split_once(message)?.1;
    Some(AccessLine {
        message: message.trim().to_owned(),
        fields: pairs(after),
    })
}

fn json_line(line: &str) -> Option<AccessLine> {
    let value: Value = serde_json::from_str(line).ok()?;
    let object = value.as_object()?;
    let message = object.get("message")?.as_str()?;
    if !message.starts_with("connection ") {
        return None;
    }
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let fields = object
        .iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect();
    Some(AccessLine {
        message: message.to_owned(),
        fields,
    })
}

/// `key=value key="quoted \" value"`.
fn pairs(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, left) = if let Some(quoted) = after.strip_prefix('"') {
            quoted_value(quoted)
        } else {
            let (value, left) = after.split_once(' ').unwrap_or((after, ""));
            (value.to_owned(), left)
        };
        found.insert(key.trim().to_owned(), value);
        rest = left.trim_start();
    }
    found
}

fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::access_lines;

    #[test]
    fn plain_and_json_lines_read_alike() {
        let log = "2026-01-01T00:00:00Z\tinfo\tagent\tready\n\
            2026-01-01T00:00:00Z\terror\taccess\tconnection complete\tsrc.addr=10.0.0.1:5 src.identity=\"spiffe://a/ns/b/sa/c\" direction=\"inbound\" error=\"not \\\"ours\\\" today\"\n\
            {\"level\":\"error\",\"message\":\"connection complete\",\"src.addr\":\"10.0.0.1:5\",\"direction\":\"inbound\",\"bytes_sent\":7}\n";
        let lines = access_lines(log);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].has(&[
            ("src.addr", "10.0.0.1:5"),
            ("src.identity", "spiffe://a/ns/b/sa/c"),
            ("error", "not \"ours\" today")
        ]));
        assert!(lines[1].has(&[("direction", "inbound"), ("bytes_sent", "7")]));
        assert_eq!(lines[0].message, "connection complete");
    }
}
