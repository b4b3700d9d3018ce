//! What the agent does of its own accord, as one thing that can be paused: while a successor takes
//! over, nobody may be enrolled or forgotten here, because the successor has read the table.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Semaphore>);

/// Something is being done; pausing waits for its end.
#[derive(Debug)]
pub(crate) struct Acting(#[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

/// Nothing is done until this is dropped.
#[derive(Debug)]
pub(crate) struct Paused(#[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL as usize)))
    }
}

impl Activity {
    /// Waits until something may be done.
    pub(crate) async fn act(&self) -> Acting {
        // The semaphore is never closed, so the permit is always given.
        Acting(Arc::clone(&self.0).acquire_owned().await.ok())
    }

    /// Waits for what is being done, and lets nothing more begin.
    pub(crate) async fn pause(&self) -> Paused {
        Paused(Arc::clone(&self.0).acquire_many_owned(ALL).await.ok())
    }
}

/// More than there are tasks that act.
const ALL: u32 = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn pausing_waits_for_what_is_being_done_and_holds_up_the_rest() {
        let activity = Activity::default();
        let acting = activity.act().await;
        let theirs = activity.clone();
        let pausing = tokio::spawn(async move { theirs.pause().await });
        tokio::task::yield_now().await;
        assert!(!pausing.is_finished());
        drop(acting);
        let paused = pausing.await.unwrap();
        let theirs = activity.clone();
        let late = tokio::spawn(async move { theirs.act().await });
        tokio::task::yield_now().await;
        assert!(!late.is_finished());
        drop(paused);
        late.await.unwrap();
    }
}
