//! The steps that the child takes, and what to do about one that fails.

use std::fmt;

/// What the kernel refused to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Raising `oom_score_adj`.
    OutOfMemory,
    /// Switching core dumps off.
    CoreDumps,
    /// A mount namespace of its own.
    MountNamespace,
    /// Keeping mounts of the node from coming in.
    Propagation,
    /// A copy of a mount.
    Copy,
    /// A copy's restrictions, `read-only` among them.
    Restrict,
    /// The directory that becomes the root.
    NewRoot,
    /// The place of a copy in it.
    Place,
    /// Making it the root, and letting go of the node's.
    SwitchRoot,
    /// Making the root itself read-only.
    SealRoot,
    /// Giving the descriptors their numbers.
    Descriptors,
    /// Emptying the bounding set.
    BoundingSet,
    /// Making the user 0 an ordinary one.
    SecureBits,
    /// Emptying the ambient set.
    AmbientSet,
    /// Privileges that do not come back.
    NoNewPrivileges,
    /// Emptying the other three sets.
    Capabilities,
}

impl Step {
    const ALL: [Self; 16] = [
        Self::OutOfMemory,
        Self::CoreDumps,
        Self::MountNamespace,
        Self::Propagation,
        Self::Copy,
        Self::Restrict,
        Self::NewRoot,
        Self::Place,
        Self::SwitchRoot,
        Self::SealRoot,
        Self::Descriptors,
        Self::BoundingSet,
        Self::SecureBits,
        Self::AmbientSet,
        Self::NoNewPrivileges,
        Self::Capabilities,
    ];

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u8 == number)
    }

    /// What the operator can do about it.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::OutOfMemory => "the score asked for must not be below the agent's own",
            Self::MountNamespace | Self::Propagation | Self::NewRoot => {
                "the agent needs CAP_SYS_ADMIN"
            }
            Self::Copy | Self::Restrict | Self::Place | Self::SealRoot => {
                "the agent needs CAP_SYS_ADMIN and Linux 5.12, and no security module in the way"
            }
            Self::SwitchRoot => {
                "the agent's root directory must be a mount point, and not the initial ram disk"
            }
            Self::CoreDumps
            | Self::Descriptors
            | Self::BoundingSet
            | Self::SecureBits
            | Self::AmbientSet
            | Self::NoNewPrivileges
            | Self::Capabilities => "no kernel is known to refuse this; please report it",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "raise oom_score_adj",
            Self::CoreDumps => "switch core dumps off",
            Self::MountNamespace => "make a mount namespace",
            Self::Propagation => "make its mounts private",
            Self::Copy => "copy the mount of",
            Self::Restrict => "make read-only (or nosuid, nodev, noexec)",
            Self::NewRoot => "make a root directory",
            Self::Place => "put in its place",
            Self::SwitchRoot => "leave the node's root directory",
            Self::SealRoot => "make the root directory read-only",
            Self::Descriptors => "hand over descriptors",
            Self::BoundingSet => "empty the bounding set",
            Self::SecureBits => "set the secure bits",
            Self::AmbientSet => "empty the ambient set",
            Self::NoNewPrivileges => "set no_new_privs",
            Self::Capabilities => "drop the capabilities",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_comes_back_from_its_number() {
        for step in Step::ALL {
            assert_eq!(Step::from_number(step as u8), Some(step));
        }
        assert_eq!(Step::from_number(u8::MAX), None);
    }
}
