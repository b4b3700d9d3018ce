//! Removes a plan, and says how a namespace differs from it.

use std::io;
use std::path::Path;
use std::time::Instant;

use node_agent_redirect::{Backend, Drift, Family, RedirectPlan};

use crate::addresses::{Ipv6, ipv6_here};
use crate::apply::{routed_families, start_restore};
use crate::enter::{EnterError, enter};
use crate::netns::Netns;
use crate::process::{Job, LOCK_OF_A_POD, Running, ToolError, wait};
use crate::residue::Residue;
use crate::routes;
use crate::tools::{self, Purpose};
use crate::tracked;

/// Rules may change between looking and removing; then the removal is refused and we look again.
const ATTEMPTS: usize = 3;

/// Why not everything of ours could be removed.
#[derive(thiserror::Error, Debug)]
pub enum UndoError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// What is in the namespace cannot be seen.
    #[error("cannot see what the pod's namespace holds: {0}")]
    Look(#[source] io::Error),
    /// The rules could not be removed.
    #[error("packet rules not removed: {0}")]
    Rules(#[source] ToolError),
    /// The routes could not be removed.
    #[error("routes not removed: {0}")]
    Routes(#[source] io::Error),
    /// Tracked connections of the tunnel's could not be forgotten.
    #[error("tracked connections not forgotten: {0}")]
    Tracked(#[source] io::Error),
}

/// Why a namespace could not be compared with its plan.
#[derive(thiserror::Error, Debug)]
pub enum CheckError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// What is in the namespace cannot be seen.
    #[error("cannot see what the pod's namespace holds: {0}")]
    Look(#[source] io::Error),
    /// The rules could not be shown.
    #[error("packet rules cannot be shown: {0}")]
    Rules(#[source] ToolError),
}

/// Removes our chains, the jumps to them, our routes and routing rules, of both families and both
/// backends, whichever the plan names; what is not there is no error.
///
/// # Errors
/// Says what could not be removed; everything else is.
pub fn undo(ns: &Netns, plan: &RedirectPlan, deadline: Instant) -> Result<(), UndoError> {
    enter(ns, || undo_here(plan, deadline))?
}

/// Says how a namespace differs from its plan; nothing means that it does not.
///
/// # Errors
/// When the namespace cannot be entered or shown; that is not the same as "it differs".
pub fn check(ns: &Netns, plan: &RedirectPlan, deadline: Instant) -> Result<Vec<Drift>, CheckError> {
    enter(ns, || check_here(plan, deadline))?
}

/// [`undo`] in the namespace of the calling thread.
pub(crate) fn undo_here(plan: &RedirectPlan, deadline: Instant) -> Result<(), UndoError> {
    // Rules first: without them nothing needs the routes, without the routes the rules cut off.
    let rules = undo_rules(plan, deadline);
    let routes = routes::remove(plan).map_err(UndoError::Routes);
    // Last: while there are rules, there is more to track.
    let tracked = tracked::forget().map_err(UndoError::Tracked);
    rules.and(routes).and(tracked.map(drop))
}

fn undo_rules(plan: &RedirectPlan, deadline: Instant) -> Result<(), UndoError> {
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let residue = Residue::look().map_err(UndoError::Look)?;
        let dumps = show(plan, &residue, deadline).map_err(UndoError::Rules)?;
        let mut running = Vec::new();
        for dump in &dumps {
            if let Some(text) = plan.render_undo(dump.family, &dump.text) {
                let lock = Path::new(LOCK_OF_A_POD);
                let started = start_restore(dump.backend, dump.family, text, lock, deadline);
                running.push(started.map_err(UndoError::Rules)?);
            }
        }
        outcome = wait(running, deadline)
            .into_iter()
            .try_for_each(|result| result.map(drop).map_err(UndoError::Rules));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn check_here(plan: &RedirectPlan, deadline: Instant) -> Result<Vec<Drift>, CheckError> {
    let ipv6 = if plan.ipv6 {
        ipv6_here()
    } else {
        Ok(Ipv6::None)
    };
    let ipv6 = ipv6.map_err(CheckError::Look)?;
    let residue = Residue::look().map_err(CheckError::Look)?;
    let dumps = show(plan, &residue, deadline).map_err(CheckError::Rules)?;
    let mut drift = Vec::new();
    for family in [Family::V4, Family::V6] {
        if family == Family::V6 && plan.ipv6 && ipv6 == Ipv6::None {
            continue;
        }
        let text = dumps
            .iter()
            .find(|dump| dump.backend == plan.backend && dump.family == family)
            .map_or("", |dump| dump.text.as_str());
        drift.extend(plan.drift(family, text));
    }
    for dump in dumps.iter().filter(|dump| dump.backend != plan.backend) {
        if RedirectPlan::shows_ours(&dump.text) {
            drift.push(Drift::OtherBackend {
                family: dump.family,
                backend: dump.backend,
            });
        }
    }
    let routed = routed_families(plan, ipv6);
    drift.extend(routes::missing(plan, &routed).map_err(CheckError::Look)?);
    Ok(drift)
}

/// What the save tool prints.
pub(crate) struct Dump {
    /// Of this backend.
    pub(crate) backend: Backend,
    /// Of this family.
    pub(crate) family: Family,
    /// The text.
    pub(crate) text: String,
}

/// Shows the rules wherever there is a table; all at once. A backend other than the plan's whose
/// tools are not on this node is passed over: nothing here could have put rules of ours there.
pub(crate) fn show(
    plan: &RedirectPlan,
    residue: &Residue,
    deadline: Instant,
) -> Result<Vec<Dump>, ToolError> {
    let mut asked = Vec::new();
    let mut running = Vec::new();
    for (backend, family) in residue.iter() {
        let program = match tools::find(backend, family, Purpose::Save) {
            Err(ToolError::Missing { .. }) if backend != plan.backend => continue,
            found => found?,
        };
        running.push(Running::start(Job {
            tool: tools::name(backend, family, Purpose::Save),
            program,
            arguments: Vec::new(),
            input: String::new(),
            lock: LOCK_OF_A_POD.into(),
        })?);
        asked.push((backend, family));
    }
    let answers = wait(running, deadline);
    asked
        .into_iter()
        .zip(answers)
        .map(|((backend, family), text)| {
            Ok(Dump {
                backend,
                family,
                text: text?,
            })
        })
        .collect()
}
