use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, IsCa, SanType};
use tokio::time::{sleep, timeout};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::identity;
use super::scripted::{HOUR, ScriptedCa, Step};
use crate::key::Key;
use crate::test_authority::TestAuthority;
use crate::{ChainTextError, SignedChain};

/// Every wrong answer, with the words by which the operator learns of it.
const WRONG: [(Step, &str); 12] = [
    (
        Step::OtherIdentity,
        "for spiffe://cluster.local/ns/shop/sa/eve when asked for",
    ),
    (Step::TwoNames, "has 2 URI names"),
    (Step::Expired, "expired"),
    (Step::NotYetValid, "only begins in"),
    (Step::OtherKey, "certified another key"),
    (Step::OtherRoot, "does not verify as a server certificate"),
    (Step::NoRoot, "holds no root"),
    (Step::Empty, "holds no certificate"),
    (Step::Garbage, "cannot be read"),
    (Step::NoClientUse, "does not verify as a client certificate"),
    (Step::Authority, "does not verify as a server certificate"),
    (Step::SignFor(Duration::ZERO), "expired"),
];

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_is_never_served_and_always_reported() {
    for (step, words) in WRONG {
        let ca = ScriptedCa::new(&[step], Step::Sign);
        let credentials = ca.serve();
        let web = identity("web");
        let waited = timeout(Duration::from_millis(500), credentials.certificate(&web)).await;
        assert!(waited.is_err(), "{step:?} was served");
        let why = credentials.last_error(&web).unwrap();
        assert!(why.contains(words), "{step:?}: {why}");
        // And the next, right one is.
        let _certificate = credentials.certificate(&web).await;
        assert_eq!(ca.count(), 2, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_to_a_renewal_leaves_the_old_certificate_in_place() {
    for (step, words) in WRONG {
        let ca = ScriptedCa::new(&[Step::Sign], step);
        let credentials = ca.serve();
        let web = identity("web");
        credentials.hold(web.clone());
        let first = credentials.certificate(&web).await;
        sleep(HOUR / 2).await;
        assert_eq!(
            credentials.current(&web).unwrap().serial,
            first.serial,
            "{step:?}"
        );
        let why = credentials.last_error(&web).unwrap();
        assert!(why.contains(words), "{step:?}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_begins_within_the_allowed_skew_is_taken() {
    let ca = ScriptedCa::new(&[], Step::SlightlyAhead);
    let credentials = ca.serve();
    let web = identity("web");
    let waited = timeout(Duration::from_millis(500), credentials.certificate(&web)).await;
    assert_eq!(waited.unwrap().identity, web);
}

#[test]
fn the_request_has_no_subject_one_critical_name_and_a_p256_key() {
    let web = identity("web");
    let key = Key::generate().unwrap();
    let text = key.signing_request(&web).unwrap();
    let der = pem::parse(&text).unwrap();
    assert_eq!(der.tag(), "CERTIFICATE REQUEST");
    let (_, request) = X509CertificationRequest::from_der(der.contents()).unwrap();
    request.verify_signature().unwrap();
    let info = &request.certification_request_info;
    assert_eq!(info.subject.iter().count(), 0);
    let parsed = CertificateSigningRequestParams::from_pem(&text).unwrap();
    let names = [SanType::URI(web.as_str().try_into().unwrap())];
    assert_eq!(parsed.params.subject_alt_names, names);
    assert_eq!(parsed.params.is_ca, IsCa::NoCa);
    assert_eq!(
        parsed.public_key.algorithm(),
        &rcgen::PKCS_ECDSA_P256_SHA256
    );
    // id-ce-subjectAltName, then BOOLEAN TRUE: critical.
    let critical = [0x06, 0x03, 0x55, 0x1d, 0x11, 0x01, 0x01, 0xff];
    assert!(
        der.contents()
            .windows(critical.len())
            .any(|place| place == critical)
    );
}

#[test]
fn every_request_has_its_own_key() {
    let keys = [Key::generate().unwrap(), Key::generate().unwrap()];
    assert_ne!(keys[0].public_key_info(), keys[1].public_key_info());
}

#[test]
fn an_answer_of_pem_texts_ends_with_the_bundle_of_roots() {
    let root = TestAuthority::new("a");
    let other = TestAuthority::new("b");
    let between = root.intermediate("c");
    let leaf = between.issue(&crate::LeafSpec::named("spiffe://cluster.local/ns/a/sa/b"));
    let bundle = root.root_pem() + &other.root_pem();
    let read = SignedChain::from_pem_list(&[leaf.chain_pem(), bundle.clone()]).unwrap();
    assert_eq!(read.chain, leaf.chain);
    assert_eq!(read.roots, [root.root(), other.root()]);

    let nothing: [&str; 0] = [];
    assert_eq!(
        SignedChain::from_pem_list(&nothing),
        Err(ChainTextError::Empty)
    );
    assert_eq!(
        SignedChain::from_pem_list(&[bundle.as_str()]),
        Err(ChainTextError::Empty)
    );
    assert_eq!(
        SignedChain::from_pem_list(&["", &bundle]),
        Err(ChainTextError::Empty)
    );
    let torn = &leaf.chain_pem()[..200];
    let torn = SignedChain::from_pem_list(&[torn, &bundle]);
    assert!(matches!(torn, Err(ChainTextError::NotPem(_))), "{torn:?}");
}
