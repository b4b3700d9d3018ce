use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tunnel_model::Identity;
use webpki::{EndEntityCert, KeyUsage};

use crate::peer::{PeerIdentityError, identity_of};
use crate::remember::Remembered;
use crate::trust::{Believed, Beside, Trust};

/// What a peer is in a connection, for which its certificate must be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRole {
    /// It makes the connection.
    Client,
    /// It accepts the connection.
    Server,
}

/// Judges peers, in both roles: their chain leads to the roots that our certificate came with or
/// that are believed beside them, and their one name is a workload of our trust domain. Which workload is the caller's question, asked after the handshake.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    trust: Trust,
    believed: Arc<Believed>,
    trust_domain: String,
    clients: Remembered,
    servers: Remembered,
}

impl PeerVerifier {
    pub(crate) fn new(trust: Trust, believed: Arc<Believed>, trust_domain: &str) -> Self {
        Self {
            trust,
            believed,
            trust_domain: trust_domain.to_owned(),
            clients: Remembered::default(),
            servers: Remembered::default(),
        }
    }

    /// Who a peer is that has shown this chain, and in a handshake that it has the key, if it is
    /// believed.
    pub(crate) fn judge(
        &self,
        role: PeerRole,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, Error> {
        let beside = self.believed.now();
        let remembered = self.remembered(role);
        if let Some(peer) = remembered.recall(&beside, leaf, intermediates, now) {
            return Ok(peer);
        }
        let peer = self.verify(role, &beside, leaf, intermediates, now)?;
        remembered.keep(&beside, leaf, intermediates, &peer, now);
        Ok(peer)
    }

    /// Whether a chain is believed. Nobody has shown yet to have its key, so that nothing is kept.
    fn check(
        &self,
        role: PeerRole,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let beside = self.believed.now();
        let known = self.remembered(role);
        if known.recall(&beside, leaf, intermediates, now).is_some() {
            return Ok(());
        }
        self.verify(role, &beside, leaf, intermediates, now)
            .map(drop)
    }

    fn remembered(&self, role: PeerRole) -> &Remembered {
        match role {
            PeerRole::Client => &self.clients,
            PeerRole::Server => &self.servers,
        }
    }

    fn verify(
        &self,
        role: PeerRole,
        beside: &Beside,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, Error> {
        let usage = match role {
            PeerRole::Client => KeyUsage::client_auth(),
            PeerRole::Server => KeyUsage::server_auth(),
        };
        let leaf = EndEntityCert::try_from(leaf).map_err(|why| chain_error(&why))?;
        self.trust
            .verify_beside(beside, &leaf, intermediates, now, usage)
            .map_err(|why| chain_error(&why))?;
        let peer = identity_of(&leaf).map_err(name_error)?;
        if peer.trust_domain() == self.trust_domain {
            return Ok(peer);
        }
        let own = self.trust_domain.clone();
        Err(name_error(PeerIdentityError::OtherTrustDomain {
            peer,
            own,
        }))
    }

    fn signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.trust.signatures)
    }
}

/// TLS 1.2 is not offered, so that its signatures are never asked about.
fn no_tls12() -> Error {
    Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)
}

fn name_error(why: PeerIdentityError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

/// Chooses the words, and thereby the alert the peer gets.
fn chain_error(why: &webpki::Error) -> Error {
    use webpki::Error as E;
    Error::InvalidCertificate(match *why {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        E::CertRevoked => CertificateError::Revoked,
        _ => CertificateError::Other(OtherError(Arc::new(why.clone()))),
    })
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(PeerRole::Server, end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.signatures.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None are named: peers have one certificate, and naming roots only lengthens the handshake.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(PeerRole::Client, end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.signatures.supported_schemes()
    }
}
