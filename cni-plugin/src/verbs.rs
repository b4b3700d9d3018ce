//! What each verb does.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cni_plugin_handoff::{
    AddRequest, Attachment, CertificateState, CheckRequest, DelRequest, GcRequest, PodRef, Reply,
    Report, Request,
};
use cni_plugin_spec::{
    Attachment as Container, CniError, Command, Departure, NetworkConfig, PodArgs, PrevResult,
    empty_result,
};
use node_agent_namespace::Netns;
use node_agent_redirect::RedirectPlan;

use crate::agent::{Agent, AgentError, out_of_turn};
use crate::call::{Budget, Call, Outcome};
use crate::rules::{self, Provisional};
use crate::settings::Settings;
use crate::{complain, failure};

/// Nobody waits for long for the answer of these; they succeed or fail without the agent as well.
const BRIEF: Duration = Duration::from_secs(5);

/// Runs any verb but VERSION.
pub(crate) fn run(call: &mut Call, stdin: &[u8]) -> Result<Outcome, CniError> {
    let command = call.command.clone();
    let config = NetworkConfig::parse(stdin, command.verb())?;
    call.log_file = Settings::log_file(&config)?;
    let settings = Settings::read(&config)?;
    let started = call.started;
    match command {
        Command::Add(to) => {
            call.args = PodArgs::parse(&to.args)?;
            Adding {
                config: &config,
                settings: &settings,
                to: &to,
                args: &call.args,
            }
            .run(started)
        }
        Command::Check(to) => {
            call.args = PodArgs::parse(&to.args)?;
            check(&config, &settings, &to, &call.args, started)
        }
        Command::Del(from) => {
            // Nothing of it is needed: the container's id tells which pod to forget.
            call.args = PodArgs::parse(&from.args).unwrap_or_default();
            Ok(del(&settings, from, &call.args, started))
        }
        Command::Gc => Ok(gc(&config, &settings, started)),
        Command::Status => status(&settings, started),
        Command::Version => Ok(Outcome::silent("answered elsewhere")),
    }
}

struct Adding<'a> {
    config: &'a NetworkConfig,
    settings: &'a Settings,
    to: &'a Container,
    args: &'a PodArgs,
}

impl Adding<'_> {
    fn run(&self, started: Instant) -> Result<Outcome, CniError> {
        let result = self.config.prev_result().map_or_else(
            || empty_result(self.config.version()),
            |result| result.text().to_owned(),
        );
        let done = Outcome::answered(result);
        if let Some(reason) = self.settings.bypass(self.args.pod.as_ref()) {
            return Ok(done.because(format!("not in the mesh: {reason}")));
        }
        let budget = Budget::new(started, self.settings.deadline);
        let netns = rules::namespace(&self.to.netns)?;
        let socket = &self.settings.agent_socket;
        let request = Request::Add(self.request(budget));
        let until = budget.work_until();
        match Agent::ask(socket, until, &request, Some(netns.as_fd()))? {
            (_, Reply::NotInMesh { reason }) => {
                Ok(done.because(format!("not in the mesh: {reason}")))
            }
            (agent, Reply::Install { plan }) => {
                let certificate = enrol(agent, &netns, plan, budget)?;
                Ok(done.because(match certificate {
                    CertificateState::Ready => "in the mesh",
                    CertificateState::Held => "in the mesh, traffic held for lack of a certificate",
                }))
            }
            (_, reply) => Err(out_of_turn(&reply, "ADD").into()),
        }
    }

    fn request(&self, budget: Budget) -> AddRequest {
        AddRequest {
            plugin_version: env!("CARGO_PKG_VERSION").to_owned(),
            container_id: self.to.container_id.clone(),
            netns: self.to.netns.clone(),
            ifname: self.to.ifname.clone(),
            pod: pod(self.args).unwrap_or_else(nobody),
            addresses: addresses(self.config),
            deadline_ms: millis_left(budget),
        }
    }
}

/// Installs the plan and brings it to the agent's word that the pod may start. Whatever fails, the
/// rules are out again before the connection to the agent is closed.
fn enrol(
    mut agent: Agent,
    netns: &Netns,
    plan: RedirectPlan,
    budget: Budget,
) -> Result<CertificateState, CniError> {
    agent.held_by_tools()?;
    let installed = match Provisional::install(netns, plan, budget) {
        Ok(installed) => installed,
        Err(error) => {
            let report = Report::InstallFailed {
                message: error.to_string(),
            };
            // The agent clears up when the connection ends, too; this only tells it why.
            if let Err(unheard) = agent.tell(&report) {
                complain(&format!("the node agent was not told: {unheard}"));
            }
            return Err(error);
        }
    };
    let took_micros = u64::try_from(installed.took.as_micros()).unwrap_or(u64::MAX);
    match agent.report(&Report::Installed { took_micros })? {
        Reply::Admitted { certificate } => {
            installed.keep();
            Ok(certificate)
        }
        reply => Err(out_of_turn(&reply, "the installed rules").into()),
    }
}

fn check(
    config: &NetworkConfig,
    settings: &Settings,
    to: &Container,
    args: &PodArgs,
    started: Instant,
) -> Result<Outcome, CniError> {
    if let Some(reason) = settings.bypass(args.pod.as_ref()) {
        return Ok(Outcome::silent(format!("not in the mesh: {reason}")));
    }
    let budget = Budget::new(started, settings.deadline);
    let netns = rules::namespace(&to.netns)?;
    let request = Request::Check(CheckRequest {
        container_id: to.container_id.clone(),
        ifname: to.ifname.clone(),
        netns: to.netns.clone(),
        pod: pod(args).unwrap_or_else(nobody),
        addresses: addresses(config),
        deadline_ms: millis_left(budget),
    });
    let until = budget.work_until();
    match Agent::ask(&settings.agent_socket, until, &request, Some(netns.as_fd()))?.1 {
        Reply::NotInMesh { reason } => Ok(Outcome::silent(format!("not in the mesh: {reason}"))),
        Reply::Checked { plan, mut problems } => {
            if let Some(plan) = plan {
                problems.extend(rules::problems(&netns, &plan, budget)?);
            }
            if problems.is_empty() {
                return Ok(Outcome::silent("as it should be"));
            }
            Err(failure::altered(&problems))
        }
        reply => Err(out_of_turn(&reply, "CHECK").into()),
    }
}

/// Succeeds whatever the agent and the namespace are like: what they leave undone ends with them.
fn del(settings: &Settings, from: Departure, args: &PodArgs, started: Instant) -> Outcome {
    let budget = Budget::new(started, settings.deadline.min(BRIEF));
    let netns = rules::namespace_if_any(from.netns.as_deref());
    if args.pod.as_ref().is_some_and(|pod| settings.is_agent(pod)) {
        return Outcome::silent("this is the node agent's own pod");
    }
    let request = Request::Del(DelRequest {
        container_id: from.container_id,
        ifname: from.ifname,
        netns: from.netns,
        pod: pod(args),
        deadline_ms: millis_left(budget),
    });
    let fd = netns.as_ref().map(AsFd::as_fd);
    let answer = Agent::ask(&settings.agent_socket, budget.work_until(), &request, fd);
    let (plan, told) = match answer.map(|(_, reply)| reply) {
        Ok(Reply::Done {
            was_enrolled: false,
            plan: None,
        }) => {
            return Outcome::silent("was not in the mesh");
        }
        Ok(Reply::Done { plan, .. }) => (plan, "left the mesh".to_owned()),
        Ok(reply) => (None, out_of_turn(&reply, "DEL").to_string()),
        Err(error) => (None, error.to_string()),
    };
    let Some(netns) = netns else {
        return Outcome::silent(told);
    };
    match rules::remove(&netns, plan, budget) {
        Ok(()) => Outcome::silent(told),
        Err(error) => {
            complain(&format!("DEL left rules in the pod's namespace: {error}"));
            Outcome::silent(format!("{told}; {error}"))
        }
    }
}

/// Succeeds whatever the agent is like: it clears up by itself when it comes back.
fn gc(config: &NetworkConfig, settings: &Settings, started: Instant) -> Outcome {
    let listed = config
        .valid_attachments()
        .iter()
        .map(|attachment| Attachment {
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
        });
    let request = Request::Gc(GcRequest {
        valid_attachments: listed.collect(),
    });
    let told = match brief(settings, started, &request) {
        Ok(Reply::Done { .. }) => return Outcome::silent("done"),
        Ok(reply) => out_of_turn(&reply, "GC").to_string(),
        Err(error) => error.to_string(),
    };
    complain(&format!("GC did nothing: {told}"));
    Outcome::silent(format!("nothing done: {told}"))
}

fn status(settings: &Settings, started: Instant) -> Result<Outcome, CniError> {
    let answered = match brief(settings, started, &Request::Status) {
        Ok(Reply::Ready) => return Ok(Outcome::silent("ready")),
        Ok(Reply::NotReady { reason }) => return Err(failure::not_available(&reason)),
        Ok(reply) => Err(failure::not_available(&out_of_turn(&reply, "STATUS"))),
        Err(error) => Err(failure::not_available(&error)),
    };
    // The runtime would take the node for unready, start no pod, and so not the agent's either; and a node that is unready
    // for minutes loses all its pods. Those that start meanwhile fail one by one, at ADD.
    answered.or_else(|error| {
        let passed = format!("the agent's own pod must be able to start: {error}");
        (settings.agent_is_a_pod())
            .then(|| Outcome::silent(passed))
            .ok_or(error)
    })
}

fn brief(settings: &Settings, started: Instant, request: &Request) -> Result<Reply, AgentError> {
    let budget = Budget::new(started, settings.deadline.min(BRIEF));
    let (_, reply) = Agent::ask(&settings.agent_socket, budget.work_until(), request, None)?;
    Ok(reply)
}

fn pod(args: &PodArgs) -> Option<PodRef> {
    args.pod.as_ref().map(|pod| PodRef {
        name: pod.name.clone(),
        namespace: pod.namespace.clone(),
        uid: args.uid.clone(),
    })
}

/// Unreachable in practice: what is not a pod has passed before. The agent refuses a nameless pod.
fn nobody() -> PodRef {
    PodRef {
        name: String::new(),
        namespace: String::new(),
        uid: None,
    }
}

fn addresses(config: &NetworkConfig) -> Vec<String> {
    config
        .prev_result()
        .map(PrevResult::container_addresses)
        .unwrap_or_default()
}

fn millis_left(budget: Budget) -> u64 {
    let left = budget
        .work_until()
        .saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}
