//! Words for a person.

use std::io::Write;

/// One line.
pub(crate) fn say(line: &str) {
    raw(&format!("{line}\n"));
}

/// Text as it is; a closed pipe is the reader's choice, not our error.
pub(crate) fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// One line for standard error.
pub(crate) fn complain(line: &str) {
    if !line.is_empty() {
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}
