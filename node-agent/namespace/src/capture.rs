//! Begins and narrows capture in a pod that runs already, without touching what it has open.

use std::io;
use std::time::Instant;

use node_agent_redirect::{RedirectPlan, Spared, to_spare};

use crate::apply::{ApplyError, apply};
use crate::connections::{ConnectionsError, connections};
use crate::enter::{EnterError, enter};
use crate::netns::Netns;
use crate::residue::Residue;
use crate::tracked;
use crate::undo::show;

/// Why capture did not begin.
#[derive(thiserror::Error, Debug)]
pub enum CaptureError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// What is in the namespace cannot be seen.
    #[error("cannot see what the pod's namespace holds: {0}")]
    Look(#[source] io::Error),
    /// Its connections cannot be listed.
    #[error(transparent)]
    Connections(#[from] ConnectionsError),
    /// The rules were not accepted.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Captures what a running pod opens from now on, and spares what it has open. Returns the plan
/// that is in force then.
///
/// First the rules that capture nothing: with them the kernel begins to track connections, each
/// untranslated from its first tracked packet on, and stays so. Then the list of what is open,
/// which thus has every connection that tracking does not know from its beginning. Then the rules
/// that capture: they see first packets of new connections, and of those that were silent so far,
/// which are on the list.
///
/// # Errors
/// Rules that capture nothing may be left then, or a part of those that capture: the caller takes
/// the plan out as it would a pod's that leaves.
pub fn capture_running(
    ns: &Netns,
    plan: &RedirectPlan,
    deadline: Instant,
) -> Result<RedirectPlan, CaptureError> {
    let quiet = plan.capturing_nothing_new();
    let was_redirected = enter(ns, || shows_ours(plan, deadline))??;
    if !was_redirected {
        // What is tracked as ours is left over from an earlier time in the mesh.
        enter(ns, tracked::forget)?.map_err(CaptureError::Look)?;
    }
    apply(ns, &quiet, deadline)?;
    let full = plan.sparing(to_spare(&connections(ns)?));
    apply(ns, &full, deadline)?;
    Ok(full)
}

/// Takes connections that have ended off the plan's list; `None` when there are none.
///
/// # Errors
/// The plan is as it was then.
pub fn spare_fewer(
    ns: &Netns,
    plan: &RedirectPlan,
    deadline: Instant,
) -> Result<Option<RedirectPlan>, CaptureError> {
    let open = to_spare(&connections(ns)?);
    let (still, ended): (Vec<Spared>, Vec<Spared>) = plan
        .spared
        .iter()
        .partition(|spared| open.binary_search(spared).is_ok());
    if ended.is_empty() {
        return Ok(None);
    }
    let fewer = plan.sparing(still);
    apply(ns, &fewer, deadline)?;
    Ok(Some(fewer))
}

fn shows_ours(plan: &RedirectPlan, deadline: Instant) -> Result<bool, CaptureError> {
    let residue = Residue::look().map_err(CaptureError::Look)?;
    let shown = show(plan, &residue, deadline).map_err(ApplyError::Rules)?;
    let ours = shown
        .iter()
        .any(|dump| RedirectPlan::shows_ours(&dump.text));
    Ok(ours)
}
