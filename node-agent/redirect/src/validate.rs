//! Whether a plan may be installed.

use crate::plan::{PLAN_VERSION, RedirectPlan};
use crate::spared::{MAX_SPARED, Spared};

/// A plan this build must not install.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// The plan comes from a newer build.
    #[error(
        "redirection plan has version {found}, this build knows up to {PLAN_VERSION}: upgrade the older of plugin and agent"
    )]
    Version {
        /// The plan's version.
        found: u32,
    },
    /// The plan redirects nothing.
    #[error("redirection plan names neither IPv4 nor IPv6: enable at least one in the agent")]
    NoFamily,
    /// A probe address that would exempt more, or less, than one host.
    #[error("probe source address {address} is not the address of one host: correct the setting")]
    ProbeSource {
        /// The address.
        address: String,
    },
    /// The plan says what its version cannot say; an older build would install a part of it.
    #[error(
        "redirection plan of version {found} spares connections or stops capture, which needs version {PLAN_VERSION}: upgrade the older of plugin and agent"
    )]
    Shape {
        /// The plan's version.
        found: u32,
    },
    /// More connections to spare than the rules should have to look through.
    #[error(
        "the pod has {found} open connections to spare, the rules hold {MAX_SPARED}: try again when there are fewer"
    )]
    TooManySpared {
        /// How many.
        found: usize,
    },
    /// A connection that is none.
    #[error("redirection plan spares {found}, whose ends are of different address families")]
    Spared {
        /// The connection.
        found: Spared,
    },
}

impl RedirectPlan {
    /// Whether this build can install the plan completely.
    ///
    /// # Errors
    /// Says what is wrong with it; such a plan must not be installed in part.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.version == 0 || self.version > PLAN_VERSION {
            return Err(PlanError::Version {
                found: self.version,
            });
        }
        if self.version < self.needed_version() {
            return Err(PlanError::Shape {
                found: self.version,
            });
        }
        if !self.ipv4 && !self.ipv6 {
            return Err(PlanError::NoFamily);
        }
        if self.spared.len() > MAX_SPARED {
            return Err(PlanError::TooManySpared {
                found: self.spared.len(),
            });
        }
        if let Some(found) = self.spared.iter().find(|spared| spared.family().is_none()) {
            return Err(PlanError::Spared { found: *found });
        }
        let v4 = self.probe_source_v4;
        if v4.is_unspecified() || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast() {
            return Err(PlanError::ProbeSource {
                address: v4.to_string(),
            });
        }
        let v6 = self.probe_source_v6;
        if v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() {
            return Err(PlanError::ProbeSource {
                address: v6.to_string(),
            });
        }
        Ok(())
    }
}
