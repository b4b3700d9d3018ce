//! What the kernel says about this process.

use std::fmt;
use std::io;

/// The privileges of this process, as the kernel states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Capabilities in force.
    pub effective: u64,
    /// Capabilities that it may put in force.
    pub permitted: u64,
    /// Capabilities that programs with them may inherit.
    pub inheritable: u64,
    /// Capabilities that every program inherits.
    pub ambient: u64,
    /// Capabilities that any program can ever get; with `no_new_privs` none can.
    pub bounding: u64,
    /// Whether programs it executes gain nothing.
    pub no_new_privs: bool,
    /// How many filters of system calls are in force.
    pub filters: u32,
}

/// The kernel's statement cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// It is not there.
    #[error("cannot read /proc/self/status: {0}; /proc must be mounted")]
    Read(#[source] io::Error),
    /// It has not what is looked for.
    #[error("/proc/self/status does not say {0}; the kernel is older than Linux 5.12")]
    Missing(&'static str),
}

impl Facts {
    /// Whether there is none, neither in force nor to be had.
    #[must_use]
    pub fn has_no_capability(&self) -> bool {
        self.effective | self.permitted | self.inheritable | self.ambient == 0
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            effective,
            permitted,
            inheritable,
            ambient,
            bounding,
            no_new_privs,
            filters,
        } = self;
        write!(
            f,
            "capabilities effective={effective:#x} permitted={permitted:#x} \
             inheritable={inheritable:#x} ambient={ambient:#x} bounding={bounding:#x}, \
             no_new_privs={no_new_privs}, filters={filters}"
        )
    }
}

/// Reads them.
///
/// # Errors
/// `/proc` does not say.
pub fn facts() -> Result<Facts, FactsError> {
    parse(&std::fs::read_to_string("/proc/self/status").map_err(FactsError::Read)?)
}

fn parse(status: &str) -> Result<Facts, FactsError> {
    let find = |key: &'static str| {
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| *name == key);
        found
            .map(|(_, value)| value.trim())
            .ok_or(FactsError::Missing(key))
    };
    let set = |key| u64::from_str_radix(find(key)?, 16).map_err(|_| FactsError::Missing(key));
    let number = |key| {
        find(key)?
            .parse::<u32>()
            .map_err(|_| FactsError::Missing(key))
    };
    Ok(Facts {
        effective: set("CapEff")?,
        permitted: set("CapPrm")?,
        inheritable: set("CapInh")?,
        ambient: set("CapAmb")?,
        bounding: set("CapBnd")?,
        no_new_privs: number("NoNewPrivs")? == 1,
        filters: number("Seccomp_filters")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const STATUS: &str = "Name:\tx\nCapInh:\t0000000000000001\nCapPrm:\t0000000000000002\n\
        CapEff:\t0000000000000004\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000008\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

    #[test]
    fn each_set_is_read_from_its_own_line() {
        let facts = parse(STATUS).unwrap();
        let expected = Facts {
            effective: 4,
            permitted: 2,
            inheritable: 1,
            ambient: 8,
            bounding: 0x1ff_ffff_ffff,
            no_new_privs: true,
            filters: 3,
        };
        assert_eq!(facts, expected);
        assert!(!facts.has_no_capability());
    }

    #[test]
    fn a_line_that_is_missing_is_named() {
        let without = STATUS.replace("CapAmb", "CapOld");
        let error = parse(&without).unwrap_err();
        assert!(error.to_string().contains("CapAmb"), "{error}");
    }

    #[test]
    fn this_process_has_a_statement() {
        facts().unwrap();
    }
}
