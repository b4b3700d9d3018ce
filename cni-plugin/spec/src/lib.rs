//! The documents of the Container Network Interface as a chained plugin sees them: environment,
//! network configuration, previous result, answers and error codes, for specification versions
//! 0.3.0 to 1.1.0.
//! It refuses what the specification refuses, with the specification's code, and refuses to touch
//! the process's environment, files or output: it is given text and gives text.
//! It owns the knowledge which verb exists at which version and what each verb needs; what another
//! plugin said in `prevResult` it hands on byte for byte, with a typed view beside it.

#![forbid(unsafe_code)]

mod args;
mod config;
mod environment;
mod error;
mod result;
mod version;

pub use args::{PodArgs, PodName};
pub use config::{ConfigError, GcAttachment, NetworkConfig, answering_version, version_answer};
pub use environment::{Attachment, Command, Departure, EnvironmentError, Verb};
pub use error::{CniError, Code};
pub use result::{PrevResult, PrevResultError, empty_result};
pub use version::SpecVersion;
