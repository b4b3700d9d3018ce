//! An authority changes its roots, on nodes that hear of it at different times.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::handshake::shake;
use super::identity;
use super::scripted::{HOUR, PausedClock};
use crate::certificate::pem_text;
use crate::test_authority::{LeafSpec, TestAuthority};
use crate::{
    CaError, CertificateAuthority, CredentialSettings, Credentials, Signing, SigningRequest,
    WallClock as _,
};

const SECOND: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(120);

/// How authorities sign at present: who, and which roots they name. None is away.
type Present = Option<(Arc<TestAuthority>, Vec<CertificateDer<'static>>)>;

/// What all nodes share.
struct Mesh {
    clock: Arc<PausedClock>,
    old: Arc<TestAuthority>,
    new: Arc<TestAuthority>,
    present: Arc<Mutex<Present>>,
}

/// One node's view: its own file.
struct Node {
    file: PathBuf,
    _directory: TempDir,
    credentials: Credentials,
    calls: Arc<Mutex<u32>>,
}

struct NodeAuthority {
    clock: Arc<PausedClock>,
    present: Arc<Mutex<Present>>,
    file: PathBuf,
    calls: Arc<Mutex<u32>>,
}

impl CertificateAuthority for NodeAuthority {
    fn sign(&self, request: SigningRequest) -> Signing<'_> {
        *self.calls.lock().unwrap() += 1;
        let now = self.clock.now();
        let mut spec = LeafSpec::named_at(request.identity.as_str(), now);
        spec.not_after = now + request.ttl;
        let answer = match &*self.present.lock().unwrap() {
            Some((authority, roots)) => {
                let mut answer = authority.answer(&request.csr_pem, &spec);
                answer.roots.clone_from(roots);
                Ok(answer)
            }
            None => Err(CaError::Unreachable("away".to_owned())),
        };
        Box::pin(std::future::ready(answer))
    }

    fn root_file(&self) -> Option<&std::path::Path> {
        Some(&self.file)
    }
}

impl Mesh {
    fn new() -> Self {
        let clock = PausedClock::new();
        // Like istiod's own, all of one name: only their keys tell them apart.
        let authority = || Arc::new(TestAuthority::with_clock("mesh", clock.clone()));
        let (old, new) = (authority(), authority());
        let present = Some((Arc::clone(&old), vec![old.root()]));
        let present = Arc::new(Mutex::new(present));
        Self {
            clock,
            old,
            new,
            present,
        }
    }

    fn sign_with(&self, authority: &Arc<TestAuthority>, roots: &[&TestAuthority]) {
        let roots = roots.iter().map(|one| one.root()).collect();
        *self.present.lock().unwrap() = Some((Arc::clone(authority), roots));
    }

    /// A node that has read its file and has a certificate.
    async fn node(&self, roots: &[&TestAuthority]) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("root.pem");
        let calls = Arc::default();
        let authority = NodeAuthority {
            clock: self.clock.clone(),
            present: Arc::clone(&self.present),
            file: file.clone(),
            calls: Arc::clone(&calls),
        };
        let settings = CredentialSettings {
            ttl: 24 * HOUR,
            root_pause: PAUSE,
            clock: self.clock.clone(),
            ..CredentialSettings::default()
        };
        let (credentials, owner) = Credentials::start(settings, Arc::new(authority));
        let node = Node {
            file,
            _directory: directory,
            credentials,
            calls,
        };
        node.publish(roots);
        tokio::spawn(owner);
        node.credentials.hold(identity("web"));
        let _certificate = node.credentials.certificate(&identity("web")).await;
        sleep(6 * SECOND).await;
        node
    }
}

impl Node {
    fn publish(&self, roots: &[&TestAuthority]) {
        let roots: Vec<_> = roots.iter().map(|one| one.root()).collect();
        std::fs::write(&self.file, pem_text(&roots)).unwrap();
    }

    fn calls(&self) -> u32 {
        *self.calls.lock().unwrap()
    }

    fn issuer_is(&self, authority: &TestAuthority) -> bool {
        let web = self.credentials.current(&identity("web")).unwrap();
        web.roots() == [authority.root()]
    }

    /// Whether this node's pod reaches another's.
    fn reaches(&self, other: &Node) -> bool {
        let own = self.credentials.current(&identity("web")).unwrap();
        let peer = other.credentials.current(&identity("web")).unwrap();
        shake(&own.client, &peer.server).is_ok()
    }

    /// Whether its server believes a peer with a certificate of this authority.
    fn believes(&self, authority: &TestAuthority, now: std::time::SystemTime) -> bool {
        let spec = LeafSpec::named_at(identity("shop").as_str(), now);
        let peer = authority.issue(&spec);
        let own = self.credentials.current(&identity("web")).unwrap();
        shake(&Arc::new(peer.client()), &own.server).is_ok()
    }
}

/// All pairs, every few seconds of this time.
async fn all_reach_each_other(nodes: &[&Node], seconds: usize) {
    for second in (0..seconds).step_by(5) {
        for (from, one) in nodes.iter().enumerate() {
            for (to, other) in nodes.iter().enumerate() {
                assert!(one.reaches(other), "{from} to {to} at {second} s");
            }
        }
        sleep(5 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_replaced_at_once_cuts_nobody_though_nodes_hear_of_it_a_minute_apart() {
    let mesh = Mesh::new();
    let (first, second) = (mesh.node(&[&mesh.old]).await, mesh.node(&[&mesh.old]).await);
    mesh.sign_with(&mesh.new, &[&mesh.new]);
    first.publish(&[&mesh.new]);
    all_reach_each_other(&[&first, &second], 90).await;
    second.publish(&[&mesh.new]);
    all_reach_each_other(&[&first, &second], 400).await;
    assert!(first.issuer_is(&mesh.new) && second.issuer_is(&mesh.new));
    assert_eq!((first.calls(), second.calls()), (2, 2));
    // The old one is believed until all have followed, and not for ever.
    assert!(second.believes(&mesh.old, mesh.clock.now()));
    sleep(210 * SECOND).await;
    assert!(!second.believes(&mesh.old, mesh.clock.now()));
    assert!(second.believes(&mesh.new, mesh.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_replaced_in_stages_is_followed_at_each_stage() {
    let mesh = Mesh::new();
    let (first, second) = (mesh.node(&[&mesh.old]).await, mesh.node(&[&mesh.old]).await);
    let both = [&*mesh.old, &*mesh.new];
    mesh.sign_with(&mesh.old, &both);
    first.publish(&both);
    sleep(6 * SECOND).await;
    assert!(first.believes(&mesh.new, mesh.clock.now()), "at once");
    assert!(!second.believes(&mesh.new, mesh.clock.now()));
    assert_eq!(first.calls(), 1, "and not by a new certificate");
    second.publish(&both);
    all_reach_each_other(&[&first, &second], 300).await;
    mesh.sign_with(&mesh.new, &both);
    for node in [&first, &second] {
        assert_eq!(node.calls(), 2);
        node.publish(&[&mesh.new]);
    }
    mesh.sign_with(&mesh.new, &[&mesh.new]);
    all_reach_each_other(&[&first, &second], 300).await;
    assert!(first.issuer_is(&mesh.new) && second.issuer_is(&mesh.new));
    assert_eq!((first.calls(), second.calls()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_holds_something_else_is_no_reason_to_believe_a_workload() {
    let mesh = Mesh::new();
    let company = TestAuthority::with_clock("company", mesh.clock.clone());
    let node = mesh.node(&[&mesh.old, &company]).await;
    assert!(!node.believes(&company, mesh.clock.now()));
    node.publish(&[&mesh.new, &company]);
    sleep(5 * PAUSE).await;
    assert!(!node.believes(&company, mesh.clock.now()));
    assert!(!node.believes(&mesh.new, mesh.clock.now()));
    assert_eq!(node.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_rubbish_or_gone_changes_nothing() {
    let mesh = Mesh::new();
    let node = mesh.node(&[&mesh.old]).await;
    for rubbish in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&node.file, rubbish).unwrap();
        sleep(3 * PAUSE).await;
    }
    std::fs::remove_file(&node.file).unwrap();
    sleep(3 * PAUSE).await;
    assert_eq!(node.calls(), 1);
    assert!(node.believes(&mesh.old, mesh.clock.now()));
    node.publish(&[&mesh.old]);
    sleep(3 * PAUSE).await;
    assert_eq!(node.calls(), 1, "the same as before");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_does_not_name_what_the_file_holds_is_asked_ever_more_seldom() {
    let mesh = Mesh::new();
    let node = mesh.node(&[&mesh.old]).await;
    node.publish(&[&mesh.new]);
    sleep(HOUR).await;
    // After two minutes, four, eight and sixteen, each up to twice as long.
    assert!((4..=5).contains(&node.calls()), "{}", node.calls());
    assert!(node.issuer_is(&mesh.old));
    assert!(node.believes(&mesh.old, mesh.clock.now()));
    mesh.sign_with(&mesh.new, &[&mesh.new]);
    sleep(70 * 60 * SECOND).await;
    assert!(node.issuer_is(&mesh.new), "a replica that was late");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_certificate_asks_at_once_when_the_roots_change() {
    let mesh = Mesh::new();
    let node = mesh.node(&[&mesh.old]).await;
    *mesh.present.lock().unwrap() = None;
    node.credentials.hold(identity("late"));
    sleep(3 * PAUSE).await;
    mesh.sign_with(&mesh.new, &[&mesh.new]);
    node.publish(&[&mesh.new]);
    let late = identity("late");
    let got = timeout(6 * SECOND, node.credentials.certificate(&late)).await;
    assert_eq!(got.unwrap().roots(), [mesh.new.root()]);
    assert!(node.issuer_is(&mesh.old), "who has one gives others time");
}
