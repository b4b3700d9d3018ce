//! The shape of the file. Nothing in it could hold a key.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tunnel_credentials::CertificateSummary;

use crate::state::Document;

/// The version of the shape.
const VERSION: u32 = 1;

/// The public part of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicPart {
    pub(crate) serial_number: String,
    pub(crate) not_before: Seconds,
    pub(crate) not_after: Seconds,
    /// When it was obtained.
    pub(crate) issued: Seconds,
    pub(crate) chain_pem: String,
}

/// What is known of one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Known {
    pub(crate) identity: String,
    /// The latest that was obtained, expired or not.
    pub(crate) certificate: Option<PublicPart>,
    /// Why the latest request failed, if no later one succeeded.
    pub(crate) last_error: Option<String>,
}

/// All of this node's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    version: u32,
    pub(crate) certificates: Vec<Known>,
}

/// Seconds since 1970, as in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Seconds(pub(crate) u64);

impl From<SystemTime> for Seconds {
    fn from(at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        Self(since.unwrap_or(Duration::ZERO).as_secs())
    }
}

impl From<Seconds> for SystemTime {
    fn from(Seconds(since): Seconds) -> Self {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since));
        at.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl PublicPart {
    /// Of the certificate that there is, if there is one.
    pub(crate) fn of(summary: &CertificateSummary) -> Option<Self> {
        Some(Self {
            serial_number: summary.serial.clone()?,
            not_before: summary.not_before?.into(),
            not_after: summary.not_after?.into(),
            issued: summary.since.into(),
            chain_pem: summary.chain_pem.clone(),
        })
    }
}

impl Kept {
    pub(crate) fn of(certificates: Vec<Known>) -> Self {
        Self {
            version: VERSION,
            certificates,
        }
    }
}

impl Document for Kept {
    const NAME: &'static str = "certificates.json";

    fn empty() -> Self {
        Self::of(Vec::new())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |why| format!("the record of certificates is damaged: {why}");
        let kept: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        if kept.version != VERSION {
            return Err(format!(
                "the record of certificates has version {}, this agent reads version {VERSION}",
                kept.version
            ));
        }
        Ok(kept)
    }
}
