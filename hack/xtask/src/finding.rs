//! What is wrong, where, and what to do about it.

use std::fmt;
use std::io::{self, Write};

/// Whether a finding stops the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Warn,
    Fail,
}

/// `file:line`, or a file or crate as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: usize,
}

impl Place {
    pub(crate) fn line(file: &str, line: usize) -> Self {
        Self {
            file: file.to_owned(),
            line,
        }
    }

    pub(crate) fn file(file: &str) -> Self {
        Self::line(file, 1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One broken rule.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) place: Place,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

/// All of them, so that a person fixes them in one go.
#[derive(Default, Debug)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn fail(&mut self, place: Place, what: impl Into<String>, remedy: &'static str) {
        self.0.push(Finding {
            level: Level::Fail,
            place,
            what: what.into(),
            remedy,
        });
    }

    pub(crate) fn warn(&mut self, place: Place, what: impl Into<String>, remedy: &'static str) {
        self.0.push(Finding {
            level: Level::Warn,
            place,
            what: what.into(),
            remedy,
        });
    }

    pub(crate) fn count(&self, level: Level) -> usize {
        self.0
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    }

    /// Warnings first, so that what stops the build is at the end of the screen.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by(|a, b| {
            (a.level, &a.place.file, a.place.line).cmp(&(b.level, &b.place.file, b.place.line))
        });
        for Finding {
            level,
            place,
            what,
            remedy,
        } in sorted
        {
            let level = if *level == Level::Fail {
                "fail"
            } else {
                "warn"
            };
            writeln!(out, "{level}: {place}: {what}; {remedy}")?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }
}
