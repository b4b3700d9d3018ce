//! Changes of keys, by either side.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, DigitallySignedStruct, Error, SignatureScheme,
};

use super::super::key::Key;
use super::super::{DATA, OVERHEAD};
use super::*;

/// Whoever the server is: this is not about that.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("only TLS 1.3 is spoken here")
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[test]
fn a_peer_that_insists_on_aes_256_gets_it() {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_cert_resolver(Arc::clone(&CERTIFICATE.client.client_auth_cert_resolver));
    config
        .alpn_protocols
        .clone_from(&CERTIFICATE.client.alpn_protocols);
    let (near, far) = Wire::pair(WIDE);
    let (mut us, mut peer) = with_theirs(client_with(Arc::new(config)), near, far);
    let suite = peer.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_AES_256_GCM_SHA384);
    for _ in 0..3 {
        let data = noise(40_000);
        us.say(&data);
        assert!(peer.take() == data);
        peer.conn.refresh_traffic_keys().unwrap();
        peer.say(&data);
        assert!(us.hear().unwrap() == data);
    }
}

#[test]
fn a_sequence_number_is_never_used_twice() {
    let key = |sequence| {
        let (key, iv) = (AeadKey::from([7; 32]), Iv::from([9; 12]));
        Key::new((
            sequence,
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
        ))
        .unwrap()
    };
    let (mut seals, mut opens) = (key(u64::MAX - 1), key(u64::MAX - 1));
    let mut record = seals.seal_small(DATA, b"last").unwrap();
    assert_eq!(record.len(), 4 + OVERHEAD);
    assert_eq!(opens.open(&mut record).unwrap(), b"last\x17");
    seals.seal_small(DATA, b"x").unwrap_err();
    assert!(opens.open(&mut record).is_none());
}

#[test]
fn a_peer_changes_its_key_and_ours_when_it_asks() {
    for we_are_client in [true, false] {
        let (mut us, mut peer) = with_rustls(we_are_client, WIDE);
        for round in 0..40 {
            peer.say(b"before");
            peer.conn.refresh_traffic_keys().unwrap();
            peer.say(b" and after");
            // What waits is sealed with the new key.
            us.gather.put(b"waiting");
            assert_eq!(us.hear().unwrap(), b"before and after", "{round}");
            us.say(b" and more");
            assert_eq!(us.io.tx.sequence(), 1);
            assert_eq!(peer.take(), b"waiting and more");
        }
    }
}

#[test]
fn many_requests_have_one_answer_while_it_waits() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    for _ in 0..3 {
        peer.conn.refresh_traffic_keys().unwrap();
        peer.say(b"x");
        assert_eq!(us.hear().unwrap(), b"x");
        assert_eq!(us.gather.waiting(), 27);
        assert_eq!(us.gather.put_total(), 0);
    }
    us.say(b"y");
    assert_eq!(peer.take(), b"y");
    peer.conn.refresh_traffic_keys().unwrap();
    peer.say(b"z");
    assert_eq!(us.hear().unwrap(), b"z");
    assert_eq!(us.gather.waiting(), 27);
    us.say(b"y");
    assert_eq!(peer.take(), b"y");
}

#[test]
fn we_change_our_key_before_it_is_worn_out() {
    for we_are_client in [true, false] {
        let (mut us, mut peer) = with_rustls(we_are_client, WIDE);
        us.io.limit = 3;
        for size in [1, 10, 40_000, 16 * 1024, 1, 1, 1, 200_000, 1] {
            let data = noise(size);
            us.say(&data);
            assert!(us.io.tx.sequence() <= 3.max(size as u64 / (16 * 1024) + 1));
            assert!(peer.take() == data, "{size}");
        }
        assert_eq!(us.gather.sent_total(), us.gather.put_total());
    }
}

#[test]
fn too_many_changes_without_data_are_too_many() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    for _ in 0..33 {
        peer.conn.refresh_traffic_keys().unwrap();
        peer.flush();
    }
    assert!(us.refuse().contains("too many"));
    peer.turn().unwrap_err();
}
