//! Which versions of the conversation this build speaks.

use serde::{Deserialize, Serialize};

/// The versions this build speaks.
pub const SPOKEN: Spoken = Spoken { min: 1, max: 4 };

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoken {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

/// Two sides without a version in common. The operator upgrades in smaller steps; trying again
/// does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this side speaks versions {}-{} of the holder's protocol, the other {}-{}: upgrade in steps \
     of at most one version, or stop the old agent first, which cuts its connections",
    .ours.min, .ours.max, .theirs.min, .theirs.max
)]
pub struct Mismatch {
    /// What this side speaks.
    pub ours: Spoken,
    /// What the other side speaks.
    pub theirs: Spoken,
}

impl Spoken {
    /// The same, but nothing newer than `newest`: a setting for mixed roll-outs.
    #[must_use]
    pub fn up_to(self, newest: u16) -> Self {
        Self {
            min: self.min,
            max: self.max.min(newest).max(self.min),
        }
    }

    /// The newest version both speak.
    ///
    /// # Errors
    /// There is none.
    pub fn common(self, theirs: Self) -> Result<u16, Mismatch> {
        let newest = self.max.min(theirs.max);
        if newest >= self.min && newest >= theirs.min {
            Ok(newest)
        } else {
            Err(Mismatch { ours: self, theirs })
        }
    }
}
