//! Hands: children that do long work in namespaces and end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::pipe2;
use node_agent_handover::{Answer, Job, JobDone, Located, MAX_MESSAGE, Sought};
use node_agent_namespace::{self as namespace, Exempted, Found, Netns, Wanted, Whereabouts};

use crate::process::{Forked, Watched, exit_at_once, fork};

/// A hand may take this long beyond its own deadline to say so.
const GRACE: Duration = Duration::from_secs(3);
/// So many differences are told: who flushes a table changes a rule for each pod.
const TOLD: usize = 8;
/// An answer is not longer.
const MAX_ANSWER: u64 = MAX_MESSAGE as u64;

/// A hand at work. Dropping it ends the work.
#[derive(Debug)]
pub(crate) struct Hand {
    /// The question it answers.
    pub(crate) id: u64,
    /// Readable when the answer is there, or the hand has ended without one.
    pub(crate) answer: File,
    /// Killed then.
    pub(crate) until: Instant,
    process: Watched,
}

impl Hand {
    /// Puts a hand to work.
    pub(crate) fn start(
        id: u64,
        job: &Job,
        netns: Option<OwnedFd>,
        places: &Whereabouts,
        until: Instant,
    ) -> io::Result<Self> {
        let (answer, write) = pipe2(OFlag::O_CLOEXEC)?;
        match fork()? {
            Forked::Parent(pid) => Ok(Self {
                id,
                answer: answer.into(),
                until: until + GRACE,
                process: Watched::new(pid).inspect_err(|_| end_unwatched(pid))?,
            }),
            Forked::Child => {
                // A panic would run what belongs to the holder; it must not get past here.
                let done = std::panic::catch_unwind(|| {
                    die_with_the_holder();
                    let answer = work(job, netns, places, until);
                    let bytes = serde_json::to_vec(&answer).unwrap_or_default();
                    File::from(write).write_all(&bytes)
                });
                exit_at_once(i32::from(!matches!(done, Ok(Ok(())))));
            }
        }
    }

    /// Its process number; to be waited for once this is dropped.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Its answer, once its pipe is readable: it writes all at once and ends.
    pub(crate) fn finish(mut self) -> Answer {
        let mut bytes = Vec::new();
        let read = (&mut self.answer).take(MAX_ANSWER).read_to_end(&mut bytes);
        let parsed = read
            .map_err(|error| error.to_string())
            .and_then(|_| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        parsed.unwrap_or_else(|why| {
            passing(format!("the process that did the work died of it ({why})"))
        })
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill() {
            tracing::warn!(%error, "cannot end a process that worked in a namespace");
        }
    }
}

/// Ends a child that cannot be watched: it must not work behind the back of whoever comes next.
fn end_unwatched(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    let ended = kill(pid, Signal::SIGKILL).and_then(|()| waitpid(pid, None::<WaitPidFlag>));
    if let Err(error) = ended {
        tracing::error!(%error, %pid, "cannot end a process that nobody watches");
    }
}

/// The answer of a hand that took too long.
pub(crate) fn overdue() -> Answer {
    passing("the work in the namespace did not end in time; the node may be overloaded".to_owned())
}

pub(crate) fn passing(why: String) -> Answer {
    Answer::Failed {
        why,
        passing: true,
        unknown_pod: false,
    }
}

pub(crate) fn lasting(why: String) -> Answer {
    Answer::Failed {
        why,
        passing: false,
        unknown_pod: false,
    }
}

/// The answer to a question whose namespace did not come with it: the kernel drops descriptors that a process has no room
/// for, and delivers the rest of the message.
pub(crate) fn without_namespace() -> Answer {
    let why = "the descriptor of the pod's namespace was lost on the way to the holder: Too many open files there; \
               raise its limit of open files";
    passing(why.to_owned())
}

fn die_with_the_holder() {
    // Rules that are written after the holder died would be nobody's; the tools die with us.
    if set_pdeathsig(Signal::SIGKILL).is_err() {
        exit_at_once(1);
    }
}

fn work(job: &Job, netns: Option<OwnedFd>, places: &Whereabouts, until: Instant) -> Answer {
    let outcome = match job {
        Job::Locate { pods } => locate(places, pods, until),
        Job::Detect { plan } => namespace::detect_backend(plan, until)
            .map(JobDone::Detected)
            .map_err(|error| lasting(error.to_string())),
        Job::Exempt {
            exemption,
            before,
            backend,
            otherwise,
        } => {
            let wanted = Wanted {
                exemption,
                before: before.as_ref(),
                backend: *backend,
                otherwise: *otherwise,
            };
            exempt(places, &wanted, until)
        }
        _ => match netns.map(Netns::from_fd) {
            Some(Ok(netns)) => in_namespace(job, &netns, until),
            Some(Err(error)) => Err(lasting(error.to_string())),
            None => Err(without_namespace()),
        },
    };
    outcome.map_or_else(|failed| failed, Answer::Job)
}

fn locate(places: &Whereabouts, pods: &[Sought], until: Instant) -> Result<JobDone, Answer> {
    let sought: Vec<namespace::Sought<'_>> = pods
        .iter()
        .map(|pod| namespace::Sought {
            uid: &pod.uid,
            addresses: &pod.addresses,
            containers: &pod.containers,
        })
        .collect();
    let found = namespace::locate(places, &sought, until).map_err(|error| {
        let proc = places.proc.display();
        lasting(format!("cannot look for pods in {proc} (procDir): {error}"))
    })?;
    let told = found.into_iter().map(|found| match found {
        Ok(Found { netns, sandbox }) => Located::At {
            netns: netns.display().to_string(),
            sandbox,
        },
        Err(why) => Located::Nowhere {
            why: why.to_string(),
        },
    });
    Ok(JobDone::Located(told.collect()))
}

fn exempt(places: &Whereabouts, wanted: &Wanted<'_>, until: Instant) -> Result<JobDone, Answer> {
    let done = namespace::exempt(&places.proc, wanted, until);
    let Exempted { backend, changed } = done.map_err(|error| passing(error.to_string()))?;
    let more = changed.len().saturating_sub(TOLD);
    let mut told: Vec<String> = changed.iter().take(TOLD).map(ToString::to_string).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    let changed = told;
    Ok(JobDone::Exempted { backend, changed })
}

fn in_namespace(job: &Job, netns: &Netns, until: Instant) -> Result<JobDone, Answer> {
    fn failed<E: std::error::Error>(error: E) -> Answer {
        passing(error.to_string())
    }
    match job {
        Job::Detect { .. } | Job::Locate { .. } | Job::Exempt { .. } => {
            Err(lasting("this needs no namespace".to_owned()))
        }
        Job::Addresses => namespace::addresses(netns)
            .map(JobDone::Addresses)
            .map_err(failed),
        Job::Apply { plan } => namespace::apply(netns, plan, until)
            .map(|_| JobDone::Done)
            .map_err(failed),
        Job::Check { plan } => {
            let drift = namespace::check(netns, plan, until).map_err(failed)?;
            Ok(JobDone::Drift(
                drift.iter().map(ToString::to_string).collect(),
            ))
        }
        Job::Repair { plan } => {
            let drift = namespace::check(netns, plan, until).map_err(failed)?;
            if !drift.is_empty() {
                namespace::apply(netns, plan, until).map_err(failed)?;
            }
            Ok(JobDone::Drift(
                drift.iter().map(ToString::to_string).collect(),
            ))
        }
        Job::Capture { plan } => namespace::capture_running(netns, plan, until)
            .map(|plan| JobDone::Plan(Some(plan)))
            .map_err(failed),
        Job::SpareFewer { plan } => namespace::spare_fewer(netns, plan, until)
            .map(JobDone::Plan)
            .map_err(failed),
        Job::Served => {
            let all = namespace::connections(netns).map_err(failed)?;
            Ok(JobDone::Count(node_agent_redirect::served(&all)))
        }
        Job::Undo { plan } => namespace::undo(netns, plan, until)
            .map(|()| JobDone::Done)
            .map_err(failed),
    }
}
