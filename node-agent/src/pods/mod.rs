//! The pod table and its one owner.
//!
//! Commands go in, outcomes come out; everybody else sees an immutable view. Work on one pod is
//! done by whoever holds the pod's [`Turn`], so an ADD and a DEL of the same pod cannot
//! interleave, while different pods do not wait for each other.

mod owner;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use node_agent_enrollment::{
    AttachmentKey, Begun, Entry, Event, PodKey, PodRecord, PodRef, Recorded, Stage, TableError,
};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use turns::Turn;

use crate::state::{Generation, StateWriter};
use owner::{Command, Owner};

/// What others see of the table.
pub(crate) type View = Arc<Vec<Entry>>;

/// Why pods are not where they belong, by name, for the operator.
pub(crate) type Troubles = Arc<BTreeMap<String, String>>;

/// A transition that took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advanced {
    /// Where the attachment is now.
    pub(crate) stage: Stage,
    /// The state that holds the transition; wait for it to be durable where that matters.
    pub(crate) generation: Generation,
}

/// A command that could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PodsError {
    /// It does not fit the table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The owner is gone because the agent stops.
    #[error("the agent is stopping")]
    Stopping,
}

/// Handle to the owner of the pod table.
#[derive(Debug, Clone)]
pub(crate) struct Pods {
    commands: mpsc::UnboundedSender<Command>,
    view: watch::Receiver<View>,
    troubles: watch::Sender<Troubles>,
}

impl Pods {
    /// Makes the table; the returned future is its owner, to be spawned, and ends when the last
    /// handle and the last turn are gone.
    pub(crate) fn start(writer: StateWriter) -> (Self, impl Future<Output = ()>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (publish, view) = watch::channel(View::default());
        let owner = Owner::new(inbox, commands.downgrade(), publish, writer);
        let troubles = watch::Sender::default();
        let pods = Self {
            commands,
            view,
            troubles,
        };
        (pods, owner.run())
    }

    /// Waits for the turn to work on a pod. `pod` is what the caller believes the attachment
    /// belongs to; the table knows better if it knows the attachment.
    pub(crate) async fn turn(
        &self,
        attachment: AttachmentKey,
        pod: Option<PodKey>,
    ) -> Result<Turn, PodsError> {
        self.ask(|reply| Command::Turn {
            attachment,
            pod,
            reply,
        })
        .await
    }

    /// The state that holds everything that has happened so far.
    pub(crate) async fn latest(&self) -> Result<Generation, PodsError> {
        self.ask(|reply| Command::Latest { reply }).await
    }

    /// Enters an attachment that the runtime adds.
    pub(crate) async fn begin(&self, record: Arc<PodRecord>) -> Result<Begun, PodsError> {
        self.ask(|reply| Command::Begin { record, reply }).await
    }

    /// Enters an attachment of a pod that runs already.
    pub(crate) async fn begin_joining(&self, record: Arc<PodRecord>) -> Result<Begun, PodsError> {
        self.ask(|reply| Command::BeginJoining { record, reply })
            .await
    }

    /// Notes that another plan is in force for an attachment.
    pub(crate) async fn replan(
        &self,
        attachment: &AttachmentKey,
        plan: serde_json::Value,
    ) -> Result<Arc<PodRecord>, PodsError> {
        let attachment = attachment.clone();
        Ok(self
            .ask(|reply| Command::Replan {
                attachment,
                plan,
                reply,
            })
            .await??)
    }

    /// Enters an attachment that was there before a restart.
    pub(crate) async fn begin_restoring(&self, recorded: Recorded) -> Result<Begun, PodsError> {
        self.ask(|reply| Command::BeginRestoring { recorded, reply })
            .await
    }

    /// Moves an attachment on.
    pub(crate) async fn advance(
        &self,
        attachment: &AttachmentKey,
        event: Event,
    ) -> Result<Advanced, PodsError> {
        let attachment = attachment.clone();
        Ok(self
            .ask(|reply| Command::Advance {
                attachment,
                event,
                reply,
            })
            .await??)
    }

    /// One attachment, if it is in the table.
    pub(crate) async fn get(&self, attachment: &AttachmentKey) -> Result<Option<Entry>, PodsError> {
        let attachment = attachment.clone();
        self.ask(|reply| Command::Get { attachment, reply }).await
    }

    /// The attachment of this pod that was found running, if it is under an assumed name.
    pub(crate) async fn assumed_of(
        &self,
        pod: PodRef,
        ifname: String,
    ) -> Result<Option<Entry>, PodsError> {
        self.ask(|reply| Command::AssumedOf { pod, ifname, reply })
            .await
    }

    /// Attachments that the runtime no longer has, given all that it has.
    pub(crate) async fn missing_from(
        &self,
        valid: Vec<AttachmentKey>,
    ) -> Result<Vec<AttachmentKey>, PodsError> {
        self.ask(|reply| Command::MissingFrom { valid, reply })
            .await
    }

    /// The table as it was a moment ago.
    pub(crate) fn view(&self) -> View {
        Arc::clone(&self.view.borrow())
    }

    /// Tells when the table changes.
    pub(crate) fn changes(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Why pods are not where they belong.
    pub(crate) fn troubles(&self) -> Troubles {
        Arc::clone(&self.troubles.borrow())
    }

    /// Says so; only who takes running pods in and out may.
    pub(crate) fn tell_troubles(&self, troubles: BTreeMap<String, String>) {
        self.troubles.send_replace(Arc::new(troubles));
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PodsError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .map_err(|_| PodsError::Stopping)?;
        answer.await.map_err(|_| PodsError::Stopping)
    }
}
