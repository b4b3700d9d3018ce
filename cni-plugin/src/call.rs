//! One call of the plugin: what it is about, how long it may take, and what came of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cni_plugin_spec::{Command, PodArgs};

/// One call.
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) started: Instant,
    /// Where to record it; known once the configuration is read.
    pub(crate) log_file: Option<PathBuf>,
    /// The pod, once it is known.
    pub(crate) args: PodArgs,
    named: bool,
}

impl Call {
    pub(crate) fn new(command: Command, started: Instant) -> Self {
        Self {
            command,
            started,
            log_file: None,
            args: PodArgs::default(),
            named: true,
        }
    }

    /// A call whose environment could not be read.
    pub(crate) fn nameless(started: Instant) -> Self {
        Self {
            named: false,
            ..Self::new(Command::Version, started)
        }
    }

    pub(crate) fn verb(&self) -> &'static str {
        if self.named {
            self.command.verb().as_str()
        } else {
            "call"
        }
    }

    pub(crate) fn container(&self) -> Option<(&str, &str)> {
        match &self.command {
            Command::Add(to) | Command::Check(to) => Some((&to.container_id, &to.ifname)),
            Command::Del(from) => Some((&from.container_id, &from.ifname)),
            Command::Version | Command::Gc | Command::Status => None,
        }
    }
}

/// What a successful call came to.
pub(crate) struct Outcome {
    pub(crate) stdout: Option<String>,
    /// For the log file.
    pub(crate) summary: String,
}

impl Outcome {
    /// Success with a document for the runtime.
    pub(crate) fn answered(document: String) -> Self {
        Self {
            stdout: Some(document),
            summary: "answered".to_owned(),
        }
    }

    /// Success that says nothing.
    pub(crate) fn silent(summary: impl Into<String>) -> Self {
        Self {
            stdout: None,
            summary: summary.into(),
        }
    }

    pub(crate) fn because(self, summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            ..self
        }
    }
}

/// The time a call has: one deadline for everything, of which the last part is kept back for
/// undoing what was begun.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    end: Instant,
    work_until: Instant,
}

impl Budget {
    pub(crate) fn new(started: Instant, total: Duration) -> Self {
        let kept_back = (total / 5).min(KEPT_BACK_MOST);
        Self {
            end: started + total,
            work_until: started + total.saturating_sub(kept_back),
        }
    }

    /// When the work has to be done.
    pub(crate) fn work_until(self) -> Instant {
        self.work_until
    }

    /// When undoing has to be done; undoing is never left without a chance.
    pub(crate) fn undo_until(self) -> Instant {
        self.end.max(Instant::now() + UNDO_LEAST)
    }
}

const KEPT_BACK_MOST: Duration = Duration::from_secs(3);
const UNDO_LEAST: Duration = Duration::from_secs(1);
