//! Closes most of the kernel to the calling process, for good.

use std::collections::BTreeMap;
use std::ffi::{c_long, c_ulong};
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::bounds::{BOUNDS, Bound, Test};
use crate::calls::{ALLOWED, FORBIDDEN};
use crate::facts::{Facts, FactsError, facts};
use crate::kernel;

/// The worker could not be sealed, and must not go on: it would serve with less protection than
/// promised.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The filters cannot be made.
    #[error("the filter of system calls cannot be made: {0}; this is a defect, please report it")]
    Filter(#[source] BackendError),
    /// The kernel does not take them.
    #[error(
        "the kernel does not take the filter of system calls: {0}; it must be built with \
         CONFIG_SECCOMP_FILTER"
    )]
    Install(#[source] seccompiler::Error),
    /// The kernel refuses something that every process may do.
    #[error(
        "the worker cannot {action}: {source}; no kernel is known to refuse this, please report it"
    )]
    Process {
        /// What.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// It cannot be seen whether it worked.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// It was not started by [`Confinement::start`](crate::Confinement::start).
    #[error(
        "the worker has capabilities or may get some ({0}); it must be started by the agent, not by hand"
    )]
    Privileged(Facts),
}

/// Seals this process; to be called before anything else, with every thread affected all the same.
/// Says what holds then.
///
/// It also takes the name by which the worker is known to `ps`, and becomes undumpable: a core dump
/// would have the keys in it, and no process of the same user may look into this one any more. The
/// holder loses nothing by that: it waits for its child, talks to it and kills it as before.
///
/// # Errors
/// It is not sealed, or was privileged before. The process must end then.
pub fn seal_worker() -> Result<Facts, SealError> {
    check(facts()?)?;
    let process = |action| move |source| SealError::Process { action, source };
    kernel::set_name(NAME).map_err(process("take its name"))?;
    let undumpable = kernel::prctl(libc::PR_SET_DUMPABLE, 0 as c_ulong, 0);
    undumpable.map_err(process("become undumpable"))?;
    for filter in filters(std::process::id()).map_err(SealError::Filter)? {
        seccompiler::apply_filter_all_threads(&filter).map_err(SealError::Install)?;
    }
    Ok(facts()?)
}

/// Sealing is the second half of confinement; without the first it would promise too much.
fn check(before: Facts) -> Result<(), SealError> {
    if before.no_new_privs && before.has_no_capability() {
        Ok(())
    } else {
        Err(SealError::Privileged(before))
    }
}

/// In the order of their installation: the one that forbids to install any comes last. Of several
/// answers the kernel takes the most severe.
fn filters(process: u32) -> Result<[BpfProgram; 3], BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let known = ALLOWED.iter().chain(FORBIDDEN).copied().flatten();
    let known = known.map(|call| (*call, Vec::new())).collect();
    let mut bounds: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    for bound in BOUNDS {
        bounds
            .entry(bound.call)
            .or_default()
            .push(rule(bound, process.into())?);
    }
    let forbidden = FORBIDDEN.iter().copied().flatten();
    let forbidden = forbidden.map(|call| (*call, Vec::new())).collect();
    let compile = |rules, otherwise, then| {
        SeccompFilter::new(rules, otherwise, then, architecture)?.try_into()
    };
    let (allow, error) = (SeccompAction::Allow, SeccompAction::Errno);
    Ok([
        compile(known, error(NOT_THERE), allow.clone())?,
        compile(bounds, allow.clone(), error(NOT_PERMITTED))?,
        compile(forbidden, allow, SeccompAction::KillProcess)?,
    ])
}

/// True when the call is to be refused.
fn rule(bound: &Bound, process: u64) -> Result<SeccompRule, BackendError> {
    use SeccompCmpOp::{MaskedEq, Ne};
    // The kernel reads the lower half of all these arguments only, so neither do we look further.
    let condition = |operation, value| {
        SeccompCondition::new(bound.argument, SeccompCmpArgLen::Dword, operation, value)
    };
    let differs = |values: &[u64]| values.iter().map(|value| condition(Ne, *value)).collect();
    let conditions: Result<Vec<_>, _> = match bound.test {
        Test::NoneOf(values) => differs(values),
        Test::NotSelf => differs(&[process]),
        Test::NeitherSelfNorZero => differs(&[0, process]),
        Test::Has(bit) => condition(MaskedEq(bit), bit).map(|one| vec![one]),
        Test::Lacks(bit) => condition(MaskedEq(bit), 0).map(|one| vec![one]),
    };
    SeccompRule::new(conditions?)
}

const NOT_THERE: u32 = libc::ENOSYS as u32;
const NOT_PERMITTED: u32 = libc::EPERM as u32;

/// Fifteen bytes at most.
const NAME: &std::ffi::CStr = c"ambient-worker";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_filters_fit_into_the_kernel() {
        const MOST: usize = 4096; // BPF_MAXINSNS
        for filter in filters(1).unwrap() {
            assert!((1..MOST).contains(&filter.len()), "{}", filter.len());
        }
    }

    #[test]
    fn who_was_started_by_hand_is_told_so() {
        let confined = Facts {
            no_new_privs: true,
            bounding: 1,
            ..Facts::default()
        };
        check(confined).unwrap();
        let may_gain = Facts {
            no_new_privs: false,
            ..confined
        };
        let has_one = Facts {
            permitted: 1,
            ..confined
        };
        for privileged in [may_gain, has_one] {
            let error = check(privileged).unwrap_err();
            assert!(error.to_string().contains("not by hand"), "{error}");
        }
    }
}
