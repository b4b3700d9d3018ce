//! The redirect rules in the pod's namespace, and their removal when something fails later.

use std::time::{Duration, Instant};

use cni_plugin_spec::CniError;
use node_agent_namespace::{Netns, NetnsError, apply, check, undo};
use node_agent_redirect::{Backend, RedirectPlan};

use crate::call::Budget;
use crate::{complain, failure};

/// The pod's namespace, for a verb that needs it.
pub(crate) fn namespace(path: &str) -> Result<Netns, CniError> {
    Netns::open(path).map_err(|error| failure::namespace(path, &error))
}

/// The pod's namespace, for a verb that does without: DEL comes after it is gone, too.
pub(crate) fn namespace_if_any(path: Option<&str>) -> Option<Netns> {
    match Netns::open(path?) {
        Ok(netns) => Some(netns),
        Err(NetnsError::Gone { .. }) => None,
        Err(error) => {
            complain(&format!("the pod's namespace is left as it is: {error}"));
            None
        }
    }
}

/// Rules that are installed for a pod not admitted yet. They go with this unless it is kept.
#[must_use = "dropping it takes the rules out again"]
pub(crate) struct Provisional<'a> {
    netns: &'a Netns,
    plan: RedirectPlan,
    budget: Budget,
    kept: bool,
    /// How long the installation took.
    pub(crate) took: Duration,
}

impl<'a> Provisional<'a> {
    pub(crate) fn install(
        netns: &'a Netns,
        plan: RedirectPlan,
        budget: Budget,
    ) -> Result<Self, CniError> {
        let began = Instant::now();
        // What it did before it failed it has undone itself.
        apply(netns, &plan, budget.work_until()).map_err(|error| failure::rules(&error))?;
        Ok(Self {
            netns,
            plan,
            budget,
            kept: false,
            took: began.elapsed(),
        })
    }

    /// The pod is admitted: the rules stay.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Provisional<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = undo(self.netns, &self.plan, self.budget.undo_until()) {
            // The pod does not start, and the rules lead nowhere but to the agent: still closed.
            complain(&format!(
                "the rules of the failed ADD are still in the pod: {error}"
            ));
        }
    }
}

/// Takes out whatever is ours. Without a plan, because the agent is away, any will do: removal goes
/// by what is there, in both backends.
pub(crate) fn remove(
    netns: &Netns,
    plan: Option<RedirectPlan>,
    budget: Budget,
) -> Result<(), String> {
    let plan = plan.unwrap_or_else(|| RedirectPlan {
        dns: true,
        ..RedirectPlan::new(Backend::Nft)
    });
    undo(netns, &plan, budget.undo_until()).map_err(|error| error.to_string())
}

/// How the rules differ from the plan, each a sentence.
pub(crate) fn problems(
    netns: &Netns,
    plan: &RedirectPlan,
    budget: Budget,
) -> Result<Vec<String>, CniError> {
    let drifts = check(netns, plan, budget.work_until()).map_err(|error| failure::rules(&error))?;
    Ok(drifts.iter().map(ToString::to_string).collect())
}
