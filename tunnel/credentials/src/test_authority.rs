//! An authority that signs anything, for tests of how the wrong things are received.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests, where a failure of the library is best seen as a panic"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use rustls::crypto::SupportedKxGroup;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use tunnel_model::Identity;

use crate::answer::{self, Asked};
use crate::authority::{CertificateAuthority, SignedChain, Signing, SigningRequest};
use crate::certificate::{Certificate, pem_text};
use crate::clock::{SystemWallClock, WallClock};
use crate::issue::{LeafFacts, Signer, read_request};
use crate::key::Key;
use crate::tls;
use crate::trust::Believed;

mod credulous;

pub use credulous::TestCertificate;
#[cfg(test)]
pub(crate) use credulous::believe_anything;

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a test wants in a certificate.
#[derive(Debug, Clone)]
pub struct LeafSpec {
    /// Its URI names, written as they are.
    pub uris: Vec<String>,
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last moment.
    pub not_after: SystemTime,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Whether servers may use it.
    pub server_auth: bool,
    /// Whether clients may use it.
    pub client_auth: bool,
}

impl LeafSpec {
    /// A proper certificate for a name, an hour from now.
    #[must_use]
    pub fn named(uri: &str) -> Self {
        Self::named_at(uri, SystemTime::now())
    }

    /// The same, by another clock.
    #[must_use]
    pub fn named_at(uri: &str, now: SystemTime) -> Self {
        Self {
            uris: vec![uri.to_owned()],
            not_before: now - Duration::from_secs(60),
            not_after: now + HOUR,
            is_ca: false,
            server_auth: true,
            client_auth: true,
        }
    }

    /// Makes it one that expired a minute ago.
    #[must_use]
    pub fn expired(mut self) -> Self {
        let end = self.not_before;
        self.not_before = end - HOUR;
        self.not_after = end;
        self
    }

    fn facts(&self) -> LeafFacts<'_> {
        LeafFacts {
            uris: &self.uris,
            not_before: self.not_before,
            not_after: self.not_after,
            is_ca: self.is_ca,
            server_auth: self.server_auth,
            client_auth: self.client_auth,
        }
    }
}

/// An authority for tests.
pub struct TestAuthority {
    signer: Signer,
    between: Vec<CertificateDer<'static>>,
    root: CertificateDer<'static>,
    clock: Arc<dyn WallClock>,
}

impl TestAuthority {
    /// A new root.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with_clock(name, Arc::new(SystemWallClock))
    }

    /// A new root with its own idea of the time.
    #[must_use]
    pub fn with_clock(name: &str, clock: Arc<dyn WallClock>) -> Self {
        let key = KeyPair::generate().unwrap();
        let now = clock.now();
        let signer = Signer::self_signed(key, name, now - YEAR, now + YEAR).unwrap();
        let root = signer.der.clone();
        Self {
            signer,
            between: Vec::new(),
            root,
            clock,
        }
    }

    /// The authority whose files these are, to sign wrong things in a real authority's name.
    #[must_use]
    pub fn from_files(certificate: &Path, key: &Path) -> Self {
        let root = CertificateDer::from_pem_file(certificate).unwrap();
        let key = KeyPair::from_pem(&std::fs::read_to_string(key).unwrap()).unwrap();
        let signer = Signer::new(root.clone(), key).unwrap();
        Self {
            signer,
            between: Vec::new(),
            root,
            clock: Arc::new(SystemWallClock),
        }
    }

    /// An authority below this one.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let now = self.clock.now();
        let signer = self
            .signer
            .intermediate(key, name, now - YEAR, now + YEAR)
            .unwrap();
        let mut between = vec![signer.der.clone()];
        between.extend(self.between.iter().cloned());
        Self {
            signer,
            between,
            root: self.root.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> CertificateDer<'static> {
        self.root.clone()
    }

    /// The root, PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        pem_text(std::slice::from_ref(&self.root))
    }

    /// A certificate with a new key.
    #[must_use]
    pub fn issue(&self, spec: &LeafSpec) -> TestCertificate {
        let key = KeyPair::generate().unwrap();
        let leaf = self.signer.issue(&spec.facts(), &key).unwrap();
        TestCertificate {
            chain: self.chain(leaf),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            key_pem: key.serialize_pem(),
        }
    }

    /// A certificate for the key of a request, whatever the request names.
    #[must_use]
    pub fn answer(&self, csr_pem: &str, spec: &LeafSpec) -> SignedChain {
        let request = read_request(csr_pem).unwrap();
        let leaf = self
            .signer
            .issue(&spec.facts(), &request.public_key)
            .unwrap();
        SignedChain {
            chain: self.chain(leaf),
            roots: vec![self.root()],
        }
    }

    /// A workload's certificate as the owner task would make it, without the task.
    #[must_use]
    pub fn certificate(&self, identity: &Identity) -> Certificate {
        self.certificate_preferring(identity, tls::KEY_EXCHANGE)
    }

    /// The same with other key exchanges, the preferred first.
    #[must_use]
    pub fn certificate_preferring(
        &self,
        identity: &Identity,
        key_exchange: &[&'static dyn SupportedKxGroup],
    ) -> Certificate {
        self.certificate_with(identity, key_exchange, &Arc::default())
    }

    /// The same with more roots that are believed.
    #[cfg(test)]
    pub(crate) fn certificate_believing(
        &self,
        identity: &Identity,
        believed: &Arc<Believed>,
    ) -> Certificate {
        self.certificate_with(identity, tls::KEY_EXCHANGE, believed)
    }

    fn certificate_with(
        &self,
        identity: &Identity,
        key_exchange: &[&'static dyn SupportedKxGroup],
        believed: &Arc<Believed>,
    ) -> Certificate {
        let key = Key::generate().unwrap();
        let now = self.clock.now();
        let spec = LeafSpec::named_at(identity.as_str(), now);
        let answer = self.answer(&key.signing_request(identity).unwrap(), &spec);
        let public_key_info = &key.public_key_info();
        let asked = Asked {
            identity,
            public_key_info,
            now,
            skew: Duration::ZERO,
        };
        let accepted = answer::check(answer, &asked).unwrap();
        let provider = tls::provider(key_exchange);
        tls::certificate_with(&provider, accepted, key, believed, &self.clock).unwrap()
    }

    fn chain(&self, leaf: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        let mut chain = vec![leaf];
        chain.extend(self.between.iter().cloned());
        chain
    }
}

impl CertificateAuthority for TestAuthority {
    fn sign(&self, request: SigningRequest) -> Signing<'_> {
        let now = self.clock.now();
        let mut spec = LeafSpec::named_at(request.identity.as_str(), now);
        spec.not_after = now + request.ttl;
        Box::pin(std::future::ready(Ok(self.answer(&request.csr_pem, &spec))))
    }
}
