//! Sessions that are resumed: who the peer is, and when it is believed no more.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, HandshakeKind};
use rustls_pki_types::{CertificateDer, ServerName};

use super::handshake::{Ends, Failure, shake, shake_as};
use super::identity;
use super::scripted::PausedClock;
use crate::test_authority::{LeafSpec, TestAuthority, believe_anything};
use crate::trust::Believed;
use crate::{Certificate, PeerRole, alert_of};

fn kinds((client, server): &Ends) -> [Option<HandshakeKind>; 2] {
    [client.handshake_kind(), server.handshake_kind()]
}

const FULL: [Option<HandshakeKind>; 2] = [Some(HandshakeKind::Full); 2];
const RESUMED: [Option<HandshakeKind>; 2] = [Some(HandshakeKind::Resumed); 2];

fn meet(client: &Certificate, server: &Certificate) -> Ends {
    shake(&client.client, &server.server).unwrap()
}

/// What each side thinks of the other: the client of the server, the server of the client.
fn judged((client, server): &Ends, by: (&Certificate, &Certificate)) -> [Result<String, Error>; 2] {
    let name = |peer: tunnel_model::Identity| peer.to_string();
    let shown = |chain: Option<&[CertificateDer<'static>]>| chain.unwrap().to_vec();
    [
        by.0.peer(PeerRole::Server, &shown(client.peer_certificates()))
            .map(name),
        by.1.peer(PeerRole::Client, &shown(server.peer_certificates()))
            .map(name),
    ]
}

fn unknown_issuer() -> Error {
    Error::InvalidCertificate(CertificateError::UnknownIssuer)
}

#[test]
fn a_resumed_peer_is_who_it_was() {
    let authority = TestAuthority::new("mesh");
    let web = authority.certificate(&identity("web"));
    let shop = authority
        .intermediate("below")
        .certificate(&identity("shop"));
    for kind in [FULL, RESUMED, RESUMED, RESUMED] {
        let ends = meet(&web, &shop);
        assert_eq!(kinds(&ends), kind);
        let [server, client] = judged(&ends, (&web, &shop));
        assert_eq!(server.unwrap(), identity("shop").to_string());
        assert_eq!(client.unwrap(), identity("web").to_string());
    }
}

#[test]
fn nothing_is_resumed_with_another_certificate() {
    let authority = TestAuthority::new("mesh");
    let certificate = |name| authority.certificate(&identity(name));
    let (web, shop) = (certificate("web"), certificate("shop"));
    assert_eq!(kinds(&meet(&web, &shop)), FULL);
    // The server's has been renewed, then the client's; and somebody else is where it was.
    let renewed = certificate("shop");
    assert_eq!(kinds(&meet(&web, &renewed)), FULL);
    assert_eq!(kinds(&meet(&certificate("web"), &renewed)), FULL);
    assert_eq!(kinds(&meet(&web, &certificate("eve"))), FULL);
    assert_eq!(
        kinds(&meet(&web, &shop)),
        FULL,
        "its sessions were tried elsewhere"
    );
    assert_eq!(kinds(&meet(&web, &shop)), RESUMED);
}

#[test]
fn a_session_does_not_outlive_the_certificates() {
    let clock = PausedClock::new();
    let authority = TestAuthority::with_clock("mesh", clock.clone());
    let web = authority.certificate(&identity("web"));
    let shop = authority.certificate(&identity("shop"));
    assert_eq!(kinds(&meet(&web, &shop)), FULL);
    // They are good for an hour.
    clock.step(3599);
    let ends = meet(&web, &shop);
    assert_eq!(kinds(&ends), RESUMED);
    assert!(judged(&ends, (&web, &shop)).iter().all(Result::is_ok));
    clock.step(2);
    let ends = meet(&web, &shop);
    assert_eq!(kinds(&ends), RESUMED, "the library itself does not mind");
    for verdict in judged(&ends, (&web, &shop)) {
        assert!(
            matches!(
                verdict,
                Err(Error::InvalidCertificate(
                    CertificateError::ExpiredContext { .. }
                ))
            ),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_session_does_not_outlive_the_trust_in_its_root() {
    let (ours, theirs) = (TestAuthority::new("ours"), TestAuthority::new("theirs"));
    let believed = Arc::new(Believed::default());
    let roots = [ours.root(), theirs.root()];
    believed.replace(roots.iter());
    let web = ours.certificate_believing(&identity("web"), &believed);
    let shop = theirs.certificate_believing(&identity("shop"), &believed);
    for kind in [FULL, RESUMED] {
        let ends = meet(&web, &shop);
        assert_eq!(kinds(&ends), kind);
        assert!(judged(&ends, (&web, &shop)).iter().all(Result::is_ok));
    }
    believed.replace([].iter());
    let ends = meet(&web, &shop);
    assert_eq!(kinds(&ends), RESUMED, "the library itself does not know");
    let unknown = Err(unknown_issuer());
    assert_eq!(judged(&ends, (&web, &shop)), [unknown.clone(), unknown]);
    assert_eq!(alert_of(&unknown_issuer()), AlertDescription::UnknownCA);
}

/// Whoever is asked anew has no session left that began with what is not believed any more.
#[test]
fn forgotten_sessions_are_not_resumed() {
    let authority = TestAuthority::new("mesh");
    let web = authority.certificate(&identity("web"));
    let shop = authority.certificate(&identity("shop"));
    let [here, there] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
    let meet = |server: IpAddr| {
        let name = ServerName::IpAddress(server.into());
        kinds(&shake_as(name, &web.client, &shop.server).unwrap())
    };
    assert_eq!([meet(here), meet(there)], [FULL, FULL]);
    web.forget_sessions(here);
    assert_eq!([meet(here), meet(there)], [FULL, RESUMED]);
}

#[test]
fn a_chain_without_a_certificate_is_nobodys() {
    let web = TestAuthority::new("mesh").certificate(&identity("web"));
    let rubbish = CertificateDer::from(b"rubbish".to_vec());
    for role in [PeerRole::Client, PeerRole::Server] {
        assert_eq!(web.peer(role, &[]), Err(Error::NoCertificatesPresented));
        let why = web.peer(role, std::slice::from_ref(&rubbish)).unwrap_err();
        assert_eq!(alert_of(&why), AlertDescription::BadCertificate);
    }
}

/// What comes often, a certificate with the roots there were, is no reason to verify everybody again.
#[test]
fn the_same_roots_again_are_the_same() {
    let believed = Believed::default();
    let (one, two) = (
        TestAuthority::new("one").root(),
        TestAuthority::new("two").root(),
    );
    believed.replace([&one].into_iter());
    let first = believed.now();
    believed.replace([&one].into_iter());
    assert!(Arc::ptr_eq(&first, &believed.now()));
    believed.replace([&two].into_iter());
    assert!(!Arc::ptr_eq(&first, &believed.now()));
}

/// Who has seen a chain that is remembered cannot use it without its key.
#[test]
fn a_remembered_chain_does_not_stand_for_its_key() {
    let authority = TestAuthority::new("mesh");
    let shop = authority.certificate(&identity("shop"));
    let web = authority.issue(&LeafSpec::named(identity("web").as_str()));
    shake(&Arc::new(web.client()), &shop.server).unwrap();
    assert!(shop.peer(PeerRole::Client, &web.chain).is_ok());

    let eve = authority.issue(&LeafSpec::named(identity("eve").as_str()));
    let provider = aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(eve.key.clone_key());
    let stolen = CertifiedKey::new(web.chain.clone(), key.unwrap());
    let mut thief = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(believe_anything())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(stolen)));
    thief.alpn_protocols = vec![b"h2".to_vec()];
    let failure = shake(&Arc::new(thief), &shop.server).unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::Server(Error::InvalidCertificate(CertificateError::BadSignature))
        ),
        "{failure:?}"
    );
}

/// A certificate that is good for one use is not remembered for the other.
#[test]
fn a_remembered_chain_is_good_for_its_use_only() {
    let authority = TestAuthority::new("mesh");
    let shop = authority.certificate(&identity("shop"));
    let mut spec = LeafSpec::named(identity("web").as_str());
    spec.server_auth = false;
    let web = authority.issue(&spec);
    for _ in 0..2 {
        assert!(shop.peer(PeerRole::Client, &web.chain).is_ok());
        assert!(shop.peer(PeerRole::Server, &web.chain).is_err());
    }
}

/// The latest are kept, of whichever server.
#[test]
fn sessions_do_not_grow_without_end() {
    let authority = TestAuthority::new("mesh");
    let web = authority.certificate(&identity("web"));
    let shop = authority.certificate(&identity("shop"));
    let meet = |server: u32| {
        let name = ServerName::IpAddress(Ipv4Addr::from(server).into());
        kinds(&shake_as(name, &web.client, &shop.server).unwrap())
    };
    for server in 0..=256 {
        assert_eq!(meet(server), FULL);
    }
    assert_eq!(meet(0), FULL, "the oldest made room");
    assert_eq!(meet(256), RESUMED);
    assert_eq!(meet(2), RESUMED);
}
