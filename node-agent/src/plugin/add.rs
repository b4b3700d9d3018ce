//! ADD: leads one pod into the mesh, or leaves nothing of the attempt.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cni_plugin_handoff::{AddRequest, CertificateState, Reply, Report};
use node_agent_enrollment::{
    AttachmentKey, Decision, Event, LeaveReason, Member, NamespaceId, PodRecord, PodRef, Traffic,
};
use node_agent_redirect::RedirectPlan;
use node_agent_settings::OnMissingCertificate;
use tokio::time::{timeout, timeout_at};

use super::failure::AddError;
use super::link::{Link, LinkError};
use crate::agent::Agent;
use crate::leave::{leave, replace};
use crate::world::World;

/// Answers one ADD. The error is what was told to the plugin, for the log.
pub(crate) async fn add<W: World>(
    agent: &Agent<W>,
    link: &mut Link,
    request: AddRequest,
    netns: Option<OwnedFd>,
) -> Result<(), AddError> {
    let began = Instant::now();
    let pod = pod_of(&request.pod);
    let member = match unless_ended(link, agent.find_out(&pod)).await? {
        Decision::NotInMesh { reason } => {
            tracing::debug!(pod = %pod, reason, "pod is not in the mesh");
            return Ok(link.say(&Reply::NotInMesh { reason }).await?);
        }
        Decision::Unknown { reason } => Err(AddError::Unknown {
            reason,
            teller: agent.source(),
        }),
        Decision::InMesh(member) => Ok(member),
    };
    if let Some(why) = agent.not_ready() {
        return Err(AddError::NotReady(why));
    }
    let budget = budget(&request, agent.policy.admission_deadline).saturating_sub(began.elapsed());
    let candidate = Candidate::new(agent, &request, pod, member?, netns).await?;
    candidate.enrol(agent, link, budget).await
}

/// A pod on its way in.
struct Candidate {
    record: Arc<PodRecord>,
    plan: RedirectPlan,
    netns: Arc<OwnedFd>,
    why: String,
}

impl Candidate {
    async fn new<W: World>(
        agent: &Agent<W>,
        request: &AddRequest,
        pod: PodRef,
        member: Member,
        netns: Option<OwnedFd>,
    ) -> Result<Self, AddError> {
        let netns = netns.ok_or(AddError::NoNamespace)?;
        let namespace_id = agent.world.identify(&netns).map_err(AddError::Namespace)?;
        let addresses = request
            .addresses
            .iter()
            .map(|text| address(text))
            .collect::<Result<Vec<_>, _>>()?;
        let plan = agent.world.plan();
        let record = Arc::new(PodRecord {
            attachment: AttachmentKey {
                container_id: request.container_id.clone(),
                ifname: request.ifname.clone(),
            },
            pod,
            service_account: member.service_account,
            netns: visible_path(agent, request, namespace_id).await,
            namespace_id,
            addresses,
            plan: serde_json::to_value(&plan)?,
        });
        Ok(Self {
            record,
            plan,
            netns: Arc::new(netns),
            why: member.reason,
        })
    }

    async fn enrol<W: World>(
        &self,
        agent: &Agent<W>,
        link: &mut Link,
        budget: Duration,
    ) -> Result<(), AddError> {
        let (began, until) = (Instant::now(), tokio::time::Instant::now() + budget);
        let key = &self.record.attachment;
        let waiting = agent.pods.turn(key.clone(), Some(self.record.pod.key()));
        let _turn = tokio::select! {
            turn = timeout_at(until, waiting) => turn.map_err(|_| AddError::Deadline(budget))??,
            end = link.ended() => return Err(end.into()),
        };
        self.begin(agent).await?;
        let outcome = timeout_at(until, self.steps(agent, link, began + budget))
            .await
            .unwrap_or(Err(AddError::Deadline(budget)));
        if let Err(error) = outcome {
            let reason = LeaveReason::EnrolmentFailed;
            let netns = Some(Arc::clone(&self.netns));
            leave(agent, &self.record, reason, netns, UNDO_BUDGET).await;
            return Err(error);
        }
        agent.pods.advance(key, Event::Recorded).await?;
        let (pod, millis) = (&self.record.pod, began.elapsed().as_millis());
        tracing::info!(
            pod = %pod, uid = %pod.key(), service_account = self.record.service_account,
            container = key.container_id, why = self.why, took_ms = u64::try_from(millis).ok(),
            "pod enrolled"
        );
        Ok(())
    }

    /// Enters the table, and takes out what this attempt replaces.
    async fn begin<W: World>(&self, agent: &Agent<W>) -> Result<(), AddError> {
        let begun = agent.pods.begin(Arc::clone(&self.record)).await?;
        agent.world.hold_certificate(&self.record);
        replace(agent, begun, &self.record.pod.key(), UNDO_BUDGET).await?;
        Ok(())
    }

    async fn steps<W: World>(
        &self,
        agent: &Agent<W>,
        link: &mut Link,
        until: Instant,
    ) -> Result<(), AddError> {
        let key = &self.record.attachment;
        let netns = self.netns.try_clone().map_err(LinkError::Io)?;
        let opening = agent.world.open_listeners(&self.record, netns);
        unless_ended(link, opening)
            .await?
            .map_err(AddError::Listeners)?;
        agent.pods.advance(key, Event::ListenersOpen).await?;

        self.install(link).await?;
        agent.pods.advance(key, Event::RulesInstalled).await?;

        let pod = self.record.pod.key();
        let probing = agent.world.probe(&pod);
        unless_ended(link, probing)
            .await?
            .map_err(AddError::Probe)?;
        agent.pods.advance(key, Event::ProbePassed).await?;

        let traffic = unless_ended(link, self.certificate(agent, until)).await??;
        let event = match traffic {
            Traffic::Ready => Event::CertificateReady,
            Traffic::Held => Event::CertificateLate,
        };
        let recording = agent.pods.advance(key, event).await?;
        unless_ended(link, agent.writer.durable(recording.generation)).await??;

        let certificate = match traffic {
            Traffic::Ready => CertificateState::Ready,
            Traffic::Held => CertificateState::Held,
        };
        Ok(link.say(&Reply::Admitted { certificate }).await?)
    }

    async fn install(&self, link: &mut Link) -> Result<(), AddError> {
        let plan = self.plan.clone();
        link.say(&Reply::Install { plan }).await?;
        match link.report().await? {
            Report::Installed { took_micros } => {
                tracing::debug!(pod = %self.record.pod, took_micros, "rules installed");
                Ok(())
            }
            Report::InstallFailed { message } => Err(AddError::Install(message)),
        }
    }

    async fn certificate<W: World>(
        &self,
        agent: &Agent<W>,
        until: Instant,
    ) -> Result<Traffic, AddError> {
        let wait = agent.policy.certificate_wait.min(time_left(until));
        if timeout(wait, agent.world.certificate(&self.record))
            .await
            .is_ok()
        {
            return Ok(Traffic::Ready);
        }
        let why = agent
            .world
            .certificate_problem(&self.record)
            .unwrap_or_else(|| "the authority has not answered yet".to_owned());
        match agent.policy.on_missing_certificate {
            OnMissingCertificate::Fail => Err(AddError::Certificate { waited: wait, why }),
            OnMissingCertificate::Hold => {
                tracing::warn!(
                    pod = %self.record.pod, why,
                    "pod starts without a certificate; its mesh traffic is held until there is one"
                );
                let note =
                    format!("the pod's mesh traffic is held until it has a certificate: {why}");
                agent.complain(&self.record.pod, "NoCertificate", note);
                Ok(Traffic::Held)
            }
        }
    }
}

/// Something of the budget must be left for what follows.
fn time_left(until: Instant) -> Duration {
    let left = until.saturating_duration_since(Instant::now());
    left.saturating_sub(MARGIN_LEAST)
}

/// Gives a step up as soon as the plugin is gone: nobody would hear of its success.
async fn unless_ended<T>(link: &Link, step: impl Future<Output = T>) -> Result<T, LinkError> {
    tokio::select! {
        biased;
        outcome = step => Ok(outcome),
        end = link.ended() => Err(end),
    }
}

/// What the plugin leaves us, less what it needs to report a failure in time.
fn budget(request: &AddRequest, most: Duration) -> Duration {
    let theirs = Duration::from_millis(request.deadline_ms);
    let margin = (theirs / 10).clamp(MARGIN_LEAST, MARGIN_MOST);
    theirs.saturating_sub(margin).min(most)
}

fn address(text: &str) -> Result<IpAddr, AddError> {
    let (address, _prefix) = text.split_once('/').unwrap_or((text, ""));
    address
        .parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| AddError::Address(text.to_owned()))
}

/// The namespace's path, if it leads the agent to the same namespace as the descriptor did.
async fn visible_path<W: World>(
    agent: &Agent<W>,
    request: &AddRequest,
    namespace_id: NamespaceId,
) -> Option<String> {
    let path = &request.netns;
    let opened = agent.world.open(path).await.ok().flatten();
    let seen = opened.and_then(|netns| agent.world.identify(&netns).ok());
    if seen == Some(namespace_id) {
        return Some(path.clone());
    }
    tracing::warn!(
        path,
        pod = request.pod.name,
        namespace = request.pod.namespace,
        "the agent cannot see the pod's network namespace under its path and will not find it \
         again after a restart; mount the host's directory of namespaces into the agent's pod"
    );
    None
}

pub(super) fn pod_of(pod: &cni_plugin_handoff::PodRef) -> PodRef {
    let uid = pod.uid.clone().filter(|uid| !uid.is_empty());
    PodRef {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid,
    }
}

const MARGIN_LEAST: Duration = Duration::from_millis(200);
const MARGIN_MOST: Duration = Duration::from_secs(1);
/// Undoing is not cut short by the plugin's deadline, or something would be left.
const UNDO_BUDGET: Duration = Duration::from_secs(10);
