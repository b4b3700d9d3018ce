//! The worker as a process: its start, its signs of life, its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use node_agent_handover::{SPOKEN, ToWorker};

use crate::channel::{Channel, ChannelError};
use crate::process::Watched;
use crate::settings::WorkerProgram;

/// How often a sign of life is asked for.
const PING: Duration = Duration::from_secs(1);
/// The descriptor under which a worker finds its end of the link.
const LINK: i32 = 3;

/// What a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It brings pods back.
    Starting,
    /// It accepts connections and enrols pods.
    Serving,
    /// It was told that a successor is there.
    Quiet,
    /// It ends once its connections have.
    Retiring,
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) link: Channel,
    pub(crate) started: Instant,
    pub(crate) phase: Phase,
    process: Watched,
    /// Nothing if somebody else started it.
    child: Option<Child>,
    /// When the sign of life was asked for that has not come yet.
    asked: Option<Instant>,
    next_ping: Instant,
}

impl Worker {
    /// Starts one. What it needs to begin is still to be sent.
    pub(crate) fn start(program: &WorkerProgram, now: Instant) -> io::Result<Self> {
        let (link, theirs) = Channel::pair(SPOKEN.max)?;
        let mut command = node_agent_confine::own_program();
        command.args(&program.arguments).stdin(Stdio::null());
        // A terminal's Ctrl-C is the holder's to answer.
        command.process_group(0);
        let confined = program
            .confinement
            .start(command, &[(theirs.as_fd(), LINK)]);
        let mut child = confined.map_err(io::Error::other)?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let process = match Watched::new(pid) {
            Ok(process) => process,
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                return Err(error);
            }
        };
        Ok(Self::new(link, process, Some(child), now))
    }

    /// Takes over one whose holder is gone; it sent the descriptor by which it is watched.
    pub(crate) fn adopt(link: Channel, pid: i32, end: OwnedFd, now: Instant) -> Self {
        let mut adopted = Self::new(link, Watched::sent(pid, end), None, now);
        adopted.phase = Phase::Serving;
        adopted
    }

    fn new(link: Channel, process: Watched, child: Option<Child>, now: Instant) -> Self {
        Self {
            link,
            started: now,
            phase: Phase::Starting,
            process,
            child,
            asked: None,
            next_ping: now + PING,
        }
    }

    /// Its process number, for the log.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Readable once it has ended.
    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.process.end.as_fd()
    }

    /// Tells it something.
    pub(crate) fn tell(
        &mut self,
        message: &ToWorker,
        fds: Vec<OwnedFd>,
    ) -> Result<(), ChannelError> {
        self.link.send(message, fds)
    }

    /// Asks for a sign of life when it is time to; says since when none came.
    pub(crate) fn watch(&mut self, now: Instant) -> Result<Option<Duration>, ChannelError> {
        if let Some(asked) = self.asked {
            return Ok(Some(now.saturating_duration_since(asked)));
        }
        if now >= self.next_ping {
            self.asked = Some(now);
            self.tell(&ToWorker::Ping, Vec::new())?;
        }
        Ok(None)
    }

    /// When [`Worker::watch`] is to be called next, if a silence of `deadline` is too long.
    pub(crate) fn wake(&self, deadline: Duration) -> Instant {
        self.asked.map_or(self.next_ping, |asked| asked + deadline)
    }

    /// It gave a sign of life.
    pub(crate) fn lives(&mut self, now: Instant) {
        self.asked = None;
        self.next_ping = now + PING;
    }

    /// Kills it; its end is then seen as any other.
    pub(crate) fn kill(&self) {
        if let Err(error) = self.process.kill() {
            tracing::error!(%error, pid = self.pid(), "cannot kill the worker");
        }
    }

    /// How it ended, for the log; to be called once it has.
    pub(crate) fn ended(mut self) -> String {
        match self.child.as_mut().map(Child::wait) {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => format!("unknown: {error}"),
            None => "unknown: another holder had started it".to_owned(),
        }
    }

    /// Whether this process started it.
    pub(crate) fn is_ours(&self) -> bool {
        self.child.is_some()
    }

    /// Lets go of it without ending it: a copy of this process watches it from now on.
    pub(crate) fn disown(&mut self) {
        self.child = None;
    }
}

/// The worker's end of the link, which its holder passed.
///
/// # Errors
/// There is none: the program was not started by a holder.
pub fn inherited_link() -> io::Result<OwnedFd> {
    let no_holder = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is started by `ambient-agent run`, not by hand",
        )
    };
    let link = crate::process::take(LINK).map_err(|_| no_holder())?;
    let peer = node_agent_namespace::peer_credentials(&link).map_err(|_| no_holder())?;
    if peer.uid != 0 {
        return Err(no_holder());
    }
    Ok(link)
}
