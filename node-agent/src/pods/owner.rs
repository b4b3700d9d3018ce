//! The task that owns the pod table.

use std::sync::Arc;

use node_agent_enrollment::{
    AttachmentKey, Begun, Entry, Event, PodKey, PodRecord, PodRef, Recorded, Table, TableError,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::turns::{Lane, Turn, Turns};
use super::{Advanced, View};
use crate::state::{Generation, StateWriter};

/// What can be asked of the owner.
#[derive(Debug)]
pub(crate) enum Command {
    Turn {
        attachment: AttachmentKey,
        pod: Option<PodKey>,
        reply: oneshot::Sender<Turn>,
    },
    EndTurn {
        lane: Lane,
    },
    Begin {
        record: Arc<PodRecord>,
        reply: oneshot::Sender<Begun>,
    },
    BeginJoining {
        record: Arc<PodRecord>,
        reply: oneshot::Sender<Begun>,
    },
    Replan {
        attachment: AttachmentKey,
        plan: serde_json::Value,
        reply: oneshot::Sender<Result<Arc<PodRecord>, TableError>>,
    },
    BeginRestoring {
        recorded: Recorded,
        reply: oneshot::Sender<Begun>,
    },
    Advance {
        attachment: AttachmentKey,
        event: Event,
        reply: oneshot::Sender<Result<Advanced, TableError>>,
    },
    Get {
        attachment: AttachmentKey,
        reply: oneshot::Sender<Option<Entry>>,
    },
    AssumedOf {
        pod: PodRef,
        ifname: String,
        reply: oneshot::Sender<Option<Entry>>,
    },
    MissingFrom {
        valid: Vec<AttachmentKey>,
        reply: oneshot::Sender<Vec<AttachmentKey>>,
    },
    Latest {
        reply: oneshot::Sender<Generation>,
    },
}

pub(super) struct Owner {
    inbox: mpsc::UnboundedReceiver<Command>,
    /// Weak, so that the owner ends when nobody can ask it anything any more.
    commands: mpsc::WeakUnboundedSender<Command>,
    publish: watch::Sender<View>,
    writer: StateWriter,
    table: Table,
    turns: Turns,
    /// The number of the state that the changes since the last submission belong to.
    next: Generation,
    changed: bool,
    recorded_changed: bool,
}

impl Owner {
    pub(super) fn new(
        inbox: mpsc::UnboundedReceiver<Command>,
        commands: mpsc::WeakUnboundedSender<Command>,
        publish: watch::Sender<View>,
        writer: StateWriter,
    ) -> Self {
        Self {
            inbox,
            commands,
            publish,
            writer,
            table: Table::default(),
            turns: Turns::default(),
            next: Generation(1),
            changed: false,
            recorded_changed: false,
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(command) = self.inbox.recv().await {
            self.obey(command);
            // Whatever else has arrived shares one view and one state with it.
            while let Ok(command) = self.inbox.try_recv() {
                self.obey(command);
            }
            self.publish();
        }
    }

    fn obey(&mut self, command: Command) {
        // An asker that went away loses its answer, never the effect.
        match command {
            Command::Turn {
                attachment,
                pod,
                reply,
            } => self.give_turn(attachment, pod, reply),
            Command::EndTurn { lane } => {
                if let Some(commands) = self.commands.upgrade() {
                    self.turns.end(lane, commands);
                }
            }
            Command::Begin { record, reply } => {
                let begun = self.table.begin(record);
                self.note(&begun);
                let _asker_gone = reply.send(begun);
            }
            Command::BeginJoining { record, reply } => {
                let begun = self.table.begin_joining(record);
                self.note(&begun);
                let _asker_gone = reply.send(begun);
            }
            Command::Replan {
                attachment,
                plan,
                reply,
            } => {
                let _asker_gone = reply.send(self.replan(&attachment, plan));
            }
            Command::BeginRestoring { recorded, reply } => {
                let begun = self.table.begin_restoring(recorded);
                self.note(&begun);
                let _asker_gone = reply.send(begun);
            }
            Command::Advance {
                attachment,
                event,
                reply,
            } => {
                let _asker_gone = reply.send(self.advance(&attachment, event));
            }
            Command::Get { attachment, reply } => {
                let _asker_gone = reply.send(self.table.get(&attachment).cloned());
            }
            Command::Latest { reply } => {
                let _asker_gone = reply.send(self.latest());
            }
            Command::AssumedOf { pod, ifname, reply } => {
                let _asker_gone = reply.send(self.table.assumed_of(&pod, &ifname).cloned());
            }
            Command::MissingFrom { valid, reply } => {
                let _asker_gone = reply.send(self.table.missing_from(&valid));
            }
        }
    }

    /// What is restored is on record already; what is added is not until it gets there.
    fn note(&mut self, begun: &Begun) {
        self.changed = true;
        let replaced = begun.replaced.as_ref();
        self.recorded_changed |= replaced.is_some_and(|entry| entry.stage.is_recorded());
    }

    fn give_turn(
        &mut self,
        attachment: AttachmentKey,
        pod: Option<PodKey>,
        reply: oneshot::Sender<Turn>,
    ) {
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        let known = self
            .table
            .get(&attachment)
            .map(|entry| entry.record.pod.key());
        let lane = match known {
            Some(pod) => Lane::Pod(pod),
            None => self.turns.lane(attachment, pod),
        };
        self.turns.request(lane, reply, commands);
    }

    fn advance(&mut self, key: &AttachmentKey, event: Event) -> Result<Advanced, TableError> {
        let recorded = |table: &Table| {
            let entry = table.get(key)?;
            let recorded = (entry.admitted, entry.stage.phase());
            entry.stage.is_recorded().then_some(recorded)
        };
        let before = recorded(&self.table);
        let stage = self.table.advance(key, event)?;
        self.changed = true;
        self.recorded_changed |= before != recorded(&self.table);
        let generation = self.latest();
        Ok(Advanced { stage, generation })
    }

    /// The state that holds everything that has happened. What is submitted already holds a
    /// transition that changes nothing there.
    fn latest(&self) -> Generation {
        if self.recorded_changed {
            self.next
        } else {
            Generation(self.next.0 - 1)
        }
    }

    fn replan(
        &mut self,
        key: &AttachmentKey,
        plan: serde_json::Value,
    ) -> Result<Arc<PodRecord>, TableError> {
        let record = self.table.replan(key, plan)?;
        let recorded = self.table.get(key).is_some_and(|e| e.stage.is_recorded());
        self.changed = true;
        self.recorded_changed |= recorded;
        Ok(record)
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.publish
                .send_replace(Arc::new(self.table.entries().cloned().collect()));
        }
        if std::mem::take(&mut self.recorded_changed) {
            self.writer.submit(self.next, self.table.snapshot());
            self.next = Generation(self.next.0 + 1);
        }
    }
}
