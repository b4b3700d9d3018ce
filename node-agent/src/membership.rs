//! Whether a pod belongs to the mesh, as far as this agent can find out.

use node_agent_enrollment::{Decision, PodRef, decide, decide_asked};

use crate::agent::Agent;
use crate::world::World;

impl<W> Agent<W> {
    /// Decides from what is known already.
    pub(crate) fn decide(&self, pod: &PodRef) -> Decision {
        let roster = self.roster.borrow().clone();
        decide(roster.as_deref(), &self.policy.excluded_namespaces, pod)
    }
}

impl<W: World> Agent<W> {
    /// Decides; asks about a pod that is not known, because the runtime may be ahead of the watch.
    pub(crate) async fn find_out(&self, pod: &PodRef) -> Decision {
        let decision = self.decide(pod);
        let Decision::Unknown { .. } = decision else {
            return decision;
        };
        let Some(asked) = self.world.ask(pod, self.policy.pod_lookup).await else {
            return decision;
        };
        let roster = self.roster.borrow().clone();
        let excluded = &self.policy.excluded_namespaces;
        decide_asked(
            roster.as_deref(),
            excluded,
            pod,
            &asked,
            self.policy.on_unknown,
        )
    }
}
