//! Everything enrolment does to the world outside the agent's own tables: listeners, rules,
//! certificates, the mesh's view of a pod. One implementation is real, the other is scripted by
//! tests.

pub(crate) mod real;
#[cfg(test)]
pub(crate) mod scripted;

use std::error::Error;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_cluster::Warning;
use node_agent_enrollment::{Annotate, Asked, FoundPlace, NamespaceId, PodKey, PodRecord, PodRef};
use node_agent_handover::{Located, Sought};
use node_agent_redirect::{Backend, Exemption, RedirectPlan};

/// A step that failed, with its cause; the texts name whose fault it is and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct WorldError {
    #[source]
    cause: Box<dyn Error + Send + Sync>,
    /// Whether the same step may succeed later without anybody doing anything.
    pub(crate) retry: bool,
}

impl WorldError {
    /// A failure that may pass by itself.
    pub(crate) fn passing(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            cause: cause.into(),
            retry: true,
        }
    }

    /// A failure that stays until somebody acts.
    pub(crate) fn lasting(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            cause: cause.into(),
            retry: false,
        }
    }
}

/// What enrolment needs of the world.
pub(crate) trait World: Send + Sync + 'static {
    /// Which namespace a descriptor means; refuses what is no network namespace, and the host's.
    fn identify(&self, netns: &OwnedFd) -> Result<NamespaceId, WorldError>;

    /// Opens the namespace at a path, if there is one.
    fn open(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Option<Arc<OwnedFd>>, WorldError>> + Send;

    /// Asks about a pod that is not known, where there is somebody to ask; there is an answer within
    /// the limit.
    fn ask(&self, pod: &PodRef, limit: Duration) -> impl Future<Output = Option<Asked>> + Send;

    /// Looks where pods run that nobody told of; an outcome for each, in the same order.
    fn locate(
        &self,
        pods: Vec<Sought>,
        until: Instant,
    ) -> impl Future<Output = Result<Vec<Located>, WorldError>> + Send;

    /// Makes where a pod runs, or that it was not found, part of what is known.
    fn place(&self, uid: String, place: Option<FoundPlace>) -> impl Future<Output = ()> + Send;

    /// Writes a pod's annotation, where there is somebody to write it to.
    fn annotate(&self, annotate: &Annotate) -> impl Future<Output = Result<(), WorldError>> + Send;

    /// Makes an event of a warning, where there is somebody to make it of.
    fn warn(&self, warning: &Warning) -> impl Future<Output = Result<(), WorldError>> + Send;

    /// The addresses that the namespace's interfaces carry.
    fn addresses(
        &self,
        netns: Arc<OwnedFd>,
    ) -> impl Future<Output = Result<Vec<IpAddr>, WorldError>> + Send;

    /// The rules every pod gets, whatever its addresses: it may get one of the other family later.
    fn plan(&self) -> RedirectPlan;

    /// Takes interest in the certificate of a pod's identity; one release for each.
    fn hold_certificate(&self, record: &PodRecord);

    /// Gives the interest up.
    fn release_certificate(&self, record: &PodRecord);

    /// Waits until there is a certificate.
    fn certificate(&self, record: &PodRecord) -> impl Future<Output = ()> + Send;

    /// Whether there is a certificate now.
    fn has_certificate(&self, record: &PodRecord) -> bool;

    /// Why there is none yet.
    fn certificate_problem(&self, record: &PodRecord) -> Option<String>;

    /// Opens the pod's listeners and tells the mesh of the pod; listeners exist on return.
    fn open_listeners(
        &self,
        record: &PodRecord,
        netns: OwnedFd,
    ) -> impl Future<Output = Result<(), WorldError>> + Send;

    /// Closes them, cuts their connections and withdraws the pod; harmless if there are none.
    fn close_listeners(&self, pod: &PodKey) -> impl Future<Output = ()> + Send;

    /// Whether the pod's listeners are open.
    fn has_listeners(&self, pod: &PodKey) -> bool;

    /// Tries the way through the rules to the listeners.
    fn probe(&self, pod: &PodKey) -> impl Future<Output = Result<(), WorldError>> + Send;

    /// Takes the rules out; harmless if there are none.
    fn remove_rules(
        &self,
        record: &PodRecord,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> impl Future<Output = Result<(), WorldError>> + Send;

    /// How the rules differ from the plan; nothing means that they do not.
    fn check_rules(
        &self,
        record: &PodRecord,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> impl Future<Output = Result<Vec<String>, WorldError>> + Send;

    /// Brings the rules back to the plan if they are not; says what had changed.
    fn repair_rules(
        &self,
        record: &PodRecord,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> impl Future<Output = Result<Vec<String>, WorldError>> + Send;

    /// Exempts the node's own probes of these addresses from capture, and of no others; says where the
    /// rules are, and how they differed from what they were before.
    fn exempt(
        &self,
        exemption: &Exemption,
        before: Option<&Exemption>,
        until: Instant,
    ) -> impl Future<Output = Result<(Backend, Vec<String>), WorldError>> + Send;

    /// Opens the pod's listeners, but does not tell the mesh of it yet.
    fn listen(
        &self,
        record: &PodRecord,
        netns: OwnedFd,
    ) -> impl Future<Output = Result<(), WorldError>> + Send;

    /// Tells the mesh of a pod whose listeners and rules are in place: peers come by tunnel now.
    fn announce(&self, record: &PodRecord) -> Result<(), WorldError>;

    /// Takes that back.
    fn withdraw(&self, pod: &PodKey);

    /// Whether the mesh's state, as far as it is not what we told, sends peers to the pod by tunnel.
    fn is_sought(&self, record: &PodRecord) -> bool;

    /// Waits until the pod has no connection left, or patience is over; how many are left.
    fn drain(&self, pod: &PodKey, patience: Duration) -> impl Future<Output = usize> + Send;

    /// How many connections the tunnel has a part in, as the kernel sees it: whichever process of
    /// ours they belong to.
    fn served(&self, netns: Arc<OwnedFd>)
    -> impl Future<Output = Result<usize, WorldError>> + Send;

    /// Captures what a running pod opens from now on; the plan that is in force then.
    fn capture(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> impl Future<Output = Result<RedirectPlan, WorldError>> + Send;

    /// Brings the rules to a plan.
    fn apply_rules(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> impl Future<Output = Result<(), WorldError>> + Send;

    /// Takes spared connections that have ended out of the rules; the plan that is in force then,
    /// if it is another.
    fn spare_fewer(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> impl Future<Output = Result<Option<RedirectPlan>, WorldError>> + Send;
}
