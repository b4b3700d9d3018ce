//! Keeps the record: reads it at start, writes it as certificates come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tunnel_credentials::{CertificateState, CertificateSummary, Credentials};

use super::record::{Kept, Known, PublicPart};
use crate::activity::Activity;
use crate::state::{Document as _, StateDir, StateError};

/// What changes within this time is written together.
const TOGETHER: Duration = Duration::from_secs(1);
/// A record that could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// What former workers had and this one has not got anew, by identity.
type Had = BTreeMap<String, Known>;

/// Shows [`Had`] to others. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Former(watch::Receiver<Arc<Had>>);

impl Former {
    /// As it was a moment ago.
    pub(crate) fn now(&self) -> Arc<Had> {
        Arc::clone(&self.0.borrow())
    }
}

/// The record's one owner.
pub(crate) struct Keeper {
    directory: StateDir,
    /// What is on disk, as far as we know.
    written: Kept,
    former: watch::Sender<Arc<Had>>,
    said: Option<String>,
}

impl Keeper {
    /// Reads the record. One that cannot be read is set aside and said: nothing depends on it.
    pub(crate) fn load(directory: StateDir) -> (Self, Former) {
        let written = match directory.load::<Kept>() {
            Ok(loaded) => {
                loaded.complaints.iter().for_each(|why| say_useless(why));
                loaded.document
            }
            Err(error) => {
                say_useless(&error.to_string());
                Kept::empty()
            }
        };
        let had = written.certificates.iter().cloned();
        let had: Had = had.map(|one| (one.identity.clone(), one)).collect();
        let (former, shown) = watch::channel(Arc::new(had));
        let keeper = Self {
            directory,
            written,
            former,
            said: None,
        };
        (keeper, Former(shown))
    }

    /// Writes the record while it is polled and nobody pauses the agent's activity. Until
    /// `all_held` the identities of this node's pods are not all known, so nothing is forgotten.
    pub(crate) async fn run(
        mut self,
        credentials: Credentials,
        activity: Activity,
        all_held: impl Future<Output = ()>,
    ) {
        all_held.await;
        credentials.catch_up().await;
        let mut revision = credentials.revision();
        loop {
            revision.borrow_and_update();
            let acting = activity.act().await;
            let outcome = self.write(&credentials.summaries()).await;
            drop(acting);
            if self.is_written(outcome) {
                tokio::time::sleep(TOGETHER).await;
                if revision.changed().await.is_err() {
                    return;
                }
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn write(&mut self, summaries: &[CertificateSummary]) -> Result<(), StateError> {
        self.former.send_modify(|had| {
            Arc::make_mut(had).retain(|identity, _| {
                let mut ours = summaries.iter();
                ours.any(|one| one.identity.as_str() == identity && !is_anew(one))
            });
        });
        let next = merge(&self.written, summaries);
        if next == self.written {
            return Ok(());
        }
        let (directory, document) = (self.directory.clone(), next.clone());
        let store = move || {
            directory.store(&document)?;
            directory.flush::<Kept>()
        };
        // If it did not run, the worker is about to end.
        if let Ok(outcome) = tokio::task::spawn_blocking(store).await {
            outcome?;
            self.written = next;
        }
        Ok(())
    }

    /// Says each new reason why it was not, once: traffic goes on, only people see less.
    fn is_written(&mut self, outcome: Result<(), StateError>) -> bool {
        let why = outcome.err().map(|error| error.to_string());
        if let Some(error) = why.as_ref().filter(|_| why != self.said) {
            tracing::warn!(
                error,
                "the record of certificates cannot be written; after a restart of the worker it \
                 will be out of date"
            );
        }
        self.said = why;
        self.said.is_none()
    }
}

fn say_useless(error: &str) {
    tracing::warn!(
        error,
        "the record of certificates cannot be used; what former workers had is not known"
    );
}

/// Whether this worker has, or had, a certificate of its own.
fn is_anew(summary: &CertificateSummary) -> bool {
    summary.state != CertificateState::Pending
}

/// What is known after `summaries`, given what was known before. Identities that nobody here has
/// any more are forgotten.
pub(super) fn merge(before: &Kept, summaries: &[CertificateSummary]) -> Kept {
    let before: BTreeMap<&str, &Known> = before
        .certificates
        .iter()
        .map(|known| (known.identity.as_str(), known))
        .collect();
    let after = summaries.iter().map(|summary| {
        let known = before.get(summary.identity.as_str());
        let valid = summary.state == CertificateState::Valid;
        let earlier_error = known
            .filter(|_| !valid)
            .and_then(|known| known.last_error.clone());
        Known {
            identity: summary.identity.to_string(),
            certificate: PublicPart::of(summary)
                .or_else(|| known.and_then(|known| known.certificate.clone())),
            last_error: summary.last_error.clone().or(earlier_error),
        }
    });
    Kept::of(after.collect())
}
