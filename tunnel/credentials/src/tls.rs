use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::answer::Accepted;
use crate::certificate::Certificate;
use crate::clock::{TlsClock, WallClock};
use crate::key::{Key, KeyError};
use crate::sessions::Sessions;
use crate::trust::Believed;
use crate::verify::PeerVerifier;

const ALPN_H2: &[u8] = b"h2";

/// Key exchanges, the preferred first.
///
/// The post-quantum hybrid costs a handshake about a fifth more on the client, a tenth on the
/// server and 1.2 kB each way (`examples/handshake_cost.rs`); tunnels are pooled, so that few
/// connections pay it, and what is recorded today stays secret later. The client's preference
/// decides, since its first message already carries its share.
pub(crate) const KEY_EXCHANGE: &[&dyn SupportedKxGroup] = &[
    aws_lc_rs::kx_group::X25519MLKEM768,
    aws_lc_rs::kx_group::X25519,
    aws_lc_rs::kx_group::SECP256R1,
    aws_lc_rs::kx_group::SECP384R1,
];

/// Why a certificate could not be made into TLS configurations: this program's fault.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// The key.
    #[error("{0}")]
    Key(String),
    /// The TLS library.
    #[error("cannot make a TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
}

impl From<KeyError> for ConfigError {
    fn from(why: KeyError) -> Self {
        Self::Key(why.to_string())
    }
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| provider(KEY_EXCHANGE));

/// AES-128 first: it is the cheaper of the two per byte and per handshake (SHA-256 instead of
/// SHA-384), and 128 bits are not what anybody would attack here. A peer that insists on AES-256
/// gets it.
pub(crate) fn provider(key_exchange: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ],
        kx_groups: key_exchange.to_vec(),
        ..aws_lc_rs::default_provider()
    })
}

/// Makes both configurations, once in a certificate's life.
pub(crate) fn certificate(
    accepted: Accepted,
    key: Key,
    believed: &Arc<Believed>,
    clock: &Arc<dyn WallClock>,
) -> Result<Certificate, ConfigError> {
    certificate_with(&PROVIDER, accepted, key, believed, clock)
}

pub(crate) fn certificate_with(
    provider: &Arc<CryptoProvider>,
    accepted: Accepted,
    key: Key,
    believed: &Arc<Believed>,
    clock: &Arc<dyn WallClock>,
) -> Result<Certificate, ConfigError> {
    let Accepted {
        identity,
        chain,
        roots,
        trust,
        not_before,
        not_after,
        serial,
    } = accepted;
    let certified = CertifiedKey::new(chain.clone(), key.into_signing_key()?);
    let own = Arc::new(SingleCertAndKey::from(certified));
    let domain = identity.trust_domain();
    let peers = Arc::new(PeerVerifier::new(trust, Arc::clone(believed), domain));
    let time = Arc::new(TlsClock(clock.clone()));
    let sessions = Arc::new(Sessions::default());
    let client = client(provider, &time, &peers, &own, &sessions)?;
    let server = server(provider, &time, &peers, own)?;
    Ok(Certificate {
        identity,
        not_before,
        not_after,
        serial,
        client: Arc::new(client),
        server: Arc::new(server),
        chain,
        roots,
        peers,
        sessions,
        clock: Arc::clone(clock),
    })
}

fn client(
    provider: &Arc<CryptoProvider>,
    time: &Arc<TlsClock>,
    peers: &Arc<PeerVerifier>,
    own: &Arc<SingleCertAndKey>,
    sessions: &Arc<Sessions>,
) -> Result<ClientConfig, ConfigError> {
    let mut client = ClientConfig::builder_with_details(provider.clone(), time.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(peers.clone())
        .with_client_cert_resolver(own.clone());
    client.alpn_protocols = vec![ALPN_H2.to_vec()];
    client.enable_sni = false;
    // Sessions are resumed with this certificate only, and never believed for what they were:
    // `Certificate::peer` judges their chain again.
    client.resumption = Resumption::store(sessions.clone());
    // After the handshake the tunnel seals and opens records itself, where they lie in its buffers.
    client.enable_secret_extraction = true;
    Ok(client)
}

fn server(
    provider: &Arc<CryptoProvider>,
    time: &Arc<TlsClock>,
    peers: &Arc<PeerVerifier>,
    own: Arc<SingleCertAndKey>,
) -> Result<ServerConfig, ConfigError> {
    let mut server = ServerConfig::builder_with_details(provider.clone(), time.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(peers.clone())
        .with_cert_resolver(own);
    server.alpn_protocols = vec![ALPN_H2.to_vec()];
    // Clients keep their sessions themselves, sealed with keys that only this configuration has.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = aws_lc_rs::Ticketer::new()?;
    server.send_tls13_tickets = 1;
    // As for the client.
    server.enable_secret_extraction = true;
    Ok(server)
}
