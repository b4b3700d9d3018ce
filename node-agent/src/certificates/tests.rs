#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tunnel_credentials::{
    CaError, CertificateAuthority, CertificateState, CredentialSettings, Credentials,
    DevelopmentCa, Signing, SigningRequest,
};
use tunnel_model::Identity;

use super::record::Kept;
use super::*;
use crate::activity::Activity;
use crate::state::{Document as _, StateDir};

const FILE: &str = "state/certificates.json";
/// More than it takes to write what changed.
const WRITTEN: Duration = Duration::from_secs(3);

/// An authority that can be away.
struct Nobody;

impl CertificateAuthority for Nobody {
    fn sign(&self, _request: SigningRequest) -> Signing<'_> {
        let away = CaError::Unreachable("it is away".to_owned());
        Box::pin(std::future::ready(Err(away)))
    }
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let [cert, key] = ["cert", "key"].map(|name| root.path().join(name));
        DevelopmentCa::create(&cert, &key).unwrap();
        Self(root)
    }

    fn authority(&self) -> Arc<DevelopmentCa> {
        let [cert, key] = ["cert", "key"].map(|name| self.0.path().join(name));
        Arc::new(DevelopmentCa::load(&cert, &key).unwrap())
    }

    fn directory(&self) -> StateDir {
        StateDir::open(&self.0.path().join("state")).unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.0.path().join(FILE)).unwrap()
    }

    fn kept(&self) -> Vec<Known> {
        Kept::decode(self.text().as_bytes()).unwrap().certificates
    }
}

/// One life of the agent.
struct Life {
    credentials: Credentials,
    former: Former,
    activity: Activity,
    tasks: Vec<JoinHandle<()>>,
}

impl Life {
    /// Begins with pods of these accounts.
    fn begin(place: &Place, authority: Arc<dyn CertificateAuthority>, accounts: &[&str]) -> Self {
        let (keeper, former) = Keeper::load(place.directory());
        let (credentials, owner) = Credentials::start(CredentialSettings::default(), authority);
        for account in accounts {
            credentials.hold(identity(account));
        }
        let activity = Activity::default();
        let run = keeper.run(
            credentials.clone(),
            activity.clone(),
            std::future::ready(()),
        );
        Self {
            credentials,
            former,
            activity,
            tasks: vec![tokio::spawn(owner), tokio::spawn(run)],
        }
    }

    fn serial(&self, account: &str) -> String {
        self.credentials
            .current(&identity(account))
            .unwrap()
            .serial
            .clone()
    }

    fn kill(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", "shop", account).unwrap()
}

fn of(account: &str) -> String {
    identity(account).to_string()
}

#[tokio::test(start_paused = true)]
async fn what_is_public_survives_and_is_shown_until_it_is_issued_anew() {
    let place = Place::new();
    let first = Life::begin(&place, place.authority(), &["web", "gone"]);
    sleep(WRITTEN).await;
    let serial = first.serial("web");
    first.kill();
    let kept = place.kept();
    assert_eq!(kept.len(), 2);
    let web = kept.iter().find(|one| one.identity == of("web")).unwrap();
    let had = web.certificate.clone().unwrap();
    assert_eq!(had.serial_number, serial);
    assert!(had.chain_pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(had.not_before <= had.issued && had.issued < had.not_after);

    // Two lives without an authority: what was there before the first is still known.
    for _ in 0..2 {
        let without = Life::begin(&place, Arc::new(Nobody), &["web", "new"]);
        assert_eq!(without.former.now().len(), 2, "known from the start");
        sleep(WRITTEN).await;
        let former = without.former.now();
        assert_eq!(former[&of("web")].certificate.as_ref(), Some(&had));
        assert!(!former.contains_key(&of("gone")), "no pod has it any more");
        without.kill();
        let kept = place.kept();
        let names: Vec<_> = kept.iter().map(|one| one.identity.clone()).collect();
        assert_eq!(names, [of("new"), of("web")]);
        assert_eq!(kept[0].certificate, None);
        assert_eq!(kept[1].certificate.as_ref(), Some(&had));
        let why = kept[1].last_error.as_deref().unwrap();
        assert!(why.contains("it is away"), "{why}");
    }

    let last = Life::begin(&place, place.authority(), &["web", "new"]);
    sleep(WRITTEN).await;
    assert!(last.former.now().is_empty());
    let kept = place.kept();
    let now = kept[1].certificate.as_ref().unwrap();
    assert_eq!(now.serial_number, last.serial("web"));
    assert_ne!(now.serial_number, serial);
    assert_eq!(kept[1].last_error, None);
}

#[tokio::test(start_paused = true)]
async fn the_file_is_private_and_holds_no_key() {
    let place = Place::new();
    let _life = Life::begin(&place, place.authority(), &["web"]);
    sleep(WRITTEN).await;
    let about = std::fs::metadata(place.0.path().join(FILE)).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    let text = place.text();
    assert_eq!(text.matches("-----BEGIN CERTIFICATE-----").count(), 1);
    assert_eq!(text.matches("-----BEGIN").count(), 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let fields: Vec<_> = value["certificates"][0]["certificate"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    // A new field must be thought about here.
    assert_eq!(
        fields,
        [
            "chainPem",
            "issued",
            "notAfter",
            "notBefore",
            "serialNumber"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_set_aside() {
    let place = Place::new();
    let _directory = place.directory();
    let newer = b"{\"version\":2,\"certificates\":[]}";
    for garbage in [&b"\0\0\0"[..], b"{\"version\":1,\"certif", newer] {
        std::fs::write(place.0.path().join(FILE), garbage).unwrap();
        let life = Life::begin(&place, place.authority(), &["web"]);
        assert!(life.former.now().is_empty());
        sleep(WRITTEN).await;
        let aside = std::fs::read(place.0.path().join(format!("{FILE}.damaged")));
        assert_eq!(aside.unwrap(), garbage);
        assert_eq!(place.kept().len(), 1);
        life.kill();
        std::fs::remove_file(place.0.path().join(format!("{FILE}.previous"))).ok();
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_is_tried_again() {
    let place = Place::new();
    let _directory = place.directory();
    // Taken by a directory, so that writing fails even for root.
    let obstacle = place.0.path().join(format!("{FILE}.new"));
    std::fs::create_dir(&obstacle).unwrap();
    let life = Life::begin(&place, place.authority(), &["web"]);
    let got = timeout(WRITTEN, life.credentials.certificate(&identity("web"))).await;
    assert!(got.is_ok(), "traffic goes on");
    sleep(WRITTEN).await;
    assert!(!place.0.path().join(FILE).exists());
    std::fs::remove_dir(&obstacle).unwrap();
    sleep(4 * WRITTEN).await;
    assert_eq!(place.kept().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_changes_are_written_together_and_none_while_a_successor_takes_over() {
    let place = Place::new();
    let life = Life::begin(&place, place.authority(), &[]);
    sleep(WRITTEN).await;
    let paused = life.activity.pause().await;
    for number in 0..50 {
        life.credentials.hold(identity(&format!("sa-{number}")));
    }
    sleep(WRITTEN).await;
    let states = life.credentials.summaries();
    assert!(
        states
            .iter()
            .all(|one| one.state == CertificateState::Valid)
    );
    assert!(!place.0.path().join(FILE).exists(), "it is the successor's");
    drop(paused);
    sleep(WRITTEN).await;
    assert_eq!(place.kept().len(), 50);
    let before = place.0.path().join(format!("{FILE}.previous"));
    assert!(!before.exists(), "more than one write");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_forgotten_before_all_pods_are_known() {
    let place = Place::new();
    let first = Life::begin(&place, place.authority(), &["web"]);
    sleep(WRITTEN).await;
    first.kill();
    let (keeper, former) = Keeper::load(place.directory());
    let (credentials, owner) = Credentials::start(CredentialSettings::default(), Arc::new(Nobody));
    let _owner = tokio::spawn(owner);
    let never = std::future::pending();
    let _keeper = tokio::spawn(keeper.run(credentials, Activity::default(), never));
    sleep(WRITTEN).await;
    assert!(former.now().contains_key(&of("web")));
    assert_eq!(place.kept().len(), 1);
}
