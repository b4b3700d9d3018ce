//! The messages.

use std::net::IpAddr;

use node_agent_redirect::{Backend, Exemption, RedirectPlan};
use serde::{Deserialize, Serialize};

use crate::version::Spoken;

/// What a socket made in a pod is for; the same kinds as the tunnel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From the pod's own address, marked.
    Outbound,
    /// Marked, and may be bound to a client's address.
    Transparent,
    /// Unmarked, for the self-probe.
    Captured,
}

/// One of the sites that the agent serves over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// Administration.
    Admin,
    /// Metrics.
    Metrics,
    /// Readiness.
    Readiness,
}

/// Something that is asked about one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InPod {
    /// Open the pod's listeners and keep them with the namespace, which rides along.
    /// Answer: [`Answer::Opened`].
    Open {
        /// Listen on IPv6 too, where the pod has it.
        ipv6: bool,
    },
    /// Make sockets in the pod. Answer: [`Answer::Made`].
    Make {
        /// IPv6 sockets.
        ipv6: bool,
        /// What for.
        kind: Kind,
        /// How many; at most 64.
        count: usize,
    },
    /// Forget the pod. Answer: [`Answer::Closed`].
    Close,
}

/// Work inside a namespace, which rides along with the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Find out which packet filter works; the only job without a namespace.
    Detect {
        /// A plan such as pods get.
        plan: RedirectPlan,
    },
    /// List the addresses.
    Addresses,
    /// Install the rules of a plan, or bring them back to it.
    Apply {
        /// The plan.
        plan: RedirectPlan,
    },
    /// Say how the rules differ from a plan.
    Check {
        /// The plan.
        plan: RedirectPlan,
    },
    /// Bring the rules back to a plan if they differ; say what had changed.
    Repair {
        /// The plan.
        plan: RedirectPlan,
    },
    /// Capture a pod that runs, sparing the connections it has; answer with the plan in force.
    Capture {
        /// The plan.
        plan: RedirectPlan,
    },
    /// Spare no more the connections that have ended; answer with the plan in force, if it changed.
    SpareFewer {
        /// The plan.
        plan: RedirectPlan,
    },
    /// Count the connections that the tunnel has in the pod.
    Served,
    /// Take the rules of a plan out.
    Undo {
        /// The plan.
        plan: RedirectPlan,
    },
    /// Find where pods run that nobody told of; without a namespace. Since version 3.
    Locate {
        /// The pods.
        pods: Vec<Sought>,
    },
    /// Bring the chain in the node's own namespace to this: the node's probes of these addresses are
    /// not captured. Without a namespace, which the holder knows. Since version 4.
    Exempt {
        /// The addresses.
        exemption: Exemption,
        /// Those before, if they are known: how the kernel differs from them is said.
        before: Option<Exemption>,
        /// Where the rules are to be; found out if it is not said.
        backend: Option<Backend>,
        /// Where they are to be if nothing in the namespace says it.
        otherwise: Backend,
    },
}

/// A pod that is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sought {
    /// Its uid on the node.
    pub uid: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The ids of its containers, of which the sandbox is none.
    pub containers: Vec<String>,
}

/// Where a pod was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Located {
    /// Here.
    At {
        /// The path of its namespace, as the holder sees it.
        netns: String,
        /// The sandbox's id, if it is beyond doubt.
        sandbox: Option<String>,
    },
    /// It was not found.
    Nowhere {
        /// Why not.
        why: String,
    },
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobDone {
    /// The packet filter that works.
    Detected(Backend),
    /// The addresses.
    Addresses(Vec<IpAddr>),
    /// How the rules differ, or differed.
    Drift(Vec<String>),
    /// A plan, where there is one to tell.
    Plan(Option<RedirectPlan>),
    /// A number of connections.
    Count(usize),
    /// Where pods run, in the order in which they were asked for.
    Located(Vec<Located>),
    /// The node's probes are exempt.
    Exempted {
        /// Where the rules are.
        backend: Backend,
        /// How what was there differed from what was to be there before.
        changed: Vec<String>,
    },
    /// Nothing more is to be said.
    Done,
}

/// What the worker asks of the holder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// About a pod that the holder keeps, or is to keep.
    Pod {
        /// The pod's key.
        pod: String,
        /// What.
        what: InPod,
    },
    /// The namespace at a path, which the worker does not see. Answer: [`Answer::Namespace`].
    Namespace {
        /// The path.
        path: String,
    },
    /// Work in a namespace. Answer: [`Answer::Job`].
    Job {
        /// What.
        job: Job,
        /// Milliseconds after which it is given up.
        within_ms: u64,
    },
}

impl Ask {
    /// The version that a holder must speak to understand it.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::Job {
                job: Job::Locate { .. },
                ..
            } => 3,
            Self::Job {
                job: Job::Exempt { .. },
                ..
            } => 4,
            _ => 1,
        }
    }
}

/// What the holder answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Duplicates of the pod's listeners ride along, in the order of their ports.
    Opened {
        /// They accept IPv6 too.
        ipv6: bool,
        /// They were open already.
        reused: bool,
    },
    /// The sockets ride along.
    Made,
    /// The pod is forgotten.
    Closed {
        /// It was known.
        known: bool,
    },
    /// It rides along, if the path means one that is not the node's own.
    Namespace,
    /// What came of the job.
    Job(JobDone),
    /// It could not be done.
    Failed {
        /// Why, for a person.
        why: String,
        /// The same may work a moment later.
        passing: bool,
        /// The pod is not one that the holder keeps.
        unknown_pod: bool,
    },
}

/// From the worker to the holder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// A question; descriptors as [`Ask`] says.
    Ask {
        /// Which the answer repeats.
        id: u64,
        /// What.
        ask: Ask,
    },
    /// An answer to [`ToWorker::Ping`]: every thread of the worker has answered.
    Pong,
    /// Every recorded pod was tried; connections are accepted.
    Serving,
    /// No pod is enrolled or forgotten any more, and the state on disk is whole.
    Quiet,
    /// Somebody asked the admin interface for a stop of the whole agent.
    StopAsked,
    /// The drain is over; the worker ends now.
    Retired {
        /// Connections that were cut.
        cut: u64,
    },
}

/// From the holder to the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// The first message to a worker that was started. The plugin's listener rides along, unless a
    /// foreign agent drives.
    Welcome {
        /// It does.
        plugin: bool,
    },
    /// The holder's well-known socket rides along: answer there once the holder is gone.
    Door,
    /// A site's listener rides along.
    Site {
        /// Which.
        site: Site,
    },
    /// The answer to a question; descriptors as [`Answer`] says.
    Answer {
        /// Which question.
        id: u64,
        /// What.
        answer: Answer,
    },
    /// A sign of life is asked for.
    Ping,
    /// A successor is there: enrol nobody, forget nobody, bring the state to the disk.
    Quieten,
    /// The successor failed: go on as before.
    Resume,
    /// Serve what there is to its end, then end.
    Retire {
        /// Milliseconds; then what is left is cut.
        patience_ms: u64,
        /// Go on accepting meanwhile: nobody else would.
        accepting: bool,
    },
}

/// From a successor to whoever answers at the well-known socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromSuccessor {
    /// The first message.
    Hello {
        /// What it speaks.
        spoken: Spoken,
        /// Its build, for the log.
        build: String,
    },
    /// Its worker accepts connections: the predecessor's may retire.
    Serving,
}

/// From whoever answers at the well-known socket to a successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromPredecessor {
    /// No; the text says why and what to do. The predecessor goes on serving.
    Refused {
        /// Why.
        why: String,
    },
    /// Yes; what is kept follows.
    Welcome {
        /// The version of what follows.
        version: u16,
        /// Its build, for the log.
        build: String,
        /// A worker answers whose holder is gone: this is its process number, a descriptor by
        /// which it can be watched rides along, and this connection becomes its link.
        orphan: Option<i32>,
    },
    /// Something kept; it rides along.
    Kept(Kept),
    /// That was all.
    All,
    /// The successor was heard to serve, and the predecessor's worker was told to retire. Since
    /// version 2.
    Over,
}

/// What a predecessor hands over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// A pod's namespace and its listeners, in the order of their ports.
    Pod {
        /// The pod's key.
        pod: String,
        /// The listeners accept IPv6 too.
        ipv6: bool,
    },
    /// The plugin's listener.
    Plugin {
        /// The path it is bound to.
        path: String,
    },
    /// A site's listener. Since version 2.
    Site {
        /// Which.
        site: Site,
    },
    /// The well-known socket; only from an orphaned worker.
    Door,
}
