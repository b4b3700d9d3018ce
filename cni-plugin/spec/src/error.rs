//! The error answer.

use serde::Serialize;

use crate::version::SpecVersion;

/// The specification's error codes, and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 1: the configuration's version is not spoken, or does not have the verb.
    IncompatibleVersion,
    /// 2: the configuration asks for something that is not supported.
    UnsupportedField,
    /// 3: the container is unknown; the runtime need not clean up.
    UnknownContainer,
    /// 4: a necessary environment variable is missing or invalid.
    InvalidEnvironment,
    /// 5: input or output failed.
    Io,
    /// 6: something could not be decoded.
    Decode,
    /// 7: the configuration is invalid.
    InvalidConfig,
    /// 11: a passing condition; the runtime tries again.
    TryAgainLater,
    /// 50: the plugin cannot serve ADD now.
    NotAvailable,
    /// 51: nor are containers added before sure of their connectivity.
    LimitedConnectivity,
    /// 100 and above: the plugin's own.
    Own(u32),
}

impl Code {
    /// The number in the answer.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::UnknownContainer => 3,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::InvalidConfig => 7,
            Self::TryAgainLater => 11,
            Self::NotAvailable => 50,
            Self::LimitedConnectivity => 51,
            Self::Own(number) => number,
        }
    }

    /// The code of a number; `None` if the specification reserves it without giving it a meaning.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::IncompatibleVersion,
            2 => Self::UnsupportedField,
            3 => Self::UnknownContainer,
            4 => Self::InvalidEnvironment,
            5 => Self::Io,
            6 => Self::Decode,
            7 => Self::InvalidConfig,
            11 => Self::TryAgainLater,
            50 => Self::NotAvailable,
            51 => Self::LimitedConnectivity,
            100.. => Self::Own(number),
            _ => return None,
        })
    }
}

/// A failed call, as the runtime is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}{}{details}", if .details.is_empty() { "" } else { ": " })]
pub struct CniError {
    /// What kind of failure.
    pub code: Code,
    /// What went wrong: the one line that reaches the pod's events.
    pub msg: String,
    /// More, and what to do about it.
    pub details: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

impl CniError {
    /// An error without details.
    #[must_use]
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// The same error with details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The document for standard output.
    #[must_use]
    pub fn answer(&self, version: SpecVersion) -> String {
        let answer = Answer {
            cni_version: version.as_str(),
            code: self.code.number(),
            msg: &self.msg,
            details: &self.details,
        };
        // Strings and numbers only: writing them cannot fail, and an answer there must be.
        serde_json::to_string(&answer)
            .unwrap_or_else(|_| r#"{"code":5,"msg":"I/O failure"}"#.into())
    }
}
