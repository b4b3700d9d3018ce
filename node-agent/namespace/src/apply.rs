//! Installs a plan.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use node_agent_redirect::{Backend, Family, PlanError, RedirectPlan};

use crate::addresses::{Ipv6, ipv6_here};
use crate::enter::{EnterError, enter};
use crate::netns::Netns;
use crate::process::{Job, LOCK_OF_A_POD, Running, ToolError, wait};
use crate::residue::Residue;
use crate::routes;
use crate::tools::{self, Purpose};
use crate::undo::{self, UndoError};

/// Cleaning up after a failure may take this long, even past the deadline.
const GRACE: Duration = Duration::from_secs(2);

/// What [`apply`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyReport {
    /// What became of each family of the plan.
    pub families: Vec<FamilyReport>,
    /// How long it took.
    pub took: Duration,
}

/// What [`apply`] did for one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyReport {
    /// The family.
    pub family: Family,
    /// What was done.
    pub outcome: Outcome,
}

/// What [`apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rules were not there and now are.
    Installed,
    /// The rules were there already, exactly.
    AlreadyThere,
    /// Rules of ours were there, but not these; now these are.
    Repaired,
    /// The plan names the family, but the pod does not have it.
    NotInPod,
}

/// Why a plan is not installed.
#[derive(thiserror::Error, Debug)]
pub enum ApplyError {
    /// The plan must not be installed by this build.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// What is in the namespace cannot be seen.
    #[error("cannot see what the pod's namespace holds: {0}")]
    Look(#[source] io::Error),
    /// The packet rules were not accepted.
    #[error("packet rules not installed: {0}")]
    Rules(#[source] ToolError),
    /// The routes were not accepted.
    #[error("routes not installed: {0}")]
    Routes(#[source] io::Error),
    /// It failed, and what was done could not be undone either.
    #[error("{cause}; and cleaning up failed: {left}")]
    NotUndone {
        /// The failure.
        cause: Box<ApplyError>,
        /// The failure to clean up.
        left: UndoError,
    },
}

impl ApplyError {
    /// Whether the same may work a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            ApplyError::Rules(error) => error.is_transient(),
            ApplyError::NotUndone { cause, .. } => cause.is_transient(),
            ApplyError::Routes(_) | ApplyError::Look(_) => true,
            ApplyError::Plan(_) | ApplyError::Enter(_) => false,
        }
    }
}

/// Installs a plan: each family in one transaction per table, both families at once, then the
/// routes. Rules that are there already are kept, differing ones replaced.
///
/// If it fails in a namespace where nothing of ours was, everything is removed again. A pod that
/// was redirected before keeps what it had: taking its rules away would let it talk in clear.
///
/// # Errors
/// Says what could not be done; the plan is not in force then.
pub fn apply(
    ns: &Netns,
    plan: &RedirectPlan,
    deadline: Instant,
) -> Result<ApplyReport, ApplyError> {
    plan.validate()?;
    enter(ns, || apply_here(plan, deadline))?
}

fn apply_here(plan: &RedirectPlan, deadline: Instant) -> Result<ApplyReport, ApplyError> {
    let started = Instant::now();
    let ipv6 = if plan.ipv6 {
        ipv6_here()
    } else {
        Ok(Ipv6::None)
    };
    let ipv6 = ipv6.map_err(ApplyError::Look)?;
    let residue = Residue::look().map_err(ApplyError::Look)?;
    let shown = undo::show(plan, &residue, deadline).map_err(ApplyError::Rules)?;
    let was_redirected = shown
        .iter()
        .any(|dump| RedirectPlan::shows_ours(&dump.text));
    let result = install(plan, ipv6, &shown, deadline);
    let families = match result {
        Ok(families) => families,
        Err(cause) if was_redirected => return Err(cause),
        Err(cause) => {
            let grace = deadline.max(Instant::now() + GRACE);
            return Err(match undo::undo_here(plan, grace) {
                Ok(()) => cause,
                Err(left) => ApplyError::NotUndone {
                    cause: Box::new(cause),
                    left,
                },
            });
        }
    };
    Ok(ApplyReport {
        families,
        took: started.elapsed(),
    })
}

fn install(
    plan: &RedirectPlan,
    ipv6: Ipv6,
    shown: &[undo::Dump],
    deadline: Instant,
) -> Result<Vec<FamilyReport>, ApplyError> {
    let mut reports = Vec::new();
    let mut running = Vec::new();
    for family in plan.families() {
        let outcome = if family == Family::V6 && ipv6 == Ipv6::None {
            Outcome::NotInPod
        } else {
            let (text, outcome) = text_for(plan, family, shown);
            if let Some(text) = text {
                running.push(restore(plan.backend, family, text, deadline)?);
            }
            outcome
        };
        reports.push(FamilyReport { family, outcome });
    }
    // While the tools work.
    let routed = routed_families(plan, ipv6);
    let added = routes::add(plan, &routed).map_err(ApplyError::Routes);
    all(wait(running, deadline))?;
    added?;
    // Only now, so that there is no moment without rules.
    all(wait(remove_elsewhere(plan, shown, deadline)?, deadline))?;
    Ok(reports)
}

/// The families that can have a route to `lo`.
pub(crate) fn routed_families(plan: &RedirectPlan, ipv6: Ipv6) -> Vec<Family> {
    plan.families()
        .filter(|family| *family == Family::V4 || ipv6 == Ipv6::Full)
        .collect()
}

/// What brings a family to the plan.
fn text_for(
    plan: &RedirectPlan,
    family: Family,
    shown: &[undo::Dump],
) -> (Option<String>, Outcome) {
    let dump = shown
        .iter()
        .find(|dump| dump.backend == plan.backend && dump.family == family);
    match dump {
        Some(dump) if RedirectPlan::shows_ours(&dump.text) => {
            match plan.render_repair(family, &dump.text) {
                None => (None, Outcome::AlreadyThere),
                text => (text, Outcome::Repaired),
            }
        }
        _ => (Some(plan.render(family)), Outcome::Installed),
    }
}

/// Removes what is ours in the other backend, and in a family the plan no longer names.
fn remove_elsewhere(
    plan: &RedirectPlan,
    shown: &[undo::Dump],
    deadline: Instant,
) -> Result<Vec<Running>, ApplyError> {
    let mut running = Vec::new();
    for dump in shown {
        if dump.backend == plan.backend && plan.has(dump.family) {
            continue;
        }
        if let Some(text) = plan.render_undo(dump.family, &dump.text) {
            running.push(restore(dump.backend, dump.family, text, deadline)?);
        }
    }
    Ok(running)
}

fn restore(
    backend: Backend,
    family: Family,
    text: String,
    deadline: Instant,
) -> Result<Running, ApplyError> {
    let lock = Path::new(LOCK_OF_A_POD);
    start_restore(backend, family, text, lock, deadline).map_err(ApplyError::Rules)
}

/// Starts the tool that installs rules.
pub(crate) fn start_restore(
    backend: Backend,
    family: Family,
    input: String,
    lock: &Path,
    deadline: Instant,
) -> Result<Running, ToolError> {
    let mut arguments = vec!["--noflush".to_owned()];
    if backend == Backend::Legacy {
        // The tool gives up by itself a little after we would kill it.
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        arguments.push(format!("--wait={}", left + 1));
    }
    Running::start(Job {
        tool: tools::name(backend, family, Purpose::Restore),
        program: tools::find(backend, family, Purpose::Restore)?,
        arguments,
        input,
        lock: lock.to_owned(),
    })
}

fn all(results: Vec<Result<String, ToolError>>) -> Result<(), ApplyError> {
    results
        .into_iter()
        .try_for_each(|result| result.map(drop).map_err(ApplyError::Rules))
}
