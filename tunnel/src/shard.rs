//! One thread of the data plane.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use tunnel_sockets::Port;

use crate::context::Context;
use crate::pod::{Pod, PodFacts};
use crate::probe::Tickets;
use crate::settings::{Parts, TunnelSettings};

/// How often a drain looks whether the last connection has ended.
const DRAIN_STEP: Duration = Duration::from_millis(50);

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
        draining: watch::Receiver<bool>,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        parts.telemetry.watch_runtime(runtime.handle().clone());
        let (commands, inbox) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name(format!("tunnel-{number}"))
            .spawn(move || {
                let context = Context::new(settings, parts, tickets, draining);
                LocalSet::new().block_on(&runtime, run(context, inbox));
            })?;
        Ok((Self { commands }, thread))
    }

    /// Sends a command; `None` when the thread has ended.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).ok()?;
        answer.await.ok()
    }
}

async fn run(context: Rc<Context>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let mut pods: HashMap<Arc<str>, Rc<Pod>> = HashMap::new();
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Admit {
                facts,
                listeners,
                reply,
            } => {
                // An answer nobody waits for any more is dropped.
                reply
                    .send(admit(&mut pods, &context, facts, listeners))
                    .ok();
            }
            Command::Release { key, reply } => {
                let known = pods.remove(&key);
                if let Some(pod) = &known {
                    pod.end();
                }
                reply.send(known.is_some()).ok();
            }
            Command::Count { reply } => {
                let count = |(key, pod): (&Arc<str>, &Rc<Pod>)| (Arc::clone(key), pod.live.count());
                reply.send(pods.iter().map(count).collect()).ok();
            }
            Command::Drain { deadline, reply } => {
                // A task: pods that leave meanwhile must not wait for it.
                let pods: Vec<_> = pods.values().cloned().collect();
                tokio::task::spawn_local(async move {
                    reply.send(drain(&pods, deadline).await).ok();
                });
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
        old.end();
    }
    let key = Arc::clone(&facts.key);
    let pod = Pod::new(facts, Rc::clone(context));
    pod.listen(listeners)?;
    pods.insert(key, pod);
    Ok(())
}

/// Waits until no connection is left or the time is up; answers how many are left. Tunnels from
/// peers count as connections and end by themselves once their streams have. The pod's own are
/// waited for too: they may still hold bytes of connections that have ended.
async fn drain(pods: &[Rc<Pod>], deadline: Instant) -> usize {
    for pod in pods {
        pod.stop_accepting();
    }
    loop {
        for pod in pods {
            // Each time: a connection that was being set up may have made one more.
            pod.pool.retire();
        }
        let left = pods.iter().map(|pod| pod.live.count()).sum();
        let tunnels: usize = pods.iter().map(|pod| pod.tunnels.count()).sum();
        let now = Instant::now();
        if left + tunnels == 0 || now >= deadline {
            return left;
        }
        sleep_until(deadline.min(now + DRAIN_STEP)).await;
    }
}
