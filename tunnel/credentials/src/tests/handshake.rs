use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, ClientConnection, Error, NamedGroup,
    ProtocolVersion, ServerConfig, ServerConnection,
};
use rustls_pki_types::{CertificateDer, ServerName};
use tunnel_model::Identity;

use super::identity;
use super::scripted::PausedClock;
use crate::test_authority::{LeafSpec, TestAuthority, TestCertificate};
use crate::{Certificate, PeerRole, WallClock as _, explain, explain_tls};

pub(super) type Ends = (ClientConnection, ServerConnection);

/// Who found fault, and with what.
#[derive(Debug)]
pub(super) enum Failure {
    Client(Error),
    Server(Error),
}

/// A handshake in memory, to its end on both sides.
pub(super) fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<Ends, Failure> {
    // A host name, so that it would be sent if anything were.
    shake_as(
        ServerName::try_from("peer.example").unwrap(),
        client,
        server,
    )
}

/// The same with a server that the client knows by this name.
pub(super) fn shake_as(
    name: ServerName<'static>,
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<Ends, Failure> {
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut back = Vec::new();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(Failure::Server)?;
        }
        while server.wants_write() {
            server.write_tls(&mut back).unwrap();
        }
        let mut rest = back.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(Failure::Client)?;
        }
        if wire.is_empty() && back.is_empty() {
            assert!(
                !client.is_handshaking() && !server.is_handshaking(),
                "a stuck handshake"
            );
            return Ok((client, server));
        }
    }
}

struct Mesh {
    authority: TestAuthority,
    web: Certificate,
    shop: Certificate,
}

fn mesh() -> Mesh {
    let authority = TestAuthority::new("mesh");
    let web = authority.certificate(&identity("web"));
    let shop = authority.certificate(&identity("shop"));
    Mesh {
        authority,
        web,
        shop,
    }
}

impl Mesh {
    /// Why our server turns this certificate away.
    fn turned_away(&self, peer: &TestCertificate) -> Error {
        match shake(&Arc::new(peer.client()), &self.shop.server) {
            Err(Failure::Server(why)) => why,
            other => panic!("not turned away by the server: {:?}", other.err()),
        }
    }

    /// Why our client turns a server with this certificate away.
    fn not_believed(&self, peer: &TestCertificate) -> Error {
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(peer.chain.clone(), peer.key.clone_key())
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec()];
        match shake(&self.web.client, &Arc::new(server)) {
            Err(Failure::Client(why)) => why,
            other => panic!("not turned away by the client: {:?}", other.err()),
        }
    }

    /// Both of our ends turn it away, and give the same reason.
    fn refused(&self, spec: &LeafSpec) -> Error {
        let peer = self.authority.issue(spec);
        let why = self.turned_away(&peer);
        assert_eq!(why.to_string(), self.not_believed(&peer).to_string());
        why
    }

    /// The same in words.
    fn refused_because(&self, spec: &LeafSpec) -> String {
        explain_tls(&self.refused(spec))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn eve() -> LeafSpec {
    LeafSpec::named("spiffe://cluster.local/ns/shop/sa/eve")
}

/// What we think of this chain.
fn who(us: &Certificate, role: PeerRole, chain: Option<&[CertificateDer<'static>]>) -> Identity {
    us.peer(role, chain.unwrap()).unwrap()
}

#[test]
fn both_ends_see_who_the_other_is_over_tls13_and_h2() {
    let mesh = mesh();
    let (client, server) = shake(&mesh.web.client, &mesh.shop.server).unwrap();
    assert_eq!(
        who(&mesh.web, PeerRole::Server, client.peer_certificates()),
        identity("shop")
    );
    assert_eq!(
        who(&mesh.shop, PeerRole::Client, server.peer_certificates()),
        identity("web")
    );
    assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(server.alpn_protocol(), Some(&b"h2"[..]));
    let suite = server.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
    let group = server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[test]
fn no_host_name_is_sent() {
    let mesh = mesh();
    let (_, server) = shake(&mesh.web.client, &mesh.shop.server).unwrap();
    assert_eq!(server.server_name(), None);
}

#[test]
fn a_chain_through_an_intermediate_is_believed_both_ways() {
    let mesh = mesh();
    let below = mesh
        .authority
        .intermediate("below")
        .certificate(&identity("deep"));
    assert_eq!(below.chain().len(), 2);
    let (client, server) = shake(&below.client, &mesh.shop.server).unwrap();
    assert_eq!(
        who(&mesh.shop, PeerRole::Client, server.peer_certificates()),
        identity("deep")
    );
    assert_eq!(
        who(&below, PeerRole::Server, client.peer_certificates()),
        identity("shop")
    );
    let (client, _) = shake(&mesh.web.client, &below.server).unwrap();
    assert_eq!(
        who(&mesh.web, PeerRole::Server, client.peer_certificates()),
        identity("deep")
    );
}

#[test]
fn a_client_without_certificate_is_turned_away() {
    let anonymous = Arc::new(TestCertificate::anonymous_client());
    let failure = shake(&anonymous, &mesh().shop.server).unwrap_err();
    assert!(
        matches!(failure, Failure::Server(Error::NoCertificatesPresented)),
        "{failure:?}"
    );
}

#[test]
fn another_trust_domain_is_turned_away_though_the_same_authority_signed() {
    let why = mesh().refused(&LeafSpec::named("spiffe://elsewhere.local/ns/shop/sa/web"));
    let text = "invalid peer certificate: the peer spiffe://elsewhere.local/ns/shop/sa/web is of \
                another trust domain than ours, \"cluster.local\"";
    assert_eq!(explain_tls(&why), text);
    assert_eq!(
        explain(&io::Error::new(io::ErrorKind::InvalidData, why)),
        text
    );
    assert_eq!(explain(&io::Error::other("cut off")), "cut off");
}

#[test]
fn an_expired_certificate_is_turned_away() {
    let why = mesh().refused(&eve().expired());
    assert!(
        matches!(
            why,
            Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
        ),
        "{why}"
    );
}

#[test]
fn a_certificate_that_has_not_begun_is_turned_away() {
    let mut spec = eve();
    spec.not_before += Duration::from_secs(1800);
    let why = mesh().refused(&spec);
    assert!(
        matches!(
            why,
            Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })
        ),
        "{why}"
    );
}

#[test]
fn an_unknown_authority_is_turned_away_even_under_the_same_name() {
    let mesh = mesh();
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    let stranger = TestAuthority::new("stranger").issue(&eve());
    assert_eq!(mesh.turned_away(&stranger), unknown);
    assert_eq!(mesh.not_believed(&stranger), unknown);
    let namesake = TestAuthority::new("mesh").issue(&eve());
    let why = mesh.turned_away(&namesake);
    assert!(
        matches!(
            why,
            Error::InvalidCertificate(
                CertificateError::BadSignature | CertificateError::UnknownIssuer
            )
        ),
        "{why}"
    );
}

#[test]
fn a_certificate_of_two_names_is_turned_away_whichever_comes_first() {
    let mesh = mesh();
    for second in [
        "spiffe://cluster.local/ns/shop/sa/web",
        "https://example.com",
        "spiffe://x",
    ] {
        let mut spec = eve();
        spec.uris.push(second.to_owned());
        assert!(mesh.refused_because(&spec).contains("2 URI names"));
        spec.uris.reverse();
        assert!(mesh.refused_because(&spec).contains("2 URI names"));
    }
}

#[test]
fn a_certificate_of_no_workload_is_turned_away() {
    let mesh = mesh();
    let mut nameless = eve();
    nameless.uris.clear();
    assert!(
        mesh.refused_because(&nameless)
            .contains("no SPIFFE identity")
    );
    for name in [
        "https://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local",
        "spiffe://cluster.local/ns/shop/sa/web/more",
        "spiffe://cluster.local/ns/shop/sa/",
        "SPIFFE://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web?x",
    ] {
        let text = mesh.refused_because(&LeafSpec::named(name));
        assert!(text.contains("does not name a workload"), "{name}: {text}");
    }
}

#[test]
fn an_authoritys_certificate_is_no_workloads() {
    let mut spec = eve();
    spec.is_ca = true;
    let text = mesh().refused_because(&spec);
    assert!(text.contains("CaUsedAsEndEntity"), "{text}");
}

#[test]
fn a_workload_cannot_issue_for_others() {
    let mesh = mesh();
    let workload = mesh.authority.issue(&eve());
    // A leaf in the place of an intermediate, with a certificate "signed" by somebody else below.
    let mut forged = TestAuthority::new("eve").issue(&LeafSpec::named(identity("web").as_str()));
    forged.chain.extend(workload.chain);
    let why = mesh.turned_away(&forged);
    assert!(matches!(why, Error::InvalidCertificate(_)), "{why}");
}

#[test]
fn a_certificate_is_good_only_for_the_uses_it_names() {
    let mesh = mesh();
    let mut server_only = eve();
    server_only.client_auth = false;
    let why = mesh.turned_away(&mesh.authority.issue(&server_only));
    assert!(matches!(why, Error::InvalidCertificate(_)), "{why}");
    let mut client_only = eve();
    client_only.server_auth = false;
    let why = mesh.not_believed(&mesh.authority.issue(&client_only));
    assert!(matches!(why, Error::InvalidCertificate(_)), "{why}");
}

/// A peer of the mesh with other ideas of TLS.
fn peer_with(
    mesh: &Mesh,
    adjust: impl FnOnce(&mut CryptoProvider),
    alpn: &[u8],
) -> Arc<ClientConfig> {
    let own = mesh.authority.issue(&eve());
    let mut provider = aws_lc_rs::default_provider();
    adjust(&mut provider);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(mesh.authority.root()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
        .unwrap();
    // What the server proves is not the question here.
    client
        .dangerous()
        .set_certificate_verifier(crate::test_authority::believe_anything());
    client.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(client)
}

#[test]
fn what_upstream_speaks_is_accepted_and_nothing_weaker() {
    use aws_lc_rs::cipher_suite as suites;
    let mesh = mesh();
    let only = |suite| move |provider: &mut CryptoProvider| provider.cipher_suites = vec![suite];
    let try_it = |client: &Arc<ClientConfig>| shake(client, &mesh.shop.server);

    let aes256 = peer_with(&mesh, only(suites::TLS13_AES_256_GCM_SHA384), b"h2");
    let (client, _) = try_it(&aes256).unwrap();
    let suite = client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_AES_256_GCM_SHA384);

    for group in [
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
        aws_lc_rs::kx_group::SECP384R1,
    ] {
        let client = peer_with(&mesh, |own| own.kx_groups = vec![group], b"h2");
        let (_, server) = try_it(&client).unwrap();
        assert_eq!(
            server.negotiated_key_exchange_group().unwrap().name(),
            group.name()
        );
    }

    let chacha = peer_with(&mesh, only(suites::TLS13_CHACHA20_POLY1305_SHA256), b"h2");
    assert!(matches!(try_it(&chacha), Err(Failure::Server(_))));
    let http1 = peer_with(&mesh, |_| {}, b"http/1.1");
    assert!(matches!(
        try_it(&http1),
        Err(Failure::Server(Error::NoApplicationProtocol))
    ));
}

/// The first message of a client that knows nothing newer than TLS 1.2, made by hand because our
/// build of the TLS library cannot.
fn tls12_hello() -> Vec<u8> {
    let extensions = [
        // Supported groups: x25519, secp256r1.
        &[0x00, 0x0a, 0, 6, 0, 4, 0x00, 0x1d, 0x00, 0x17][..],
        // Signature algorithms: ecdsa_secp256r1_sha256.
        &[0x00, 0x0d, 0, 4, 0, 2, 0x04, 0x03],
        // Point formats: uncompressed.
        &[0x00, 0x0b, 0, 2, 1, 0],
    ]
    .concat();
    let mut body = vec![0x03, 0x03];
    body.extend([7; 32]);
    // No session; ECDHE-ECDSA-AES128-GCM-SHA256; no compression.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut message = vec![0x01, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    record
}

#[test]
fn tls12_is_turned_away() {
    use rustls::PeerIncompatible::SupportedVersionsExtensionRequired;
    let mut server = ServerConnection::new(mesh().shop.server).unwrap();
    server.read_tls(&mut tls12_hello().as_slice()).unwrap();
    let why = server.process_new_packets().unwrap_err();
    assert_eq!(
        why,
        Error::PeerIncompatible(SupportedVersionsExtensionRequired)
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_judged_by_the_same_calendar_as_we_are() {
    let clock = PausedClock::new();
    let authority = TestAuthority::with_clock("mesh", clock.clone());
    let web = authority.certificate(&identity("web"));
    let shop = authority.certificate(&identity("shop"));
    let now = clock.now();
    let careless = authority.issue(&LeafSpec::named_at(identity("eve").as_str(), now));
    // One that has no session, and judges nobody.
    let careless = || Arc::new(careless.client());
    shake(&careless(), &shop.server).unwrap();
    clock.step(7200);
    assert!(!web.usable_at(clock.now()));
    let failure = shake(&web.client, &shop.server).unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::Client(Error::InvalidCertificate(
                CertificateError::ExpiredContext { .. }
            ))
        ),
        "{failure:?}"
    );
    let failure = shake(&careless(), &shop.server).unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::Server(Error::InvalidCertificate(
                CertificateError::ExpiredContext { .. }
            ))
        ),
        "{failure:?}"
    );
}
