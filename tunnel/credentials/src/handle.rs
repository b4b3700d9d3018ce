use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tunnel_model::Identity;

use crate::authority::CertificateAuthority;
use crate::certificate::{
    Certificate, CertificateState, CertificateSummary, RootSummary, pem_text,
};
use crate::owner::{Command, Directory, Owner};
use crate::settings::CredentialSettings;
use crate::slot::Published;

/// A handle to the task that owns all certificates of this node. Clones are cheap.
#[derive(Clone)]
pub struct Credentials {
    commands: mpsc::UnboundedSender<Command>,
    directory: Arc<Directory>,
    settings: Arc<CredentialSettings>,
}

impl Credentials {
    /// Makes the handle and the owner, a future for the caller to spawn. The owner ends, and its
    /// keys with it, when the last handle is gone.
    pub fn start(
        settings: CredentialSettings,
        ca: Arc<dyn CertificateAuthority>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (directory, settings) = (Arc::<Directory>::default(), Arc::new(settings));
        let owner = Owner::new(settings.clone(), ca, directory.clone(), receiver);
        (
            Self {
                commands,
                directory,
                settings,
            },
            owner.run(),
        )
    }

    /// The identity's certificate, waiting for as long as it takes. Dropping the future stops the
    /// waiting and nothing else. Any number of callers wait for one request.
    ///
    /// The caller bounds the wait and then asks [`last_error`](Self::last_error) for the reason.
    pub async fn certificate(&self, id: &Identity) -> Arc<Certificate> {
        if let Some(certificate) = self.current(id) {
            return certificate;
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Hold {
            id: id.clone(),
            reply: Some(reply),
        });
        let _interest = Interest {
            credentials: self,
            id,
        };
        let Ok(mut published) = answer.await else {
            return never().await;
        };
        loop {
            if let Some(certificate) = self.usable(&published.borrow_and_update()) {
                return certificate;
            }
            // What somebody holds is not forgotten: the sender only goes with the owner.
            if published.changed().await.is_err() {
                return never().await;
            }
        }
    }

    /// The identity's certificate if there is one that has not expired, without waiting.
    #[must_use]
    pub fn current(&self, id: &Identity) -> Option<Arc<Certificate>> {
        self.directory
            .see(id, |published| self.usable(published))
            .flatten()
    }

    /// Why the latest request for this identity failed; `None` once one succeeded.
    #[must_use]
    pub fn last_error(&self, id: &Identity) -> Option<String> {
        if self.commands.is_closed() {
            return Some("the task that obtains certificates has ended".to_owned());
        }
        self.directory
            .see(id, |published| published.last_error.clone())
            .flatten()
    }

    /// Registers an interest: from now until as many calls of [`release`](Self::release), the
    /// certificate is obtained and kept renewed.
    pub fn hold(&self, id: Identity) {
        self.send(Command::Hold { id, reply: None });
    }

    /// Takes one interest back. The last one lets the certificate be forgotten after a while.
    pub fn release(&self, id: &Identity) {
        self.send(Command::Release { id: id.clone() });
    }

    /// The public part of everything there is, in order of identity.
    #[must_use]
    pub fn summaries(&self) -> Vec<CertificateSummary> {
        let mut all = self
            .directory
            .see_all(|id, published| self.summary(id, published));
        all.sort_by(|a, b| a.identity.cmp(&b.identity));
        all
    }

    /// A number that grows with each change of what [`summaries`](Self::summaries) shows.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.directory.revision()
    }

    /// Waits until every earlier [`hold`](Self::hold) through this handle shows in the summaries.
    pub async fn catch_up(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(Command::CatchUp { reply });
        // An owner that has ended carries nothing out any more.
        let _ended = answer.await;
    }

    /// Says that the authority is believed to answer now: pauses after failures are over.
    pub fn ask_again(&self) {
        self.send(Command::AskAgain);
    }

    fn summary(&self, id: &Identity, published: &Published) -> CertificateSummary {
        let had = published.certificate.as_deref();
        let state = match had {
            Some(had) if had.usable_at(self.settings.clock.now()) => CertificateState::Valid,
            Some(_) => CertificateState::Expired,
            None if published.expired => CertificateState::Expired,
            None => CertificateState::Pending,
        };
        CertificateSummary {
            identity: id.clone(),
            state,
            since: published.since,
            last_error: published.last_error.clone(),
            chain_pem: had.map(|had| pem_text(&had.chain)).unwrap_or_default(),
            roots: had
                .into_iter()
                .flat_map(|had| had.roots.iter())
                .map(RootSummary::of)
                .collect(),
            serial: had.map(|had| had.serial.clone()),
            not_before: had.map(|had| had.not_before),
            not_after: had.map(|had| had.not_after),
        }
    }

    fn usable(&self, published: &Published) -> Option<Arc<Certificate>> {
        let now = self.settings.clock.now();
        published
            .certificate
            .as_ref()
            .filter(|had| had.usable_at(now))
            .cloned()
    }

    fn send(&self, command: Command) {
        // An owner that has ended is reported by `last_error`, where the question is asked.
        let _ended = self.commands.send(command);
    }
}

/// Keeps an identity held for as long as somebody waits for its certificate.
struct Interest<'a> {
    credentials: &'a Credentials,
    id: &'a Identity,
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        self.credentials.release(self.id);
    }
}

/// The owner is gone and nothing will come; the caller's own limit ends the wait.
async fn never<T>() -> T {
    std::future::pending().await
}
