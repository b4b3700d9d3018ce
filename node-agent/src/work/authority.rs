//! The development authority. Its files may be away when the worker starts: then certificates are
//! late, traffic waits for them, and all else goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use node_agent_admin::PendingTask;
use tokio::sync::watch;
use tunnel_credentials::{
    CaError, CertificateAuthority, Credentials, DevelopmentCa, Signing, SigningRequest,
};

/// How often the files are looked for.
const RETRY: Duration = Duration::from_secs(1);

/// The authority, or why there is none yet.
type Found = Result<Arc<DevelopmentCa>, String>;

/// Signs once its files can be used, and until then says why not.
pub(super) struct LateAuthority(watch::Receiver<Found>);

/// Looks for the files of an authority.
pub(super) struct Search {
    certificate: PathBuf,
    key: PathBuf,
    found: watch::Sender<Found>,
}

impl Search {
    /// Looks once. The authority goes to the credentials, and the search on if need be.
    pub(super) fn begin(certificate: PathBuf, key: PathBuf) -> (Self, LateAuthority) {
        let (found, finding) = watch::channel(look(&certificate, &key));
        let search = Self {
            certificate,
            key,
            found,
        };
        (search, LateAuthority(finding))
    }

    /// Looks until they can be used; then whoever was told "not yet" is served, and `pending` done.
    pub(super) async fn go_on(self, credentials: Credentials, pending: PendingTask) {
        let mut said = String::new();
        while let Some(why) = self.problem() {
            // The same every second would only bury the rest of the log.
            if why != said {
                tracing::error!(
                    error = why,
                    "the certificate authority's files cannot be used; no certificate is issued, \
                     traffic waits, no pod can start"
                );
                said = why;
            }
            tokio::time::sleep(RETRY).await;
            let now = look(&self.certificate, &self.key);
            self.found.send_modify(|found| *found = now);
        }
        tracing::warn!(
            "certificates come from the development authority: who reads its key can impersonate \
             every pod"
        );
        credentials.ask_again();
        pending.done();
    }

    fn problem(&self) -> Option<String> {
        self.found.borrow().as_ref().err().cloned()
    }
}

fn look(certificate: &std::path::Path, key: &std::path::Path) -> Found {
    DevelopmentCa::load(certificate, key)
        .map(Arc::new)
        .map_err(|why| why.to_string())
}

impl CertificateAuthority for LateAuthority {
    fn sign(&self, request: SigningRequest) -> Signing<'_> {
        let found = self.0.borrow().clone();
        Box::pin(async move {
            match found {
                Ok(authority) => authority.sign(request).await,
                Err(why) => Err(CaError::Unreachable(why)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use node_agent_admin::Readiness;
    use tunnel_credentials::CredentialSettings;
    use tunnel_model::Identity;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_that_are_away_at_the_start_are_used_once_they_are_back() {
        let root = tempfile::tempdir().unwrap();
        let [cert, key, away] = ["ca.pem", "ca.key", "away"].map(|name| root.path().join(name));
        DevelopmentCa::create(&cert, &key).unwrap();
        std::fs::rename(&key, &away).unwrap();
        let (search, authority) = Search::begin(cert, key.clone());
        let settings = CredentialSettings::default();
        let (credentials, owner) = Credentials::start(settings, Arc::new(authority));
        tokio::spawn(owner);
        let readiness = Readiness::default();
        let pending = readiness.task("certificate authority");
        tokio::spawn(search.go_on(credentials.clone(), pending));
        let web = Identity::new("cluster.local", "shop", "web").unwrap();
        credentials.hold(web.clone());

        // Long enough for pauses of minutes.
        tokio::time::sleep(Duration::from_secs(600)).await;
        let why = credentials.last_error(&web).unwrap();
        assert!(why.contains("cannot be reached: cannot read"), "{why}");
        assert!(why.contains("ca.key"), "{why}");
        assert_eq!(readiness.pending(), ["certificate authority"]);

        std::fs::rename(&away, &key).unwrap();
        let got = tokio::time::timeout(2 * RETRY, credentials.certificate(&web)).await;
        assert_eq!(got.unwrap().identity, web);
        assert!(readiness.is_ready());
    }
}
