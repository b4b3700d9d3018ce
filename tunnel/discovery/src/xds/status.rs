use std::time::SystemTime;

use super::convert::ResourceType;

/// How it stands between us and the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsStatus {
    /// Whether there is a connection.
    pub link: Link,
    /// Since when that is so.
    pub since: SystemTime,
    /// How the last connection, or the last attempt, ended.
    pub last_failure: Option<String>,
    /// When both types had been told for the first time; until then nothing is published.
    pub complete_since: Option<SystemTime>,
    /// The last response of which something was rejected.
    pub last_nack: Option<Nack>,
    /// What is held of each type, in the order of [`ResourceType::ALL`].
    pub types: [TypeStatus; ResourceType::ALL.len()],
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is being made.
    Connecting,
    /// It is made, and everything has been subscribed to on it.
    Connected,
    /// There is none until the next attempt.
    Waiting,
}

impl Link {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting to connect again",
        }
    }
}

/// A response of which something was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// When.
    pub at: SystemTime,
    /// Of which type.
    pub kind: ResourceType,
    /// How many resources were rejected.
    pub rejected: usize,
    /// Which, and why; of many the first ones.
    pub why: String,
}

/// What is held of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// How many resources.
    pub resources: usize,
    /// How many responses there were since the start.
    pub responses: u64,
    /// The version the last response gave itself.
    pub version: String,
    /// When that was.
    pub last_response: Option<SystemTime>,
}

impl XdsStatus {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self {
            link: Link::Connecting,
            since: now,
            last_failure: None,
            complete_since: None,
            last_nack: None,
            types: Default::default(),
        }
    }

    /// What is held of a type.
    #[must_use]
    pub fn of(&self, kind: ResourceType) -> &TypeStatus {
        &self.types[kind as usize]
    }

    pub(crate) fn set_link(&mut self, link: Link, now: SystemTime) {
        if self.link != link {
            self.link = link;
            self.since = now;
        }
    }
}
