use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::Error;
use rustls_pki_types::{CertificateDer, ServerName};
use tunnel_model::Identity;

use crate::answer;
use crate::clock::{WallClock, unix};
use crate::sessions::Sessions;
use crate::verify::{PeerRole, PeerVerifier};

/// A workload's certificate, ready for use. The private key is inside the configurations and
/// nowhere else.
pub struct Certificate {
    /// Whose it is.
    pub identity: Identity,
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last moment. It must not be used for new connections after it.
    pub not_after: SystemTime,
    /// Its serial number, decimal, as upstream's dump has it.
    pub serial: String,
    /// For connections this workload makes.
    pub client: Arc<rustls::ClientConfig>,
    /// For connections this workload accepts.
    pub server: Arc<rustls::ServerConfig>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) peers: Arc<PeerVerifier>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) clock: Arc<dyn WallClock>,
}

impl Certificate {
    /// Who a peer is, by the chain that a handshake with one of the configurations gave. It must be
    /// asked after every handshake: a resumed one gives the chain of the first and judges nothing,
    /// so that only this sees that the chain has expired or that a root is believed no more.
    ///
    /// # Errors
    /// The peer's fault, or its authority's: the chain is not believed, or names no workload of our
    /// trust domain.
    pub fn peer(&self, role: PeerRole, chain: &[CertificateDer<'_>]) -> Result<Identity, Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let now = unix(self.clock.now());
        self.peers.judge(role, leaf, intermediates, now)
    }

    /// Makes the next connection to a server begin anew, because what its session began with is not
    /// believed any more; it may have another certificate by now.
    pub fn forget_sessions(&self, server: IpAddr) {
        self.sessions.forget(&ServerName::IpAddress(server.into()));
    }

    /// Whether it may be used at `now`.
    #[must_use]
    pub fn usable_at(&self, now: SystemTime) -> bool {
        now < self.not_after
    }

    /// The leaf and its intermediates, which every peer gets to see.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The roots that it came with, by which peers are judged.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("identity", &self.identity)
            .field("serial", &self.serial)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// How it stands with an identity's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateState {
    /// None has been obtained yet.
    Pending,
    /// There is one and it is valid.
    Valid,
    /// There was one and it ran out before another could be had.
    Expired,
}

/// The public part of an identity's certificate, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// Whose.
    pub identity: Identity,
    /// How it stands.
    pub state: CertificateState,
    /// Since when it stands so: when it was obtained, when it ran out, or since when it is waited
    /// for.
    pub since: SystemTime,
    /// Why the latest request failed, until one succeeds.
    pub last_error: Option<String>,
    /// Leaf and intermediates, PEM; empty when there is none.
    pub chain_pem: String,
    /// Those by which its peers are judged.
    pub roots: Vec<RootSummary>,
    /// Serial number of the leaf, hexadecimal.
    pub serial: Option<String>,
    /// First moment of the leaf.
    pub not_before: Option<SystemTime>,
    /// Last moment of the leaf.
    pub not_after: Option<SystemTime>,
}

/// One root, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSummary {
    /// The certificate, PEM.
    pub pem: String,
    /// Serial number, as that of the leaf.
    pub serial: Option<String>,
    /// Its first moment.
    pub not_before: Option<SystemTime>,
    /// Its last moment.
    pub not_after: Option<SystemTime>,
}

impl RootSummary {
    pub(crate) fn of(root: &CertificateDer<'_>) -> Self {
        // A root is believed for its key and name; that the rest cannot be read is no fault.
        let facts = answer::facts(root).ok();
        Self {
            pem: pem_text(std::slice::from_ref(root)),
            serial: facts.as_ref().map(|facts| facts.serial.clone()),
            not_before: facts.as_ref().map(|facts| facts.not_before),
            not_after: facts.as_ref().map(|facts| facts.not_after),
        }
    }
}

pub(crate) fn pem_text(certificates: &[CertificateDer<'_>]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    certificates
        .iter()
        .map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), config))
        .collect()
}
