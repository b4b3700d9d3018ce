//! Which versions of the protocol this build speaks, and what to do about a peer that speaks others.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::message::{Reply, Report, Request};

/// The versions this build speaks.
pub const SPOKEN: Spoken = Spoken { min: 1, max: 1 };

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

/// The two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The CNI plugin's binary.
    Plugin,
    /// The node agent.
    Agent,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plugin => "CNI plugin",
            Self::Agent => "node agent",
        })
    }
}

/// The agent's answer to a version it does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The older side, which is the one to upgrade.
    pub which: Side,
    /// The oldest version the agent speaks.
    pub min: u16,
    /// The newest version the agent speaks.
    pub max: u16,
}

impl Spoken {
    /// Whether the version is one of these.
    #[must_use]
    pub fn contains(self, version: u16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The agent's side: what to answer to a request of this version, if it is not spoken.
    ///
    /// # Errors
    /// The [`Upgrade`] to send.
    pub fn accept(self, version: u16) -> Result<(), Upgrade> {
        if self.contains(version) {
            return Ok(());
        }
        let which = if version > self.max {
            Side::Agent
        } else {
            Side::Plugin
        };
        Err(Upgrade {
            which,
            min: self.min,
            max: self.max,
        })
    }

    /// The plugin's side: the newest version both speak, to ask again with after an [`Upgrade`].
    #[must_use]
    pub fn common(self, answer: Upgrade) -> Option<u16> {
        let newest = self.max.min(answer.max);
        (newest >= self.min && newest >= answer.min).then_some(newest)
    }
}

/// Why a whole frame is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The peer speaks a version this build does not. The operator upgrades the named side;
    /// repeating the request does not help.
    #[error(
        "the peer speaks version {version} of the plugin protocol, this side {}-{}: upgrade the {}",
        .upgrade.min, .upgrade.max, .upgrade.which
    )]
    Version {
        /// What the peer's frame says.
        version: u16,
        /// Who is to be upgraded, and what this side speaks.
        upgrade: Upgrade,
    },
    /// The body is not such a message: a fault of the peer.
    #[error("the peer sent something that is not a {expected}: {why}")]
    Malformed {
        /// What was expected.
        expected: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads the plugin's request, on the agent's side.
///
/// # Errors
/// A version that is not spoken (answer its [`Upgrade`]), or a body that is not a request.
pub fn read_request(frame: &Frame, spoken: Spoken) -> Result<Request, MessageError> {
    accepted(frame, spoken)?;
    body(frame, "request")
}

/// Reads the plugin's report, on the agent's side.
///
/// # Errors
/// As [`read_request`].
pub fn read_report(frame: &Frame, spoken: Spoken) -> Result<Report, MessageError> {
    accepted(frame, spoken)?;
    body(frame, "report")
}

/// Reads the agent's reply, on the plugin's side. An [`Upgrade`] is understood in any version.
///
/// # Errors
/// A version that is not spoken, or a body that is not a reply.
pub fn read_reply(frame: &Frame, spoken: Spoken) -> Result<Reply, MessageError> {
    let reply = body::<Reply>(frame, "reply");
    if spoken.contains(frame.version) || matches!(reply, Ok(Reply::Upgrade(_))) {
        return reply;
    }
    // Seen from here the agent is the other side: newer than us means that we are the old one.
    let which = if frame.version > spoken.max {
        Side::Plugin
    } else {
        Side::Agent
    };
    let upgrade = Upgrade {
        which,
        min: spoken.min,
        max: spoken.max,
    };
    Err(MessageError::Version {
        version: frame.version,
        upgrade,
    })
}

fn accepted(frame: &Frame, spoken: Spoken) -> Result<(), MessageError> {
    let version = frame.version;
    spoken
        .accept(version)
        .map_err(|upgrade| MessageError::Version { version, upgrade })
}

fn body<T: DeserializeOwned>(frame: &Frame, expected: &'static str) -> Result<T, MessageError> {
    serde_json::from_slice(&frame.body).map_err(|error| MessageError::Malformed {
        expected,
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
