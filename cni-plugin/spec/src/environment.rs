//! The environment variables of a call.

use std::ffi::OsString;
use std::fmt;

use crate::error::{CniError, Code};
use crate::version::SpecVersion;

const COMMAND: &str = "CNI_COMMAND";
const CONTAINER_ID: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const IFNAME: &str = "CNI_IFNAME";
const ARGS: &str = "CNI_ARGS";
const PATH: &str = "CNI_PATH";

/// The longest interface name the kernel takes.
const LONGEST_IFNAME: usize = 15;

/// What a runtime can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Attach a container.
    Add,
    /// Detach it.
    Del,
    /// Is it attached as it should be?
    Check,
    /// Which versions are spoken?
    Version,
    /// Forget everything but these attachments.
    Gc,
    /// Could a container be attached now?
    Status,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Add,
        Self::Del,
        Self::Check,
        Self::Version,
        Self::Gc,
        Self::Status,
    ];

    /// As it stands in `CNI_COMMAND`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Version => "VERSION",
            Self::Gc => "GC",
            Self::Status => "STATUS",
        }
    }

    /// The verb of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// The oldest spoken version that has it.
    #[must_use]
    pub const fn since(self) -> SpecVersion {
        match self {
            Self::Add | Self::Del | Self::Version => SpecVersion::V0_3_0,
            Self::Check => SpecVersion::V0_4_0,
            Self::Gc | Self::Status => SpecVersion::V1_1_0,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One interface of one container whose namespace exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`, not read yet; see [`PodArgs`](crate::PodArgs).
    pub args: String,
}

/// One interface of one container that goes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; absent when the namespace is gone.
    pub netns: Option<String>,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`, not read yet.
    pub args: String,
}

/// A call, with what its verb needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// ADD
    Add(Attachment),
    /// DEL
    Del(Departure),
    /// CHECK
    Check(Attachment),
    /// VERSION
    Version,
    /// GC
    Gc,
    /// STATUS
    Status,
}

/// What is wrong with the environment: the runtime's fault, and repeating does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The verb does not exist in any version.
    #[error("CNI_COMMAND is \"{}\", which is not a command", .0.escape_debug())]
    UnknownCommand(String),
    /// Variables that the verb needs.
    #[error("required environment variables are missing: {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A value that cannot be right.
    #[error("{name} is \"{}\": {why}", .value.escape_debug())]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A value that is not text.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// `CNI_ARGS` holds something unknown, and not `IgnoreUnknown=1`.
    #[error("CNI_ARGS has unknown arguments and no IgnoreUnknown=1: {}", .0.join(", "))]
    UnknownArgs(Vec<String>),
}

impl From<EnvironmentError> for CniError {
    fn from(error: EnvironmentError) -> Self {
        Self::new(Code::InvalidEnvironment, error.to_string())
    }
}

impl Command {
    /// Reads the call from its environment, given as a look-up; `None` if there is no
    /// `CNI_COMMAND`, which means that a person, not a runtime, started the plugin.
    ///
    /// # Errors
    /// What is missing, all at once, or invalid.
    pub fn read(
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, EnvironmentError> {
        let variables = Variables { lookup };
        let Some(command) = variables.get(COMMAND)? else {
            return Ok(None);
        };
        let verb = Verb::parse(&command).ok_or(EnvironmentError::UnknownCommand(command))?;
        Ok(Some(match verb {
            Verb::Add => Self::Add(variables.attachment()?),
            Verb::Check => Self::Check(variables.attachment()?),
            Verb::Del => Self::Del(variables.departure()?),
            Verb::Gc => {
                variables.require(&[PATH])?;
                Self::Gc
            }
            Verb::Status => Self::Status,
            Verb::Version => Self::Version,
        }))
    }

    /// Its verb.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Add(_) => Verb::Add,
            Self::Del(_) => Verb::Del,
            Self::Check(_) => Verb::Check,
            Self::Version => Verb::Version,
            Self::Gc => Verb::Gc,
            Self::Status => Verb::Status,
        }
    }
}

struct Variables<F> {
    lookup: F,
}

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// An empty variable counts as absent, as it does for the reference implementation.
    fn get(&self, name: &'static str) -> Result<Option<String>, EnvironmentError> {
        let Some(value) = (self.lookup)(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        value
            .into_string()
            .map(Some)
            .map_err(|_| EnvironmentError::NotText(name))
    }

    fn require(&self, names: &[&'static str]) -> Result<Vec<String>, EnvironmentError> {
        let mut values = Vec::with_capacity(names.len());
        let mut missing = Vec::new();
        for name in names {
            match self.get(name)? {
                Some(value) => values.push(value),
                None => missing.push(*name),
            }
        }
        if missing.is_empty() {
            Ok(values)
        } else {
            Err(EnvironmentError::Missing(missing))
        }
    }

    fn attachment(&self) -> Result<Attachment, EnvironmentError> {
        self.require(&[CONTAINER_ID, NETNS, IFNAME])?;
        let Departure {
            container_id,
            netns,
            ifname,
            args,
        } = self.departure()?;
        let netns = netns.ok_or_else(|| EnvironmentError::Missing(vec![NETNS]))?;
        Ok(Attachment {
            container_id,
            netns,
            ifname,
            args,
        })
    }

    fn departure(&self) -> Result<Departure, EnvironmentError> {
        let values = self.require(&[CONTAINER_ID, IFNAME])?;
        let [container_id, ifname] = <[String; 2]>::try_from(values)
            .map_err(|_| EnvironmentError::Missing(vec![CONTAINER_ID, IFNAME]))?;
        Ok(Departure {
            container_id: valid_container_id(container_id)?,
            netns: self.get(NETNS)?,
            ifname: valid_ifname(ifname)?,
            args: self.get(ARGS)?.unwrap_or_default(),
        })
    }
}

fn valid_container_id(value: String) -> Result<String, EnvironmentError> {
    if is_name(&value) {
        return Ok(value);
    }
    let why = "it begins with a letter or digit and goes on with letters, digits, '_', '.' and '-'";
    Err(EnvironmentError::Invalid {
        name: CONTAINER_ID,
        value,
        why,
    })
}

fn valid_ifname(value: String) -> Result<String, EnvironmentError> {
    let why = if value.len() > LONGEST_IFNAME {
        "an interface name has at most 15 bytes"
    } else if value == "." || value == ".." {
        "the kernel refuses this interface name"
    } else if value
        .chars()
        .any(|c| c == '/' || c == ':' || c.is_whitespace())
    {
        "an interface name has no '/', ':' or white space"
    } else {
        return Ok(value);
    };
    Err(EnvironmentError::Invalid {
        name: IFNAME,
        value,
        why,
    })
}

/// The shape of network names and container ids.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests;
