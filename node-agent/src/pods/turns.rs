//! Whose turn it is to work on a pod.

use std::collections::{HashMap, VecDeque};

use node_agent_enrollment::{AttachmentKey, PodKey};
use tokio::sync::{mpsc, oneshot, watch};

use super::owner::Command;

/// What work is serialised by: the pod, or the attachment alone where the pod is not known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// All attachments of a pod.
    Pod(PodKey),
    /// An attachment nobody can assign to a pod.
    Attachment(AttachmentKey),
}

/// The right to work on one pod; passes to the next in line when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    lane: Lane,
    commands: mpsc::UnboundedSender<Command>,
    /// How many wait for it.
    wanted: watch::Receiver<usize>,
}

impl Turn {
    /// Waits until somebody else wants to work on the pod.
    pub(crate) async fn wanted(&self) {
        let mut wanted = self.wanted.clone();
        if wanted.wait_for(|count| *count > 0).await.is_err() {
            // The owner is gone, and with it everybody who could ask.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Without an owner there is nobody left to wait for a turn.
        let _owner_gone = self.commands.send(Command::EndTurn {
            lane: self.lane.clone(),
        });
    }
}

/// The lines of waiters; a lane is listed while somebody has its turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: HashMap<Lane, Line>,
    /// Attachments whose pod is known only from the request that waits or works for it.
    pods: HashMap<AttachmentKey, PodKey>,
}

/// Those who wait for one lane.
#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<oneshot::Sender<Turn>>,
    count: watch::Sender<usize>,
}

impl Line {
    fn turn(&self, lane: Lane, commands: mpsc::UnboundedSender<Command>) -> Turn {
        self.count.send_replace(self.waiters.len());
        Turn {
            lane,
            commands,
            wanted: self.count.subscribe(),
        }
    }
}

impl Turns {
    /// The lane of an attachment whose pod the table does not know.
    pub(super) fn lane(&mut self, attachment: AttachmentKey, pod: Option<PodKey>) -> Lane {
        match (self.pods.get(&attachment), pod) {
            (Some(known), _) => Lane::Pod(known.clone()),
            (None, Some(pod)) => {
                self.pods.insert(attachment, pod.clone());
                Lane::Pod(pod)
            }
            (None, None) => Lane::Attachment(attachment),
        }
    }

    pub(super) fn request(
        &mut self,
        lane: Lane,
        reply: oneshot::Sender<Turn>,
        commands: mpsc::UnboundedSender<Command>,
    ) {
        if let Some(line) = self.waiting.get_mut(&lane) {
            line.waiters.push_back(reply);
            line.count.send_replace(line.waiters.len());
            return;
        }
        let line = self.waiting.entry(lane.clone()).or_default();
        // If the asker is gone, the turn is dropped here and comes back as EndTurn.
        drop(reply.send(line.turn(lane, commands)));
    }

    pub(super) fn end(&mut self, lane: Lane, commands: mpsc::UnboundedSender<Command>) {
        let Some(line) = self.waiting.get_mut(&lane) else {
            return;
        };
        if let Some(next) = line.waiters.pop_front() {
            drop(next.send(line.turn(lane, commands)));
            return;
        }
        self.waiting.remove(&lane);
        if let Lane::Pod(pod) = &lane {
            self.pods.retain(|_, known| known != pod);
        }
    }
}
