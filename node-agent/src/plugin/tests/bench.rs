//! The agent's server in a temporary directory, and a plugin that can be stopped at every step.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cni_plugin_handoff::{
    AddRequest, Attachment, CheckRequest, Decoder, DelRequest, GcRequest, PodRef, Reply, Report,
    Request, SPOKEN, encode, read_reply,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use node_agent_admin::Readiness;
use node_agent_enrollment::{PodsFile, Roster, Snapshot};
use node_agent_settings::OnMissingCertificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::agent::{Agent, Policy};
use crate::plugin::serve;
use crate::pods::Pods;
use crate::state::{StateDir, StateWriter};
use crate::world::scripted::Scripted;

pub(super) struct Bench {
    pub(super) root: tempfile::TempDir,
    pub(super) world: Scripted,
    pub(super) agent: Arc<Agent<Scripted>>,
    pub(super) state: StateDir,
    _stop: watch::Sender<bool>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(&root.path().join("state")).unwrap();
        let (writer, _thread) = StateWriter::start(state.clone()).unwrap();
        let (pods, owner) = Pods::start(writer.clone());
        tokio::spawn(owner);
        let world = Scripted::default();
        let (_, roster) = watch::channel(Some(Arc::new(roster())));
        let mut policy = Policy {
            excluded_namespaces: vec!["system".to_owned()],
            admission_deadline: Duration::from_secs(100),
            certificate_wait: Duration::from_secs(50),
            on_missing_certificate: OnMissingCertificate::Hold,
            leave_deadline: Duration::from_secs(5),

            pod_lookup: Duration::from_secs(50),
            on_unknown: node_agent_enrollment::OnUnknown::Fail,
        };
        change(&mut policy);
        let readiness = Readiness::default();
        let agent = Arc::new(Agent::new(
            world.clone(),
            pods,
            writer,
            roster,
            readiness,
            policy,
        ));
        std::fs::create_dir(root.path().join("run")).unwrap();
        let socket = UnixListener::bind(root.path().join("run/agent.sock")).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(Arc::clone(&agent), socket, stopped));
        Self {
            root,
            world,
            agent,
            state,
            _stop: stop,
        }
    }

    /// A file that stands for a network namespace: what matters here is its inode.
    pub(super) fn netns(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        path
    }

    pub(super) async fn connect(&self) -> Plugin {
        let stream = UnixStream::connect(self.root.path().join("run/agent.sock"))
            .await
            .unwrap();
        Plugin {
            stream,
            decoder: Decoder::new(),
        }
    }

    /// A plugin that has asked to add a pod.
    pub(super) async fn adding(&self, container: &str, pod: &str) -> Plugin {
        let netns = self.netns(container);
        let mut plugin = self.connect().await;
        plugin
            .ask(
                &Request::Add(add_request(container, pod, &netns)),
                Some(&netns),
            )
            .await;
        plugin
    }

    /// A plugin that was told to install, and has.
    pub(super) async fn installed(&self, container: &str, pod: &str) -> Plugin {
        let mut plugin = self.adding(container, pod).await;
        let reply = plugin.hear().await;
        assert!(matches!(reply, Reply::Install { .. }), "{reply:?}");
        self.world
            .state()
            .rules
            .insert(inode(&self.netns(container)));
        plugin.report(&Report::Installed { took_micros: 5 }).await;
        plugin
    }

    pub(super) async fn add(&self, container: &str, pod: &str) {
        let reply = self.installed(container, pod).await.hear().await;
        assert!(matches!(reply, Reply::Admitted { .. }), "{reply:?}");
    }

    /// Asks something that has one answer.
    pub(super) async fn once(&self, request: Request, netns: Option<&Path>) -> Reply {
        let mut plugin = self.connect().await;
        plugin.ask(&request, netns).await;
        plugin.hear().await
    }

    pub(super) async fn del(&self, container: &str, netns: Option<&Path>) -> Reply {
        self.once(Request::Del(del_request(container, netns)), netns)
            .await
    }

    /// Waits until nothing of any pod is left, in the world, in the table and on disk.
    pub(super) async fn nothing_is_left(&self) {
        let clean = self.world.becomes(|state| {
            state.listeners.is_empty()
                && state.rules.is_empty()
                && state.holds.values().all(|count| *count == 0)
        });
        let became = timeout(PATIENCE, clean).await;
        assert!(became.is_ok(), "left behind: {:?}", self.world.state());
        let table = async {
            while !self.agent.pods.view().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, table).await.unwrap();
        self.recorded(0).await;
    }

    pub(super) async fn recorded(&self, count: usize) {
        let reached = async {
            while self.state.load::<Snapshot>().unwrap().document.pods.len() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap();
    }
}

pub(super) struct Plugin {
    stream: UnixStream,
    decoder: Decoder,
}

impl Plugin {
    pub(super) async fn ask(&mut self, request: &Request, netns: Option<&Path>) {
        let bytes = encode(SPOKEN.max, request).unwrap();
        self.send(&bytes, netns).await;
    }

    pub(super) async fn send(&mut self, bytes: &[u8], netns: Option<&Path>) {
        let file = netns.map(|path| File::open(path).unwrap());
        let descriptors: Vec<_> = file.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let rights = if descriptors.is_empty() {
            &[][..]
        } else {
            &rights[..]
        };
        self.stream.writable().await.unwrap();
        let socket = self.stream.as_fd().as_raw_fd();
        let sent = sendmsg::<()>(
            socket,
            &[IoSlice::new(bytes)],
            rights,
            MsgFlags::empty(),
            None,
        );
        assert_eq!(sent.unwrap(), bytes.len());
    }

    pub(super) async fn report(&mut self, report: &Report) {
        self.stream
            .write_all(&encode(SPOKEN.max, report).unwrap())
            .await
            .unwrap();
    }

    pub(super) async fn hear(&mut self) -> Reply {
        timeout(PATIENCE, self.try_hear()).await.unwrap().unwrap()
    }

    /// The next reply, or nothing if the agent hangs up.
    pub(super) async fn try_hear(&mut self) -> Option<Reply> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(read_reply(&frame, SPOKEN).unwrap());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.push(&buffer[..count]).unwrap(),
            }
        }
    }
}

pub(super) fn add_request(container: &str, pod: &str, netns: &Path) -> AddRequest {
    AddRequest {
        plugin_version: "test".to_owned(),
        container_id: container.to_owned(),
        netns: netns.display().to_string(),
        ifname: "eth0".to_owned(),
        pod: pod_ref(pod),
        addresses: vec!["10.0.0.7/24".to_owned(), "fd00::7/64".to_owned()],
        // Longer than any test is patient: what must happen at once must not be the deadline's doing.
        deadline_ms: 120_000,
    }
}

pub(super) fn del_request(container: &str, netns: Option<&Path>) -> DelRequest {
    DelRequest {
        container_id: container.to_owned(),
        ifname: "eth0".to_owned(),
        netns: netns.map(|path| path.display().to_string()),
        pod: None,
        deadline_ms: 5_000,
    }
}

pub(super) fn check_request(container: &str, pod: &str, netns: &Path) -> CheckRequest {
    CheckRequest {
        container_id: container.to_owned(),
        ifname: "eth0".to_owned(),
        netns: netns.display().to_string(),
        pod: pod_ref(pod),
        addresses: Vec::new(),
        deadline_ms: 5_000,
    }
}

pub(super) fn gc_request(containers: &[&str]) -> GcRequest {
    let valid = |container: &&str| Attachment {
        container_id: (*container).to_owned(),
        ifname: "eth0".to_owned(),
    };
    GcRequest {
        valid_attachments: containers.iter().map(valid).collect(),
    }
}

pub(super) fn pod_ref(pod: &str) -> PodRef {
    let (namespace, name) = pod.split_once('/').unwrap_or(("mesh", pod));
    PodRef {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        uid: Some(format!("uid-{name}")),
    }
}

pub(super) fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// Pods `p0` to `p199` of the mesh, each with a service account of its own, and `plain/x` outside.
fn roster() -> Roster {
    let pods: Vec<_> = (0..200)
        .map(|n| {
            serde_json::json!({
                "namespace": "mesh", "name": format!("p{n}"), "serviceAccount": format!("sa{n}"),
            })
        })
        .collect();
    let file: PodsFile = serde_json::from_value(serde_json::json!({
        "namespaces": [{"name": "mesh", "labels": {"istio.io/dataplane-mode": "ambient"}}],
        "pods": pods,
    }))
    .unwrap();
    file.try_into().unwrap()
}

pub(super) const PATIENCE: Duration = Duration::from_secs(10);
