//! One thread of the data plane.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tunnel_sockets::Port;

use crate::context::Context;
use crate::drain;
use crate::lane::Lane;
use crate::pod::{Pod, PodFacts};
use crate::probe::Tickets;
use crate::settings::{Parts, TunnelSettings};
use crate::standing::{self, Pods};

/// What the event loop takes at once. Each portion is framed, encrypted and sent before the next is looked at: were
/// all that is ready one portion, many busy streams would go from process to process in step, and processors wait.
const EVENTS: usize = 64;

pub(crate) enum Command {
    Admit {
        facts: PodFacts,
        listeners: Vec<(Port, std::net::TcpListener)>,
        reply: oneshot::Sender<std::io::Result<()>>,
    },
    Release {
        key: Arc<str>,
        reply: oneshot::Sender<bool>,
    },
    Count {
        reply: oneshot::Sender<HashMap<Arc<str>, usize>>,
    },
    Drain {
        deadline: Instant,
        reply: oneshot::Sender<usize>,
    },
    DrainPod {
        key: Arc<str>,
        deadline: Instant,
        reply: oneshot::Sender<usize>,
    },
    Ping {
        reply: oneshot::Sender<()>,
    },
}

/// The way to one thread.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    commands: mpsc::UnboundedSender<Command>,
}

impl Shard {
    /// Starts the thread. It ends when the last handle is gone.
    pub(crate) fn start(
        number: usize,
        settings: TunnelSettings,
        parts: Parts,
        tickets: Tickets,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_io_events_per_tick(EVENTS)
            .build()?;
        let (telemetry, watched) = (parts.telemetry.clone(), runtime.handle().clone());
        let (commands, inbox) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name(format!("tunnel-{number}"))
            .spawn(move || {
                let context = Context::new(settings, parts, tickets);
                LocalSet::new().block_on(&runtime, run(context, inbox));
            })?;
        // Only now: what is watched is kept, and a process that can have no more threads asks again for each pod.
        telemetry.watch_runtime(watched);
        Ok((Self { commands }, thread))
    }

    /// Sends a command; `None` when the thread has ended.
    pub(crate) fn send<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<oneshot::Receiver<T>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).ok()?;
        Some(answer)
    }

    /// The same, and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        self.send(command)?.await.ok()
    }
}

async fn run(context: Rc<Context>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let pods = Pods::default();
    let mesh = context.parts.mesh.clone();
    // It ends with the thread.
    tokio::task::spawn_local(standing::keep(Rc::clone(&pods), mesh));
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Admit {
                facts,
                listeners,
                reply,
            } => {
                // An answer nobody waits for any more is dropped.
                let admitted = admit(&mut pods.borrow_mut(), &context, facts, listeners);
                reply.send(admitted).ok();
            }
            Command::Release { key, reply } => {
                let known = pods.borrow_mut().remove(&key);
                // A task: it takes as long as peers take to be told.
                tokio::task::spawn_local(async move {
                    if let Some(pod) = &known {
                        pod.end().await;
                    }
                    reply.send(known.is_some()).ok();
                });
            }
            Command::Count { reply } => {
                let count = |(key, pod): (&Arc<str>, &Rc<Pod>)| (Arc::clone(key), pod.live.count());
                reply.send(pods.borrow().iter().map(count).collect()).ok();
            }
            Command::Drain { deadline, reply } => {
                // A task: pods that leave meanwhile must not wait for it.
                let pods: Vec<_> = pods.borrow().values().cloned().collect();
                tokio::task::spawn_local(async move {
                    reply.send(drain::process(&pods, deadline).await).ok();
                });
            }
            Command::DrainPod {
                key,
                deadline,
                reply,
            } => {
                let pod = pods.borrow().get(&key).cloned();
                tokio::task::spawn_local(async move {
                    let left = match pod {
                        Some(pod) => drain::pod(pod, deadline).await,
                        None => 0,
                    };
                    reply.send(left).ok();
                });
            }
            Command::Ping { reply } => {
                reply.send(()).ok();
            }
        }
    }
}

fn admit(
    pods: &mut HashMap<Arc<str>, Rc<Pod>>,
    context: &Rc<Context>,
    facts: PodFacts,
    listeners: Vec<(Port, std::net::TcpListener)>,
) -> std::io::Result<()> {
    if let Some(old) = pods.remove(&facts.key) {
        tokio::task::spawn_local(async move { old.end().await });
    }
    let key = Arc::clone(&facts.key);
    let pod = Pod::new(facts, Rc::clone(context));
    let lane = Lane::new(&key);
    {
        let _in = lane.enter();
        pod.listen(listeners)?;
    }
    // It ends with the pod's last task.
    tokio::task::spawn_local(lane);
    pods.insert(key, pod);
    Ok(())
}
