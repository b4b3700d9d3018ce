//! The real world: the tunnel, the kernel, the certificate authority, the mesh's snapshot.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use node_agent_cluster::{ClusterHandle, TellError, Warning};
use node_agent_enrollment::{Annotate, Asked, FoundPlace, NamespaceId, PodKey, PodRecord, PodRef};
use node_agent_handover::{Job, JobDone, Located, Sought};
use node_agent_namespace::Netns;
use node_agent_redirect::{Backend, Exemption, RedirectPlan};
use tunnel_credentials::Credentials;
use tunnel_discovery::MeshStore;
use tunnel_model::{Identity, IdentityError, PodUid, Protocol, Workload};

use super::{World, WorldError};
use crate::link::{Holder, HolderFailure};
use crate::tunnel_port::TunnelPort;

/// What all pods of this node have in common.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) node: Arc<str>,
    pub(crate) cluster_id: Arc<str>,
    pub(crate) network: Arc<str>,
    pub(crate) trust_domain: Arc<str>,
    pub(crate) backend: Backend,
    pub(crate) ipv6: bool,
}

/// The real world.
pub(crate) struct RealWorld {
    pub(crate) tunnel: TunnelPort,
    pub(crate) credentials: Credentials,
    pub(crate) mesh: Arc<MeshStore>,
    pub(crate) holder: Holder,
    /// The API server, if that says which pods there are.
    pub(crate) cluster: Option<ClusterHandle>,
    pub(crate) place: Place,
    /// Where the node's own rules are, once that is known.
    pub(crate) node_backend: OnceLock<Backend>,
}

impl RealWorld {
    fn identity(&self, record: &PodRecord) -> Result<Identity, IdentityError> {
        let place = &self.place;
        Identity::new(
            &place.trust_domain,
            &record.pod.namespace,
            &record.service_account,
        )
    }

    /// The pod as peers on this node see it until the mesh file names it.
    fn workload(&self, record: &PodRecord, identity: Identity) -> Workload {
        let place = &self.place;
        let PodRecord { pod, addresses, .. } = record;
        let uid = format!("{}//Pod/{}/{}", place.cluster_id, pod.namespace, pod.name);
        let mut workload = Workload::new(&uid, &pod.name, identity, addresses.clone());
        workload.node = Arc::clone(&place.node);
        workload.cluster_id = Arc::clone(&place.cluster_id);
        workload.network = Arc::clone(&place.network);
        workload.protocol = Protocol::Hbone;
        workload.workload_name = pod.name.as_str().into();
        workload.canonical_name = pod.name.as_str().into();
        workload.canonical_revision = "latest".into();
        workload
    }
}

impl World for RealWorld {
    fn identify(&self, netns: &OwnedFd) -> Result<NamespaceId, WorldError> {
        let copy = netns.try_clone().map_err(WorldError::passing)?;
        let id = Netns::from_fd(copy).map_err(WorldError::lasting)?.id();
        Ok(NamespaceId {
            device: id.dev,
            inode: id.ino,
        })
    }

    async fn open(&self, path: &str) -> Result<Option<Arc<OwnedFd>>, WorldError> {
        let asked = tokio::time::timeout(LISTING, self.holder.namespace(path)).await;
        let found = asked.map_err(|_| WorldError::passing(NO_ANSWER))?;
        Ok(found.map_err(failure)?.map(Arc::new))
    }

    async fn ask(&self, pod: &PodRef, limit: Duration) -> Option<Asked> {
        Some(self.cluster.as_ref()?.ask(pod, limit).await)
    }

    async fn locate(&self, pods: Vec<Sought>, until: Instant) -> Result<Vec<Located>, WorldError> {
        match self.work(Job::Locate { pods }, None, until).await? {
            JobDone::Located(located) => Ok(located),
            other => Err(out_of_turn(&other)),
        }
    }

    async fn place(&self, uid: String, place: Option<FoundPlace>) {
        if let Some(cluster) = &self.cluster {
            cluster.found(uid, place).await;
        }
    }

    async fn annotate(&self, annotate: &Annotate) -> Result<(), WorldError> {
        match &self.cluster {
            Some(cluster) => cluster.annotate(annotate).await.map_err(not_told),
            None => Ok(()),
        }
    }

    async fn warn(&self, warning: &Warning) -> Result<(), WorldError> {
        match &self.cluster {
            Some(cluster) => cluster.warn(warning).await.map_err(not_told),
            None => Ok(()),
        }
    }

    async fn addresses(&self, netns: Arc<OwnedFd>) -> Result<Vec<IpAddr>, WorldError> {
        let until = Instant::now() + LISTING;
        match self.inside(netns, Job::Addresses, until).await? {
            JobDone::Addresses(addresses) => Ok(addresses),
            other => Err(out_of_turn(&other)),
        }
    }

    fn plan(&self) -> RedirectPlan {
        RedirectPlan {
            ipv6: self.place.ipv6,
            ..RedirectPlan::new(self.place.backend)
        }
    }

    fn hold_certificate(&self, record: &PodRecord) {
        if let Ok(identity) = self.identity(record) {
            self.credentials.hold(identity);
        }
    }

    fn release_certificate(&self, record: &PodRecord) {
        if let Ok(identity) = self.identity(record) {
            self.credentials.release(&identity);
        }
    }

    async fn certificate(&self, record: &PodRecord) {
        match self.identity(record) {
            Ok(identity) => drop(self.credentials.certificate(&identity).await),
            // There never will be one; the caller's own limit ends the wait.
            Err(_) => std::future::pending().await,
        }
    }

    fn has_certificate(&self, record: &PodRecord) -> bool {
        self.identity(record)
            .is_ok_and(|identity| self.credentials.current(&identity).is_some())
    }

    fn certificate_problem(&self, record: &PodRecord) -> Option<String> {
        match self.identity(record) {
            Ok(identity) => self.credentials.last_error(&identity),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn open_listeners(&self, record: &PodRecord, netns: OwnedFd) -> Result<(), WorldError> {
        self.announce(record)?;
        self.listen(record, netns).await
    }

    async fn close_listeners(&self, pod: &PodKey) {
        self.tunnel.release(&uid(pod)).await;
        self.withdraw(pod);
    }

    fn has_listeners(&self, pod: &PodKey) -> bool {
        self.tunnel.serves(&uid(pod))
    }

    async fn probe(&self, pod: &PodKey) -> Result<(), WorldError> {
        self.tunnel.probe(&uid(pod)).await
    }

    async fn remove_rules(
        &self,
        record: &PodRecord,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> Result<(), WorldError> {
        let plan = plan_of(record)?;
        self.inside(netns, Job::Undo { plan }, until)
            .await
            .map(drop)
    }

    async fn check_rules(
        &self,
        record: &PodRecord,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> Result<Vec<String>, WorldError> {
        let plan = plan_of(record)?;
        drift(self.inside(netns, Job::Check { plan }, until).await?)
    }

    async fn repair_rules(
        &self,
        record: &PodRecord,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> Result<Vec<String>, WorldError> {
        let plan = plan_of(record)?;
        drift(self.inside(netns, Job::Repair { plan }, until).await?)
    }

    async fn exempt(
        &self,
        exemption: &Exemption,
        before: Option<&Exemption>,
        until: Instant,
    ) -> Result<(Backend, Vec<String>), WorldError> {
        let job = Job::Exempt {
            exemption: exemption.clone(),
            before: before.cloned(),
            backend: self.node_backend.get().copied(),
            otherwise: self.place.backend,
        };
        match self.work(job, None, until).await? {
            JobDone::Exempted { backend, changed } => {
                Ok((*self.node_backend.get_or_init(|| backend), changed))
            }
            other => Err(out_of_turn(&other)),
        }
    }

    async fn listen(&self, record: &PodRecord, netns: OwnedFd) -> Result<(), WorldError> {
        let identity = self.identity(record).map_err(WorldError::lasting)?;
        self.tunnel.admit(record, identity, netns).await
    }

    fn announce(&self, record: &PodRecord) -> Result<(), WorldError> {
        let identity = self.identity(record).map_err(WorldError::lasting)?;
        let uid = uid(&record.pod.key());
        self.mesh.upsert_local(uid, self.workload(record, identity));
        Ok(())
    }

    fn withdraw(&self, pod: &PodKey) {
        self.mesh.remove_local(&uid(pod));
    }

    fn is_sought(&self, record: &PodRecord) -> bool {
        let mesh = self.mesh.reader().load();
        let network = &self.place.network;
        record.addresses.iter().any(|address| {
            mesh.workload_by_ip(network, *address)
                .is_some_and(|workload| workload.protocol == Protocol::Hbone)
        })
    }

    async fn drain(&self, pod: &PodKey, patience: Duration) -> usize {
        self.tunnel.drain_pod(&uid(pod), patience).await
    }

    async fn served(&self, netns: Arc<OwnedFd>) -> Result<usize, WorldError> {
        let until = Instant::now() + LISTING;
        match self.inside(netns, Job::Served, until).await? {
            JobDone::Count(count) => Ok(count),
            other => Err(out_of_turn(&other)),
        }
    }

    async fn capture(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> Result<RedirectPlan, WorldError> {
        match self.inside(netns, Job::Capture { plan }, until).await? {
            JobDone::Plan(Some(plan)) => Ok(plan),
            other => Err(out_of_turn(&other)),
        }
    }

    async fn apply_rules(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> Result<(), WorldError> {
        self.inside(netns, Job::Apply { plan }, until)
            .await
            .map(drop)
    }

    async fn spare_fewer(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        until: Instant,
    ) -> Result<Option<RedirectPlan>, WorldError> {
        match self.inside(netns, Job::SpareFewer { plan }, until).await? {
            JobDone::Plan(plan) => Ok(plan),
            other => Err(out_of_turn(&other)),
        }
    }
}

impl RealWorld {
    async fn inside(
        &self,
        netns: Arc<OwnedFd>,
        job: Job,
        until: Instant,
    ) -> Result<JobDone, WorldError> {
        let netns = netns.try_clone().map_err(WorldError::passing)?;
        self.work(job, Some(netns), until).await
    }

    /// Has the holder work. It may be gone for a moment, so its own limit on the work is not enough.
    async fn work(
        &self,
        job: Job,
        netns: Option<OwnedFd>,
        until: Instant,
    ) -> Result<JobDone, WorldError> {
        let within = until.saturating_duration_since(Instant::now());
        let work = self.holder.work(job, netns, within);
        match tokio::time::timeout(within + GRACE, work).await {
            Ok(done) => done.map_err(failure),
            Err(_) => Err(WorldError::passing(NO_ANSWER)),
        }
    }
}

fn not_told(error: TellError) -> WorldError {
    if error.is_pointless() {
        WorldError::lasting(error)
    } else {
        WorldError::passing(error)
    }
}

fn failure(failure: HolderFailure) -> WorldError {
    if failure.passing {
        WorldError::passing(failure)
    } else {
        WorldError::lasting(failure)
    }
}

fn drift(done: JobDone) -> Result<Vec<String>, WorldError> {
    match done {
        JobDone::Drift(drift) => Ok(drift),
        other => Err(out_of_turn(&other)),
    }
}

fn out_of_turn(done: &JobDone) -> WorldError {
    WorldError::lasting(format!("the holder did something else: {done:?}"))
}

fn plan_of(record: &PodRecord) -> Result<RedirectPlan, WorldError> {
    serde_json::from_value(record.plan.clone()).map_err(WorldError::lasting)
}

fn uid(pod: &PodKey) -> PodUid {
    PodUid::from(pod.as_str())
}

/// Addresses are listed within this time.
const LISTING: Duration = Duration::from_secs(10);
/// How much longer than the work itself the answer may take.
const GRACE: Duration = Duration::from_secs(5);
const NO_ANSWER: &str =
    "the holder does not answer; see its log, and restart the agent if it hangs";
