//! The network configuration on standard input.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::environment::{Verb, is_name};
use crate::error::{CniError, Code};
use crate::result::{PrevResult, PrevResultError};
use crate::version::SpecVersion;

const VERSION: &str = "cniVersion";
const NAME: &str = "name";
const PREV_RESULT: &str = "prevResult";
const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";

/// The configuration of one plugin for one call. Members it does not know are kept as they came.
#[derive(Debug)]
pub struct NetworkConfig {
    version: SpecVersion,
    name: String,
    prev_result: Option<PrevResult>,
    valid_attachments: Vec<GcAttachment>,
    members: Members,
}

/// One attachment that GC must leave alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GcAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Its interface.
    pub ifname: String,
}

/// What is wrong with the configuration. It is the fault of whoever wrote it or, where it says so,
/// of the runtime; repeating does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a JSON object.
    #[error("the network configuration cannot be decoded: {0}")]
    Decode(String),
    /// A member of the specification's has another type than the specification's.
    #[error("\"{name}\" of the network configuration cannot be decoded: {why}")]
    DecodeMember {
        /// The member.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The version is not one of ours.
    #[error("cniVersion is {}, this plugin speaks 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0", shown(.0.as_ref()))]
    Version(Option<String>),
    /// The version does not have the verb.
    #[error("{verb} exists since specification version {}; cniVersion is {version}", .verb.since())]
    NoSuchVerb {
        /// The verb.
        verb: Verb,
        /// The configuration's version.
        version: SpecVersion,
    },
    /// The network has no name, or an impossible one.
    #[error("the network's name is \"{}\": it must begin with a letter or digit and go on with letters, digits, '_', '.' and '-'", .0.escape_debug())]
    Name(String),
    /// `prevResult` is there but cannot be understood.
    #[error(transparent)]
    PrevResult(#[from] PrevResultError),
    /// The runtime left out what the verb needs.
    #[error("{verb} needs \"{name}\" in the network configuration, and the runtime left it out")]
    Missing {
        /// The verb.
        verb: Verb,
        /// The member.
        name: &'static str,
    },
    /// A member of the plugin's own is wrong.
    #[error("\"{name}\" of the network configuration is invalid: {why}")]
    Member {
        /// The member.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

fn shown(version: Option<&String>) -> String {
    version.map_or_else(
        || "missing, which means 0.1.0".to_owned(),
        |version| format!("\"{}\"", version.escape_debug()),
    )
}

impl ConfigError {
    fn code(&self) -> Code {
        match self {
            Self::Decode(_)
            | Self::DecodeMember { .. }
            | Self::PrevResult(PrevResultError::Shape(_) | PrevResultError::Address(_)) => {
                Code::Decode
            }
            Self::Version(_)
            | Self::NoSuchVerb { .. }
            | Self::PrevResult(PrevResultError::Version(_)) => Code::IncompatibleVersion,
            Self::Name(_) | Self::Missing { .. } | Self::Member { .. } => Code::InvalidConfig,
        }
    }
}

impl From<ConfigError> for CniError {
    fn from(error: ConfigError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl NetworkConfig {
    /// Reads the configuration of a call.
    ///
    /// # Errors
    /// The first of: it is no document, its version is not spoken, its version does not have the
    /// verb, it has no valid name, what the verb needs is missing or cannot be understood.
    pub fn parse(stdin: &[u8], verb: Verb) -> Result<Self, ConfigError> {
        let members = Members::parse(stdin)?;
        let version = members.version()?;
        if !version.has(verb) {
            return Err(ConfigError::NoSuchVerb { verb, version });
        }
        let name = members.known::<String>(NAME)?.unwrap_or_default();
        if !is_name(&name) {
            return Err(ConfigError::Name(name));
        }
        let prev_result = members
            .known(PREV_RESULT)?
            .map(PrevResult::read)
            .transpose()?;
        let valid_attachments = members.known(VALID_ATTACHMENTS)?.unwrap_or_default();
        if verb == Verb::Check && prev_result.is_none() {
            return Err(ConfigError::Missing {
                verb,
                name: PREV_RESULT,
            });
        }
        // A missing list is not an empty one, which would forget every attachment; `null` is what
        // the reference implementation writes for the empty one.
        if verb == Verb::Gc && !members.0.contains_key(VALID_ATTACHMENTS) {
            return Err(ConfigError::Missing {
                verb,
                name: VALID_ATTACHMENTS,
            });
        }
        Ok(Self {
            version,
            name,
            prev_result,
            valid_attachments,
            members,
        })
    }

    /// `cniVersion`.
    #[must_use]
    pub const fn version(&self) -> SpecVersion {
        self.version
    }

    /// `name` of the network.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `prevResult`.
    #[must_use]
    pub const fn prev_result(&self) -> Option<&PrevResult> {
        self.prev_result.as_ref()
    }

    /// `cni.dev/valid-attachments`.
    #[must_use]
    pub fn valid_attachments(&self) -> &[GcAttachment] {
        &self.valid_attachments
    }

    /// Any other member as it came; `null` counts as absent.
    #[must_use]
    pub fn raw_member(&self, name: &str) -> Option<&str> {
        self.members.raw(name)
    }

    /// A member of the plugin's own.
    ///
    /// # Errors
    /// It has another type.
    pub fn member<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let Some(raw) = self.members.raw(name) else {
            return Ok(None);
        };
        serde_json::from_str(raw)
            .map(Some)
            .map_err(|error| ConfigError::Member {
                name: name.to_owned(),
                why: error.to_string(),
            })
    }
}

#[derive(Debug)]
struct Members(BTreeMap<String, Box<RawValue>>);

impl Members {
    fn parse(stdin: &[u8]) -> Result<Self, ConfigError> {
        serde_json::from_slice(stdin)
            .map(Self)
            .map_err(|error| ConfigError::Decode(error.to_string()))
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|raw| raw.get())
            .filter(|text| *text != "null")
    }

    fn version(&self) -> Result<SpecVersion, ConfigError> {
        let declared = self
            .known::<String>(VERSION)?
            .filter(|text| !text.is_empty());
        let version = declared.as_deref().and_then(SpecVersion::parse);
        version.ok_or(ConfigError::Version(declared))
    }

    fn known<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, ConfigError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        serde_json::from_str(raw)
            .map(Some)
            .map_err(|error| ConfigError::DecodeMember {
                name,
                why: error.to_string(),
            })
    }
}

/// The answer to VERSION: the caller's `cniVersion`, whatever it is, and ours, so that a runtime of
/// any age learns what it can use.
///
/// # Errors
/// The input is there but is not a JSON object.
pub fn version_answer(stdin: &[u8]) -> Result<String, ConfigError> {
    let declared = if stdin.trim_ascii().is_empty() {
        None
    } else {
        Members::parse(stdin)?
            .known::<String>(VERSION)?
            .filter(|text| !text.is_empty())
    };
    let answer = serde_json::json!({
        "cniVersion": declared.as_deref().unwrap_or(SpecVersion::CURRENT.as_str()),
        "supportedVersions": SpecVersion::ALL.map(SpecVersion::as_str),
    });
    Ok(answer.to_string())
}

/// The version to answer in when the configuration was refused: its own if it can be told and is
/// one of ours.
#[must_use]
pub fn answering_version(stdin: &[u8]) -> SpecVersion {
    let members = Members::parse(stdin).ok();
    let declared = members.and_then(|members| members.known::<String>(VERSION).ok()?);
    declared
        .as_deref()
        .and_then(SpecVersion::parse)
        .unwrap_or(SpecVersion::CURRENT)
}

#[cfg(test)]
mod tests;
