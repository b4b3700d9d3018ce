//! The thread that speaks to the holder.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use node_agent_handover::{
    Answer, Ask, FromPredecessor, FromSuccessor, FromWorker, SPOKEN, ToWorker,
};
use node_agent_holder::{Channel, ChannelError, Door, Received};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tunnel_sockets::Request;

use super::kept::Store;
use super::questions::{Question, Reply, give};
use super::{Order, Report};

/// A holder that takes over speaks within this time.
const HELLO: Duration = Duration::from_secs(5);
/// A holder that has said nothing for this long hangs: it asks for a sign of life every second.
const SILENCE: Duration = Duration::from_secs(5);
/// Fewer open questions are not looked through.
const PRUNE: usize = 1024;
/// Pause after a failure that the next instant does not cure (descriptors have run out).
const PAUSE: Duration = Duration::from_millis(100);

/// What goes to the holder.
pub(super) struct Inputs {
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) questions: mpsc::UnboundedReceiver<Question>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
}

/// What comes from it.
pub(super) struct Outputs {
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) welcome: Option<std::sync::mpsc::Sender<Option<UnixListener>>>,
}

/// Runs until the process ends, or the holder is gone before this worker is one that may live on.
pub(super) fn run(link: OwnedFd, plugin_path: PathBuf, inputs: Inputs, outputs: Outputs) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let channel = watched(Channel::new(link, SPOKEN.max))?;
            let mut speaker = Speaker {
                far: Some(channel),
                door: None,
                store: Store::new(plugin_path),
                open: BTreeMap::new(),
                next: 0,
                prune_at: PRUNE,
                heard: Instant::now(),
                hangs: false,
                outputs,
            };
            speaker.speak(inputs).await
        })
    });
    if let Err(error) = outcome {
        tracing::error!(%error, "the worker ends: it has no holder and may not live on without");
        std::process::exit(1);
    }
}

struct Speaker {
    /// The holder; nothing while there is none.
    far: Option<AsyncFd<Channel>>,
    /// Where the next holder asks.
    door: Option<AsyncFd<Door>>,
    store: Store,
    /// Questions that have no answer yet, in the order in which they were asked.
    open: BTreeMap<u64, Question>,
    next: u64,
    /// So many open questions are looked through for abandoned ones.
    prune_at: usize,
    /// When the holder last said something.
    heard: Instant,
    /// It was said that it hangs.
    hangs: bool,
    outputs: Outputs,
}

/// Something to do.
enum Event {
    Ask(Question),
    Report(Report),
    Readable,
    Writable,
    Asked,
    Silence,
    End,
}

impl Speaker {
    async fn speak(&mut self, mut inputs: Inputs) -> io::Result<()> {
        loop {
            let outcome = match self.event(&mut inputs).await? {
                Event::Ask(question) => self.ask(question),
                Event::Report(report) => self.send(&FromWorker::from(report), Vec::new()),
                Event::Readable => self.listen(),
                Event::Writable => self.flush(),
                Event::Asked => {
                    self.answer_at_the_door().await;
                    Ok(())
                }
                Event::Silence => {
                    self.holder_hangs();
                    Ok(())
                }
                Event::End => return Ok(()),
            };
            if let Err(error) = outcome {
                self.holder_is_gone(&error)?;
            }
        }
    }

    /// Waits for the next thing to do; each arm can be cancelled without losing anything.
    async fn event(&self, inputs: &mut Inputs) -> io::Result<Event> {
        let watched = self.far.is_some() && !self.hangs;
        let waiting = self
            .far
            .as_ref()
            .is_some_and(|far| far.get_ref().has_waiting());
        tokio::select! {
            request = inputs.requests.recv() => {
                Ok(request.map_or(Event::End, |request| Event::Ask(request.into())))
            }
            question = inputs.questions.recv() => Ok(question.map_or(Event::End, Event::Ask)),
            report = inputs.reports.recv() => Ok(report.map_or(Event::End, Event::Report)),
            ready = readable(self.far.as_ref()) => ready.map(|()| Event::Readable),
            ready = writable(self.far.as_ref()), if waiting => ready.map(|()| Event::Writable),
            () = sleep_until(self.heard + SILENCE), if watched => Ok(Event::Silence),
            ready = readable(self.door.as_ref()), if self.far.is_none() => {
                ready.map(|()| Event::Asked)
            }
        }
    }

    fn ask(&mut self, question: Question) -> Result<(), ChannelError> {
        if !self.is_understood(&question) {
            give(question.reply, too_old(), Vec::new());
            return Ok(());
        }
        if self.open.len() >= self.prune_at {
            // While nobody answers, who asked gives up, and must not be kept for it.
            self.open.retain(|_, open| !open.reply.is_abandoned());
            self.prune_at = (2 * self.open.len()).max(PRUNE);
        }
        let id = self.next;
        self.next += 1;
        let outcome = self.send_question(id, &question);
        self.open.insert(id, question);
        outcome
    }

    /// Whether the holder, if there is one, knows such a question. One that does not would take it for
    /// rubbish, and us for mad.
    fn is_understood(&self, question: &Question) -> bool {
        let far = self.far.as_ref();
        far.is_none_or(|far| question.ask.since() <= far.get_ref().version())
    }

    fn send_question(&mut self, id: u64, question: &Question) -> Result<(), ChannelError> {
        let copies = question.fds.iter().map(OwnedFd::try_clone);
        let fds = copies
            .collect::<io::Result<Vec<_>>>()
            .map_err(ChannelError::Kernel)?;
        let ask = question.ask.clone();
        self.send(&FromWorker::Ask { id, ask }, fds)
    }

    /// Says something, if there is somebody to hear it.
    fn send(&mut self, message: &FromWorker, fds: Vec<OwnedFd>) -> Result<(), ChannelError> {
        match &mut self.far {
            // One that hangs is asked anew when it wakes: a queue that fills up would end the link.
            Some(far) if !self.hangs => far.get_mut().send(message, fds),
            Some(_) | None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        match &mut self.far {
            Some(far) => far.get_mut().flush(),
            None => Ok(()),
        }
    }

    fn listen(&mut self) -> Result<(), ChannelError> {
        loop {
            let Some(far) = &mut self.far else {
                return Ok(());
            };
            match far.get_mut().receive()? {
                Some(received) => {
                    self.holder_lives();
                    self.hear(received)?;
                }
                None => return Ok(()),
            }
        }
    }

    fn hear(&mut self, received: Received<ToWorker>) -> Result<(), ChannelError> {
        let Received { message, fds } = received;
        let order = match message {
            ToWorker::Welcome { .. } => return self.welcomed(fds),
            ToWorker::Door => {
                return fds
                    .into_iter()
                    .next()
                    .map_or(Ok(()), |door| self.set_door(door));
            }
            ToWorker::Answer { id, answer } => {
                self.answered(id, answer, fds);
                return Ok(());
            }
            ToWorker::Site { site } => {
                let Some(listener) = fds.into_iter().next().map(TcpListener::from) else {
                    return Ok(());
                };
                let copy = listener.try_clone().map_err(ChannelError::Kernel)?;
                self.store.site(site, copy);
                Order::Serve(site, listener)
            }
            ToWorker::Ping => Order::Ping,
            ToWorker::Quieten => Order::Quieten,
            ToWorker::Resume => Order::Resume,
            ToWorker::Retire {
                patience_ms,
                accepting,
            } => Order::Retire {
                patience: Duration::from_millis(patience_ms),
                accepting,
            },
        };
        self.order(order);
        Ok(())
    }

    fn order(&self, order: Order) {
        // The receiver lives as long as the process.
        let _ending = self.outputs.orders.send(order);
    }

    fn welcomed(&mut self, fds: Vec<OwnedFd>) -> Result<(), ChannelError> {
        let plugin = fds.into_iter().next().map(UnixListener::from);
        if let Some(plugin) = &plugin {
            let copy = plugin.try_clone().map_err(ChannelError::Kernel)?;
            self.store.plugin(copy);
        }
        if let Some(welcome) = self.outputs.welcome.take() {
            let _ending = welcome.send(plugin);
        }
        Ok(())
    }

    fn set_door(&mut self, door: OwnedFd) -> Result<(), ChannelError> {
        let copy = door.try_clone().map_err(ChannelError::Kernel)?;
        self.store.door(copy);
        let door = watched(Door::from_listener(door)).map_err(ChannelError::Kernel)?;
        self.door = Some(door);
        Ok(())
    }

    fn answered(&mut self, id: u64, answer: Answer, fds: Vec<OwnedFd>) {
        // One that is not known was answered by the former holder already.
        let Some(question) = self.open.remove(&id) else {
            return;
        };
        match (&question.reply, &answer) {
            (Reply::Open(pod, _), Answer::Opened { ipv6, .. }) => {
                if let Some(netns) = question.fds.first()
                    && let Err(error) = self.store.pod(pod, netns, &fds, *ipv6)
                {
                    tracing::warn!(%pod, %error, "the next holder will not get this pod from here");
                }
            }
            (Reply::Close(_), _) => {
                if let Ask::Pod { pod, .. } = &question.ask {
                    self.store.forget(pod);
                }
            }
            _ => {}
        }
        give(question.reply, answer, fds);
    }

    fn holder_hangs(&mut self) {
        self.hangs = true;
        tracing::error!(
            silence = ?SILENCE,
            "the holder hangs: connections are served on for as long as sockets are in stock, pods \
             that start must wait; restart the agent: kill its process if it does not end"
        );
        self.order(Order::HolderGone);
    }

    fn holder_lives(&mut self) {
        self.heard = Instant::now();
        if std::mem::take(&mut self.hangs) {
            tracing::info!("the holder gives signs of life again");
            self.order(Order::HolderBack);
            self.ask_again();
        }
    }

    fn holder_is_gone(&mut self, error: &ChannelError) -> io::Result<()> {
        self.far = None;
        self.hangs = false;
        if self.door.is_none() {
            return Err(io::Error::other(error.to_string()));
        }
        tracing::error!(%error, "the holder is gone; connections are served on, new pods wait");
        self.order(Order::HolderGone);
        Ok(())
    }

    /// Lets a new holder take over, if one asks that we understand.
    async fn answer_at_the_door(&mut self) {
        while self.far.is_none() {
            let Some(door) = &self.door else { return };
            let adopted = match door.get_ref().accept() {
                Ok(None) => return,
                Ok(Some(socket)) => {
                    let channel = Channel::new(socket, SPOKEN.min);
                    timeout(HELLO, self.hand_over(channel)).await
                }
                Err(error) => Ok(Err(error)),
            };
            match adopted {
                Ok(Ok(far)) => {
                    self.far = Some(far);
                    self.heard = Instant::now();
                    tracing::info!("a new holder has taken over");
                    self.order(Order::HolderBack);
                    self.ask_again();
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "who asked at the holder's socket could not take over");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_) => tracing::warn!("who asked at the holder's socket said nothing"),
            }
        }
    }

    async fn hand_over(&self, channel: Channel) -> io::Result<AsyncFd<Channel>> {
        let mut far = watched(channel)?;
        let (spoken, build) = loop {
            match next::<FromSuccessor>(&mut far).await?.message {
                FromSuccessor::Hello { spoken, build } => break (spoken, build),
                FromSuccessor::Serving => {}
            }
        };
        let version = match SPOKEN.common(spoken) {
            Ok(version) => version,
            Err(mismatch) => {
                let why = mismatch.to_string();
                let refused = FromPredecessor::Refused { why: why.clone() };
                let _unheard = far.get_mut().send(&refused, Vec::new());
                return Err(io::Error::other(why));
            }
        };
        tracing::info!(build, version, "a holder asks for what is kept");
        let channel = far.get_mut();
        channel.set_version(version);
        let welcome = FromPredecessor::Welcome {
            version,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            orphan: Some(i32::try_from(std::process::id()).map_err(io::Error::other)?),
        };
        channel
            .send(&welcome, vec![node_agent_holder::own_descriptor()?])
            .map_err(io::Error::other)?;
        for (message, fds) in self.store.messages(version)? {
            channel.send(&message, fds).map_err(io::Error::other)?;
        }
        channel
            .send(&FromPredecessor::All, Vec::new())
            .map_err(io::Error::other)?;
        while far.get_ref().has_waiting() {
            far.writable().await?.clear_ready();
            far.get_mut().flush().map_err(io::Error::other)?;
        }
        Ok(far)
    }

    /// What was asked of the former holder and never answered.
    fn ask_again(&mut self) {
        self.open
            .retain(|_, question| !question.reply.is_abandoned());
        let open = std::mem::take(&mut self.open);
        let (open, strange): (BTreeMap<_, _>, BTreeMap<_, _>) = open
            .into_iter()
            .partition(|(_, question)| self.is_understood(question));
        for question in strange.into_values() {
            give(question.reply, too_old(), Vec::new());
        }
        for (id, question) in &open {
            if let Err(error) = self.send_question(*id, question) {
                // It is gone again, as the next look at it says too.
                tracing::warn!(%error, "cannot ask the new holder");
                break;
            }
        }
        self.open = open;
    }
}

/// The answer of a holder that does not know the question.
fn too_old() -> Answer {
    Answer::Failed {
        why: "the holder is of an earlier release and cannot do this; upgrade the agent".to_owned(),
        passing: false,
        unknown_pod: false,
    }
}

/// Resolves when there is something to read; never without a descriptor.
async fn readable<T: std::os::fd::AsRawFd>(fd: Option<&AsyncFd<T>>) -> io::Result<()> {
    match fd {
        Some(fd) => fd.readable().await.map(|mut ready| ready.clear_ready()),
        None => pending().await,
    }
}

async fn writable<T: std::os::fd::AsRawFd>(fd: Option<&AsyncFd<T>>) -> io::Result<()> {
    match fd {
        Some(fd) => fd.writable().await.map(|mut ready| ready.clear_ready()),
        None => pending().await,
    }
}

/// The next message; the caller bounds the wait.
async fn next<T: serde::de::DeserializeOwned>(
    far: &mut AsyncFd<Channel>,
) -> io::Result<Received<T>> {
    loop {
        if let Some(received) = far.get_mut().receive().map_err(io::Error::other)? {
            return Ok(received);
        }
        far.readable().await?.clear_ready();
    }
}

/// A descriptor that the event loop watches. Both types that are watched here own theirs for as
/// long as they live.
#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types that lie about their descriptor"
)]
fn watched<T: std::os::fd::AsRawFd>(fd: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(fd)
}
