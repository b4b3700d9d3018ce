//! The two shapes of a log line, shared by access lines and ordinary events.

use std::time::SystemTime;

use tracing::Level;

use crate::text::push_time;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `time TAB level TAB target TAB message TAB k=v k=v`, strings quoted.
    #[default]
    Plain,
    /// One JSON object per line, fields flattened beside `level`, `time`, `scope`, `message`.
    Json,
}

impl LogFormat {
    /// Time, level and target. The caller goes on with the spans or the message.
    pub(crate) fn begin(self, out: &mut String, at: SystemTime, level: Level, target: &str) {
        let level = level_name(level);
        match self {
            Self::Plain => {
                push_time(out, at);
                out.push('\t');
                out.push_str(level);
                out.push('\t');
                out.push_str(target);
            }
            Self::Json => {
                out.push_str("{\"level\":\"");
                out.push_str(level);
                out.push_str("\",\"time\":\"");
                push_time(out, at);
                out.push_str("\",\"scope\":\"");
                // A target is a literal or a module path of our own binaries.
                out.push_str(target);
                out.push('"');
            }
        }
    }

    /// A constant message of our own.
    pub(crate) fn message(self, out: &mut String, message: &str) {
        match self {
            Self::Plain => {
                out.push('\t');
                out.push_str(message);
                out.push('\t');
            }
            Self::Json => {
                out.push_str(",\"message\":\"");
                out.push_str(message);
                out.push('"');
            }
        }
    }

    /// The separator and the name of a field; the value follows.
    ///
    /// In plain form fields are parted by one space; the first one follows the tab directly.
    pub(crate) fn push_key(self, out: &mut String, name: &str) {
        match self {
            Self::Plain => {
                if !out.is_empty() && !out.ends_with('\t') {
                    out.push(' ');
                }
                out.push_str(name);
                out.push('=');
            }
            Self::Json => {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
            }
        }
    }

    /// Appends fields rendered earlier into a text of their own.
    pub(crate) fn push_fields(self, out: &mut String, fields: &str) {
        if self == Self::Plain && !fields.is_empty() && !out.ends_with('\t') {
            out.push(' ');
        }
        out.push_str(fields);
    }

    pub(crate) fn end(self, out: &mut String) {
        match self {
            Self::Plain => {
                // A line without fields keeps no trailing tab.
                if out.ends_with('\t') {
                    out.pop();
                }
                out.push('\n');
            }
            Self::Json => out.push_str("}\n"),
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}
