//! Which roots are believed while an authority changes its own: bookkeeping without waiting.
//!
//! Roots come with each certificate. Beside that, authorities publish them in a file, which changes
//! on all nodes within a minute or two of each other, while certificates live for hours. So:
//!
//! ```text
//!   the file names exactly what came with a certificate: it is where this authority publishes
//!     │ it changes
//!     ▼
//!   new ones are believed at once ── pause, until other nodes do too ──► certificates follow
//!   old ones are believed on      ── until those of all nodes have followed ──► forgotten
//! ```
//!
//! A file that holds something else, such as a company's bundle, is not believed for workloads.

use std::collections::HashSet;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Roots without an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootSet(HashSet<CertificateDer<'static>>);

impl RootSet {
    pub(crate) fn of(roots: &[CertificateDer<'static>]) -> Self {
        Self(roots.iter().cloned().collect())
    }

    /// Reads a bundle; all of it can be used, or nothing is.
    pub(crate) fn from_pem(text: &str) -> Result<Self, String> {
        let mut roots = HashSet::new();
        for root in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let root = root.map_err(|why| why.to_string())?;
            webpki::anchor_from_trusted_cert(&root).map_err(|why| why.to_string())?;
            roots.insert(root);
        }
        if roots.is_empty() {
            return Err("it holds no certificate".to_owned());
        }
        Ok(Self(roots))
    }

    /// Their serial numbers, as dumps have them.
    pub(crate) fn serials(&self) -> String {
        let serial = |root: &CertificateDer<'_>| {
            X509Certificate::from_der(root).map_or_else(
                |_| "?".to_owned(),
                |(_, parsed)| parsed.tbs_certificate.serial.to_string(),
            )
        };
        let mut all: Vec<String> = self.0.iter().map(serial).collect();
        all.sort_unstable();
        all.join(", ")
    }
}

/// How many pauses roots that are no longer published are believed on: the last certificate has
/// followed after two.
const FORMER: u32 = 5;

/// What is published, and what is believed.
#[derive(Debug)]
pub(crate) struct Roots {
    pause: Duration,
    file: Option<RootSet>,
    /// Whether the file named exactly what came with a certificate.
    published: bool,
    /// No longer published, and until when they are believed.
    former: Vec<(CertificateDer<'static>, Instant)>,
}

impl Roots {
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            pause,
            file: None,
            published: false,
            former: Vec::new(),
        }
    }

    /// How long other nodes are given to hear of new roots.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    /// For how long roots are believed that are no longer published.
    pub(crate) fn former_for(&self) -> Duration {
        self.pause * FORMER
    }

    /// The file holds these now; `came` says that a certificate came with exactly these. Whether
    /// certificates are to follow.
    pub(crate) fn read(&mut self, set: RootSet, came: bool, now: Instant) -> bool {
        let before = self.file.replace(set);
        if !self.published {
            self.published = came;
            return false;
        }
        let (Some(before), Some(file)) = (before, &self.file) else {
            return false;
        };
        let until = now + self.pause * FORMER;
        self.former.retain(|(root, _)| !file.0.contains(root));
        let gone = before.0.difference(&file.0);
        self.former.extend(gone.cloned().map(|root| (root, until)));
        before != *file
    }

    /// A certificate came with these. Whether they are those that are published, as far as anything
    /// is known of that.
    pub(crate) fn came(&mut self, roots: &RootSet) -> bool {
        let same = self.file.as_ref() == Some(roots);
        self.published |= same;
        same || !self.published
    }

    /// Lets time pass; says whether fewer are believed now.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        let before = self.former.len();
        self.former.retain(|(_, until)| now < *until);
        self.former.len() != before
    }

    /// How long nothing will happen by itself.
    pub(crate) fn sleeps(&self, now: Instant) -> Option<Duration> {
        let ends = self.former.iter().map(|(_, until)| *until).min()?;
        Some(ends.saturating_duration_since(now))
    }

    /// All that are believed, whatever a certificate came with.
    pub(crate) fn believed(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let file = self.file.as_ref().filter(|_| self.published);
        let file = file.into_iter().flat_map(|file| &file.0);
        file.chain(self.former.iter().map(|(root, _)| root))
    }
}
