//! The worker's side of the link to its holder.
//!
//! One thread speaks to the holder, so that neither a busy control thread nor busy traffic delays
//! it. When the holder is gone, questions wait, everything that was handed out is kept, and the
//! next holder gets it all back at the well-known socket; then the questions are asked again.
//! Nobody who asked notices more than a delay.

mod kept;
mod questions;
mod thread;

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use node_agent_handover::{Answer, Ask, FromWorker, Job, JobDone, Site};
use tokio::sync::{mpsc, oneshot};
use tunnel_sockets::Sockets;

pub(crate) use questions::HolderFailure;
use questions::{Question, Reply};

/// What the holder wants of the worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// Serve this site here.
    Serve(Site, TcpListener),
    /// Give a sign of life: answer [`Report::Alive`].
    Ping,
    /// Enrol and forget nobody, then answer [`Report::Quiet`].
    Quieten,
    /// Go on as before.
    Resume,
    /// Serve what there is to its end, at most for this long, then end.
    Retire {
        /// How long.
        patience: Duration,
        /// Go on accepting meanwhile.
        accepting: bool,
    },
    /// The holder is gone; serve on.
    HolderGone,
    /// There is one again.
    HolderBack,
}

/// What the worker tells its holder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Report {
    /// Every thread is alive.
    Alive,
    /// Recorded pods are back, connections are accepted.
    Serving,
    /// Nobody is enrolled any more, the state is on disk.
    Quiet,
    /// Somebody asked the admin interface for a stop.
    StopAsked,
    /// The drain is over.
    Retired {
        /// Connections that were cut.
        cut: usize,
    },
}

impl From<Report> for FromWorker {
    fn from(report: Report) -> Self {
        match report {
            Report::Alive => Self::Pong,
            Report::Serving => Self::Serving,
            Report::Quiet => Self::Quiet,
            Report::StopAsked => Self::StopAsked,
            Report::Retired { cut } => Self::Retired {
                cut: u64::try_from(cut).unwrap_or(u64::MAX),
            },
        }
    }
}

/// The way to ask the holder for work in namespaces, and to report to it.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    questions: mpsc::UnboundedSender<Question>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Holder {
    /// Has work done in a namespace.
    pub(crate) async fn work(
        &self,
        job: Job,
        netns: Option<OwnedFd>,
        within: Duration,
    ) -> Result<JobDone, HolderFailure> {
        let (reply, answer) = oneshot::channel();
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let question = Question {
            ask: Ask::Job { job, within_ms },
            fds: netns.into_iter().collect(),
            reply: Reply::Job(reply),
        };
        let stopping = |_| HolderFailure::stopping();
        self.questions
            .send(question)
            .map_err(|_| HolderFailure::stopping())?;
        match answer.await.map_err(stopping)?? {
            Answer::Job(done) => Ok(done),
            other => Err(HolderFailure::out_of_turn(&other)),
        }
    }

    /// The namespace at a path, if there is one: the worker sees none of them.
    pub(crate) async fn namespace(&self, path: &str) -> Result<Option<OwnedFd>, HolderFailure> {
        let (reply, answer) = oneshot::channel();
        let question = Question {
            ask: Ask::Namespace {
                path: path.to_owned(),
            },
            fds: Vec::new(),
            reply: Reply::Namespace(reply),
        };
        let stopping = |_| HolderFailure::stopping();
        self.questions
            .send(question)
            .map_err(|_| HolderFailure::stopping())?;
        answer.await.map_err(stopping)?
    }

    /// Tells the holder something.
    pub(crate) fn report(&self, report: Report) {
        // The thread ends only with the process.
        let _ending = self.reports.send(report);
    }
}

/// What a worker begins with.
#[derive(Debug)]
pub(crate) struct Linked {
    /// The plugin's listener, unless a foreign agent drives.
    pub(crate) plugin: Option<UnixListener>,
    /// Pods' namespaces.
    pub(crate) sockets: Sockets,
    /// Work in them.
    pub(crate) holder: Holder,
    /// What the holder wants.
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
}

/// Takes up the link that the holder left for this process and waits for its first words.
///
/// # Errors
/// There is no holder, or it went away.
pub(crate) fn take_up(link: OwnedFd, plugin_path: PathBuf) -> io::Result<Linked> {
    let (sockets, requests) = Sockets::channel();
    let (questions, asked) = mpsc::unbounded_channel();
    let (reports, reported) = mpsc::unbounded_channel();
    let (give, orders) = mpsc::unbounded_channel();
    let (welcome, welcomed) = std::sync::mpsc::channel();
    let inputs = thread::Inputs {
        requests,
        questions: asked,
        reports: reported,
    };
    let outputs = thread::Outputs {
        orders: give,
        welcome: Some(welcome),
    };
    std::thread::Builder::new()
        .name("holder-link".to_owned())
        .spawn(move || thread::run(link, plugin_path, inputs, outputs))?;
    let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the holder went away at once");
    let plugin = welcomed.recv().map_err(gone)?;
    Ok(Linked {
        plugin,
        sockets,
        holder: Holder { questions, reports },
        orders,
    })
}
