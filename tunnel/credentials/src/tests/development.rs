use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use tempfile::TempDir;
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::identity;
use crate::certificate::pem_text;
use crate::issue::Signer;
use crate::key::Key;
use crate::peer::identity_of;
use crate::{
    CaError, CertificateAuthority as _, DevelopmentCa, DevelopmentCaError, FileError, LeafSpec,
    SignedChain, SigningRequest, TestAuthority,
};

const DAY: Duration = Duration::from_secs(86_400);

struct Place {
    folder: TempDir,
    cert: PathBuf,
    key: PathBuf,
}

fn place() -> Place {
    let folder = TempDir::new().unwrap();
    let (cert, key) = (folder.path().join("ca.pem"), folder.path().join("ca.key"));
    Place { folder, cert, key }
}

fn request(account: &str, ttl: Duration) -> SigningRequest {
    let identity = identity(account);
    let csr_pem = Key::generate().unwrap().signing_request(&identity).unwrap();
    SigningRequest {
        csr_pem,
        identity,
        ttl,
    }
}

async fn sign(ca: &DevelopmentCa, request: SigningRequest) -> Result<SignedChain, CaError> {
    ca.sign(request).await
}

#[test]
fn a_created_pair_can_be_loaded_and_only_its_owner_reads_the_key() {
    let at = place();
    let made = DevelopmentCa::create(&at.cert, &at.key).unwrap();
    let read = DevelopmentCa::load(&at.cert, &at.key).unwrap();
    assert_eq!(made.root(), read.root());
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&at.key), 0o600);
    assert_eq!(mode(&at.cert) & 0o022, 0);
    assert_eq!(
        fs::read_dir(at.folder.path()).unwrap().count(),
        2,
        "drafts are left behind"
    );
    assert!(!format!("{made:?}").contains("key"));
}

#[test]
fn nothing_is_overwritten_and_nothing_half_is_left() {
    let at = place();
    fs::write(&at.cert, "precious").unwrap();
    let why = DevelopmentCa::create(&at.cert, &at.key).unwrap_err();
    assert!(
        matches!(why, DevelopmentCaError::File(FileError::Exists { .. })),
        "{why}"
    );
    assert_eq!(fs::read_to_string(&at.cert).unwrap(), "precious");
    assert!(!at.key.exists(), "a key without certificate is left behind");

    fs::remove_file(&at.cert).unwrap();
    fs::write(&at.key, "precious").unwrap();
    DevelopmentCa::create(&at.cert, &at.key).unwrap_err();
    assert_eq!(fs::read_to_string(&at.key).unwrap(), "precious");
    assert!(!at.cert.exists());
}

#[test]
fn of_many_who_create_at_once_one_wins_and_its_pair_fits() {
    let at = place();
    let won: Vec<bool> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| DevelopmentCa::create(&at.cert, &at.key).is_ok()))
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    DevelopmentCa::load(&at.cert, &at.key).unwrap();
}

#[test]
fn a_key_that_others_can_read_or_write_is_refused() {
    let at = place();
    DevelopmentCa::create(&at.cert, &at.key).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o666, 0o601] {
        fs::set_permissions(&at.key, fs::Permissions::from_mode(mode)).unwrap();
        let why = DevelopmentCa::load(&at.cert, &at.key).unwrap_err();
        assert!(
            matches!(why, DevelopmentCaError::File(FileError::TooOpen { .. })),
            "{why}"
        );
        assert!(why.to_string().contains("chmod 600"), "{why}");
    }
    fs::set_permissions(&at.key, fs::Permissions::from_mode(0o400)).unwrap();
    DevelopmentCa::load(&at.cert, &at.key).unwrap();
}

#[test]
fn files_that_are_no_authority_are_refused_with_the_reason() {
    let (at, other) = (place(), place());
    DevelopmentCa::create(&at.cert, &at.key).unwrap();
    DevelopmentCa::create(&other.cert, &other.key).unwrap();
    let load = |cert: &PathBuf, key: &PathBuf| DevelopmentCa::load(cert, key).unwrap_err();

    let why = load(&at.cert, &other.key);
    assert!(matches!(why, DevelopmentCaError::Mismatch { .. }), "{why}");
    let why = load(&at.folder.path().join("absent"), &at.key);
    assert!(
        matches!(why, DevelopmentCaError::File(FileError::Read { .. })),
        "{why}"
    );
    let why = load(&at.folder.path().to_path_buf(), &at.key);
    assert!(
        matches!(why, DevelopmentCaError::File(FileError::NotAFile { .. })),
        "{why}"
    );
    let why = load(&at.key, &at.key);
    assert!(
        matches!(why, DevelopmentCaError::NotACertificate { .. }),
        "{why}"
    );

    let spec = LeafSpec::named("spiffe://cluster.local/ns/a/sa/b");
    let leaf = TestAuthority::new("a").issue(&spec);
    write_pair(&other, &leaf.chain_pem(), &leaf.key_pem);
    let why = load(&other.cert, &other.key);
    assert!(
        matches!(why, DevelopmentCaError::NotAnAuthority { .. }),
        "{why}"
    );

    write_pair(&other, &leaf.chain_pem(), "not a key");
    let why = load(&other.cert, &other.key);
    assert!(matches!(why, DevelopmentCaError::NotAKey { .. }), "{why}");
    assert!(!why.to_string().contains("not a key\n"));
}

fn write_pair(at: &Place, cert: &str, key: &str) {
    fs::write(&at.cert, cert).unwrap();
    fs::write(&at.key, key).unwrap();
    fs::set_permissions(&at.key, fs::Permissions::from_mode(0o600)).unwrap();
}

/// An authority whose life ends at a given time.
fn until(at: &Place, not_after: SystemTime) {
    let key = KeyPair::generate().unwrap();
    let key_pem = key.serialize_pem();
    let signer = Signer::self_signed(key, "short", not_after - DAY * 30, not_after).unwrap();
    write_pair(at, &pem_text(&[signer.der]), &key_pem);
}

#[test]
fn an_expired_authority_is_refused() {
    let at = place();
    until(&at, SystemTime::now() - DAY);
    let why = DevelopmentCa::load(&at.cert, &at.key).unwrap_err();
    assert!(matches!(why, DevelopmentCaError::Expired { .. }), "{why}");
}

#[tokio::test]
async fn it_signs_backdated_for_the_time_asked_and_both_uses() {
    let at = place();
    let ca = DevelopmentCa::create(&at.cert, &at.key).unwrap();
    let before = SystemTime::now();
    let answer = sign(&ca, request("web", Duration::from_secs(600)))
        .await
        .unwrap();
    assert_eq!(answer.roots, [ca.root().clone()]);
    let (_, leaf) = X509Certificate::from_der(&answer.chain[0]).unwrap();
    let now = before
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let now = i64::try_from(now).unwrap();
    assert!((leaf.validity().not_before.timestamp() - (now - 60)).abs() <= 2);
    assert!((leaf.validity().not_after.timestamp() - (now + 600)).abs() <= 2);
    assert!(!leaf.is_ca());
    let uses = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.client_auth && uses.server_auth);
    assert!(leaf.subject_alternative_name().unwrap().unwrap().critical);
    let named = EndEntityCert::try_from(&answer.chain[0]).unwrap();
    assert_eq!(identity_of(&named), Ok(identity("web")));
    let again = sign(&ca, request("web", Duration::from_secs(600)))
        .await
        .unwrap();
    let (_, again) = X509Certificate::from_der(&again.chain[0]).unwrap();
    assert_ne!(again.tbs_certificate.serial, leaf.tbs_certificate.serial);
}

#[tokio::test]
async fn a_leaf_does_not_outlive_its_authority() {
    let at = place();
    until(&at, SystemTime::now() + DAY);
    let ca = DevelopmentCa::load(&at.cert, &at.key).unwrap();
    for ttl in [DAY * 30, Duration::MAX] {
        let answer = sign(&ca, request("web", ttl)).await.unwrap();
        let (_, leaf) = X509Certificate::from_der(&answer.chain[0]).unwrap();
        let (_, root) = X509Certificate::from_der(ca.root()).unwrap();
        assert_eq!(leaf.validity().not_after, root.validity().not_after);
    }
}

#[tokio::test]
async fn a_request_that_names_somebody_else_is_refused() {
    let at = place();
    let ca = DevelopmentCa::create(&at.cert, &at.key).unwrap();
    let mut asked = request("eve", DAY);
    asked.identity = identity("web");
    let why = sign(&ca, asked).await.unwrap_err();
    assert!(
        matches!(&why, CaError::Refused(text) if text.contains("sa/eve")),
        "{why}"
    );
}

#[tokio::test]
async fn a_request_not_signed_by_its_own_key_is_refused() {
    let at = place();
    let ca = DevelopmentCa::create(&at.cert, &at.key).unwrap();
    let mut asked = request("web", DAY);
    let mut der = pem::parse(&asked.csr_pem).unwrap().contents().to_vec();
    // The last byte of the signature.
    *der.last_mut().unwrap() ^= 1;
    asked.csr_pem = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
    let why = sign(&ca, asked).await.unwrap_err();
    assert!(
        matches!(&why, CaError::Refused(text) if text.contains("own key")),
        "{why}"
    );
    let rubbish = SigningRequest {
        csr_pem: "rubbish".into(),
        identity: identity("web"),
        ttl: DAY,
    };
    assert!(matches!(sign(&ca, rubbish).await, Err(CaError::Refused(_))));
}
