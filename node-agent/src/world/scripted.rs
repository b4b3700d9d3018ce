//! A world that does what a test says, and remembers what was done to it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use node_agent_cluster::Warning;
use node_agent_enrollment::{Annotate, Asked, FoundPlace, NamespaceId, PodKey, PodRecord, PodRef};
use node_agent_handover::{Located, Sought};
use node_agent_redirect::{Backend, Capture, Exemption, RedirectPlan, Spared};
use tokio::sync::watch;

use super::{World, WorldError};

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Goes {
    #[default]
    Well,
    Wrong,
    /// It never ends.
    Nowhere,
}

/// What the world looks like.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) listeners: BTreeSet<PodKey>,
    /// Namespaces with rules in them, by inode.
    pub(crate) rules: BTreeSet<u64>,
    pub(crate) holds: BTreeMap<String, usize>,
    /// What is answered about a pod that is not known, if there is somebody to ask.
    pub(crate) answer: Option<Asked>,
    pub(crate) asking: Goes,
    pub(crate) telling: Goes,
    /// What events were made of.
    pub(crate) warnings: Vec<Warning>,
    /// Where pods are found, by uid.
    pub(crate) located: BTreeMap<String, Located>,
    /// What was made known of that.
    pub(crate) placed: BTreeMap<String, Option<FoundPlace>>,
    /// Whom the node reaches uncaptured.
    pub(crate) exempt: Option<Exemption>,
    pub(crate) exempting: Goes,
    pub(crate) opening: Goes,
    pub(crate) probing: Goes,
    pub(crate) certifying: Goes,
    pub(crate) removing: Goes,
    pub(crate) capturing: Goes,
    pub(crate) quieting: Goes,
    /// Namespaces whose rules capture nothing new, by inode.
    pub(crate) quiet: BTreeSet<u64>,
    /// Connections that captured pods have.
    pub(crate) connections: usize,
    /// How many connections a pod has open when capture begins.
    pub(crate) open: usize,
    /// Pods the mesh was told of.
    pub(crate) announced: BTreeSet<PodKey>,
    /// Addresses found in every namespace.
    pub(crate) addresses: Vec<IpAddr>,
    /// What was done, in order.
    pub(crate) done: Vec<String>,
}

/// The world; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    state: Arc<Mutex<State>>,
    /// Counts changes, so that a test can wait for one.
    changes: watch::Sender<u64>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Scripted {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until the world is as wanted; a test's own time limit ends the wait.
    pub(crate) async fn becomes(&self, wanted: impl Fn(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        while !wanted(&self.state()) {
            changes.changed().await.unwrap();
        }
    }

    /// Changes what the world looks like, so that those who wait see it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changes.send_modify(|count| *count += 1);
    }

    fn note(&self, what: String) {
        self.state().done.push(what);
        self.changes.send_modify(|count| *count += 1);
    }

    async fn go(&self, how: Goes) -> Result<(), WorldError> {
        match how {
            Goes::Well => Ok(()),
            Goes::Wrong => Err(WorldError::passing("scripted to fail")),
            Goes::Nowhere => pending().await,
        }
    }
}

impl World for Scripted {
    fn identify(&self, netns: &OwnedFd) -> Result<NamespaceId, WorldError> {
        let stat = nix::sys::stat::fstat(netns).map_err(WorldError::lasting)?;
        Ok(NamespaceId {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    async fn open(&self, path: &str) -> Result<Option<Arc<OwnedFd>>, WorldError> {
        Ok(std::fs::File::open(path)
            .ok()
            .map(|file| Arc::new(file.into())))
    }

    async fn ask(&self, pod: &PodRef, _limit: Duration) -> Option<Asked> {
        self.note(format!("ask {pod}"));
        let (how, answer) = {
            let state = self.state();
            (state.asking, state.answer.clone())
        };
        let gone = self.go(how).await.err();
        gone.map(|why| Asked::NoAnswer {
            why: why.to_string(),
        })
        .or(answer)
    }

    async fn locate(&self, pods: Vec<Sought>, _until: Instant) -> Result<Vec<Located>, WorldError> {
        let state = self.state();
        let one = |pod: Sought| {
            let nowhere = || Located::Nowhere {
                why: "scripted to be nowhere".to_owned(),
            };
            state.located.get(&pod.uid).cloned().unwrap_or_else(nowhere)
        };
        Ok(pods.into_iter().map(one).collect())
    }

    async fn place(&self, uid: String, place: Option<FoundPlace>) {
        self.state().placed.insert(uid.clone(), place);
        self.note(format!("place {uid}"));
    }

    async fn annotate(&self, annotate: &Annotate) -> Result<(), WorldError> {
        let how = self.state().telling;
        let value = annotate.value.unwrap_or("nothing");
        self.note(format!("annotate {} {value}", annotate.uid));
        self.go(how).await
    }

    async fn warn(&self, warning: &Warning) -> Result<(), WorldError> {
        let how = self.state().telling;
        self.state().warnings.push(warning.clone());
        self.note(format!("warn {}", warning.pod));
        self.go(how).await
    }

    async fn addresses(&self, _netns: Arc<OwnedFd>) -> Result<Vec<IpAddr>, WorldError> {
        Ok(self.state().addresses.clone())
    }

    fn plan(&self) -> RedirectPlan {
        RedirectPlan::new(Backend::Nft)
    }

    fn hold_certificate(&self, record: &PodRecord) {
        *self
            .state()
            .holds
            .entry(record.service_account.clone())
            .or_default() += 1;
        self.note(format!("hold {}", record.service_account));
    }

    fn release_certificate(&self, record: &PodRecord) {
        {
            let mut state = self.state();
            let holds = state.holds.get_mut(&record.service_account).unwrap();
            *holds = holds.checked_sub(1).unwrap();
        }
        self.note(format!("release {}", record.service_account));
    }

    async fn certificate(&self, _record: &PodRecord) {
        self.note("certificate".to_owned());
        let how = self.state().certifying;
        if self.go(how).await.is_err() {
            pending::<()>().await;
        }
    }

    fn has_certificate(&self, _record: &PodRecord) -> bool {
        self.state().certifying == Goes::Well
    }

    fn certificate_problem(&self, _record: &PodRecord) -> Option<String> {
        Some("scripted to be late".to_owned())
    }

    async fn open_listeners(&self, record: &PodRecord, _netns: OwnedFd) -> Result<(), WorldError> {
        let how = self.state().opening;
        self.note("open".to_owned());
        // Half-way: something is open even if the step fails or never ends.
        self.state().listeners.insert(record.pod.key());
        self.go(how).await
    }

    async fn close_listeners(&self, pod: &PodKey) {
        self.state().listeners.remove(pod);
        self.state().announced.remove(pod);
        self.note(format!("close {pod}"));
    }

    fn has_listeners(&self, pod: &PodKey) -> bool {
        self.state().listeners.contains(pod)
    }

    async fn probe(&self, pod: &PodKey) -> Result<(), WorldError> {
        self.note(format!("probe {pod}"));
        let how = self.state().probing;
        self.go(how).await
    }

    async fn remove_rules(
        &self,
        _record: &PodRecord,
        netns: Arc<OwnedFd>,
        _until: Instant,
    ) -> Result<(), WorldError> {
        let how = self.state().removing;
        self.go(how).await?;
        let inode = self.identify(&netns)?.inode;
        self.state().rules.remove(&inode);
        self.state().quiet.remove(&inode);
        self.note("remove rules".to_owned());
        Ok(())
    }

    async fn check_rules(
        &self,
        _record: &PodRecord,
        netns: Arc<OwnedFd>,
        _until: Instant,
    ) -> Result<Vec<String>, WorldError> {
        let inode = self.identify(&netns)?.inode;
        let there = self.state().rules.contains(&inode);
        Ok(if there {
            Vec::new()
        } else {
            vec!["all rules are missing".to_owned()]
        })
    }

    async fn repair_rules(
        &self,
        _record: &PodRecord,
        netns: Arc<OwnedFd>,
        _until: Instant,
    ) -> Result<Vec<String>, WorldError> {
        let inode = self.identify(&netns)?.inode;
        let drifted = self.state().rules.insert(inode);
        self.note("repair rules".to_owned());
        Ok(if drifted {
            vec!["all rules were missing".to_owned()]
        } else {
            Vec::new()
        })
    }

    async fn exempt(
        &self,
        exemption: &Exemption,
        before: Option<&Exemption>,
        _until: Instant,
    ) -> Result<(Backend, Vec<String>), WorldError> {
        let how = self.state().exempting;
        self.go(how).await?;
        let found = self.state().exempt.replace(exemption.clone());
        self.note(format!("exempt {}", exemption.len()));
        let differs = before.is_some() && found.as_ref() != before;
        let changed = differs.then(|| "somebody was here".to_owned());
        Ok((Backend::Nft, changed.into_iter().collect()))
    }

    async fn listen(&self, record: &PodRecord, netns: OwnedFd) -> Result<(), WorldError> {
        self.open_listeners(record, netns).await
    }

    fn announce(&self, record: &PodRecord) -> Result<(), WorldError> {
        self.state().announced.insert(record.pod.key());
        self.note("announce".to_owned());
        Ok(())
    }

    fn withdraw(&self, pod: &PodKey) {
        self.state().announced.remove(pod);
        self.note("withdraw".to_owned());
    }

    fn is_sought(&self, _record: &PodRecord) -> bool {
        false
    }

    async fn drain(&self, _pod: &PodKey, patience: Duration) -> usize {
        let empty = self.becomes(|state| state.connections == 0);
        drop(tokio::time::timeout(patience, empty).await);
        self.state().connections
    }

    async fn served(&self, _netns: Arc<OwnedFd>) -> Result<usize, WorldError> {
        Ok(self.state().connections)
    }

    async fn capture(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        _until: Instant,
    ) -> Result<RedirectPlan, WorldError> {
        let inode = self.identify(&netns)?.inode;
        let how = self.state().capturing;
        self.note("capture".to_owned());
        // Half-way: something is there even if it fails.
        self.state().rules.insert(inode);
        self.state().quiet.remove(&inode);
        self.go(how).await?;
        let open = self.state().open;
        let spared = (0..open).map(|_| Spared {
            local: SocketAddr::from(([10, 0, 0, 7], 80)),
            remote: SocketAddr::from(([10, 0, 0, 9], 40_000)),
        });
        Ok(plan.sparing(spared.collect()))
    }

    async fn apply_rules(
        &self,
        plan: RedirectPlan,
        netns: Arc<OwnedFd>,
        _until: Instant,
    ) -> Result<(), WorldError> {
        let inode = self.identify(&netns)?.inode;
        let how = self.state().quieting;
        self.go(how).await?;
        assert_eq!(plan.capture, Capture::NothingNew);
        self.state().rules.insert(inode);
        self.state().quiet.insert(inode);
        self.note("quiet".to_owned());
        Ok(())
    }

    async fn spare_fewer(
        &self,
        plan: RedirectPlan,
        _netns: Arc<OwnedFd>,
        _until: Instant,
    ) -> Result<Option<RedirectPlan>, WorldError> {
        let open = self.state().open;
        let fewer = plan.spared.len() > open;
        Ok(fewer.then(|| plan.sparing(plan.spared[..open].to_vec())))
    }
}
