use std::fmt;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use tunnel_model::Identity;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::SignedChain;
use crate::clock::{system_time, unix};
use crate::peer::{PeerIdentityError, identity_of};
use crate::trust::Trust;

/// Why an authority's answer was not used. The authority's fault each time (or of whoever stands
/// between), and never passed on to a listener.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum AnswerError {
    /// No certificate.
    #[error("the authority's answer holds no certificate")]
    EmptyChain,
    /// No root.
    #[error("the authority's answer holds no root, so no peer could be believed")]
    NoRoots,
    /// A root cannot be read.
    #[error("root {place} of the authority's answer cannot be read: {why}")]
    BadRoot {
        /// Which, counted from 1.
        place: usize,
        /// Why.
        why: String,
    },
    /// The leaf cannot be read.
    #[error("the certificate in the authority's answer cannot be read: {0}")]
    BadLeaf(String),
    /// The certificate is for a key that is not ours.
    #[error("the authority certified another key than the one it was sent")]
    WrongKey,
    /// The certificate does not name exactly one workload.
    #[error("the certificate in the authority's answer does not name who it is for: {0}")]
    NoIdentity(PeerIdentityError),
    /// The certificate names somebody else.
    #[error("the authority answered with a certificate for {got} when asked for {asked}")]
    WrongIdentity {
        /// Whose was asked for.
        asked: Identity,
        /// Whose it is.
        got: Identity,
    },
    /// The certificate has run out.
    #[error("the authority's certificate expired {0:?} ago; compare the clocks")]
    Expired(Duration),
    /// The certificate has not begun.
    #[error("the authority's certificate only begins in {0:?}; compare the clocks")]
    NotYetValid(Duration),
    /// The chain does not lead to the roots, or forbids the use.
    #[error(
        "the authority's certificate does not verify as a {usage} certificate by the roots sent with it: {why}"
    )]
    BadChain {
        /// For which use.
        usage: &'static str,
        /// Why.
        why: String,
    },
}

/// What was asked, for comparison with what came.
pub(crate) struct Asked<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) public_key_info: &'a [u8],
    pub(crate) now: SystemTime,
    pub(crate) skew: Duration,
}

/// An answer that passed every check.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) identity: Identity,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) trust: Trust,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) serial: String,
}

/// Compares an answer with what was asked.
pub(crate) fn check(answer: SignedChain, asked: &Asked<'_>) -> Result<Accepted, AnswerError> {
    let SignedChain { mut chain, roots } = answer;
    if roots.is_empty() {
        return Err(AnswerError::NoRoots);
    }
    let trust = Trust::new(&roots).map_err(|(place, why)| AnswerError::BadRoot {
        place: place + 1,
        why: why.to_string(),
    })?;
    // Peers have the roots; sending them would only make every handshake longer.
    chain.retain(|der| !roots.contains(der));
    let (leaf, intermediates) = chain.split_first().ok_or(AnswerError::EmptyChain)?;
    let facts = facts(leaf)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(bad_leaf)?;
    check_subject(&leaf, asked)?;
    check_validity(&facts, asked)?;
    let judged_at = unix(facts.not_before.max(asked.now));
    for (usage, key_usage) in [
        ("server", KeyUsage::server_auth()),
        ("client", KeyUsage::client_auth()),
    ] {
        trust
            .verify(&leaf, intermediates, judged_at, key_usage)
            .map_err(|why| AnswerError::BadChain {
                usage,
                why: why.to_string(),
            })?;
    }
    let Facts {
        not_before,
        not_after,
        serial,
    } = facts;
    let identity = asked.identity.clone();
    Ok(Accepted {
        identity,
        chain,
        roots,
        trust,
        not_before,
        not_after,
        serial,
    })
}

/// What a certificate says of itself.
pub(crate) struct Facts {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) serial: String,
}

fn bad_leaf(why: impl fmt::Display) -> AnswerError {
    AnswerError::BadLeaf(format!("{why}"))
}

pub(crate) fn facts(leaf: &CertificateDer<'_>) -> Result<Facts, AnswerError> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(bad_leaf)?;
    let validity = parsed.validity();
    Ok(Facts {
        not_before: system_time(validity.not_before.timestamp()),
        not_after: system_time(validity.not_after.timestamp()),
        serial: parsed.tbs_certificate.serial.to_string(),
    })
}

fn check_subject(leaf: &EndEntityCert<'_>, asked: &Asked<'_>) -> Result<(), AnswerError> {
    if leaf.subject_public_key_info().as_ref() != asked.public_key_info {
        return Err(AnswerError::WrongKey);
    }
    let got = identity_of(leaf).map_err(AnswerError::NoIdentity)?;
    if got != *asked.identity {
        return Err(AnswerError::WrongIdentity {
            asked: asked.identity.clone(),
            got,
        });
    }
    Ok(())
}

fn check_validity(facts: &Facts, asked: &Asked<'_>) -> Result<(), AnswerError> {
    if let Ok(ago) = asked.now.duration_since(facts.not_after) {
        return Err(AnswerError::Expired(ago));
    }
    match facts.not_before.duration_since(asked.now) {
        Ok(ahead) if ahead > asked.skew => Err(AnswerError::NotYetValid(ahead)),
        _ => Ok(()),
    }
}
