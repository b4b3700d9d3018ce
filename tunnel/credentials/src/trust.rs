use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

/// Roots that are believed beside those a certificate came with, as they were at one moment.
pub(crate) type Beside = Arc<[TrustAnchor<'static>]>;

/// The roots a certificate came with, parsed once.
#[derive(Debug)]
pub(crate) struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    pub(crate) signatures: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Parses the roots; the error carries the place of the one that cannot be read.
    pub(crate) fn new(roots: &[CertificateDer<'_>]) -> Result<Self, (usize, webpki::Error)> {
        let anchors = roots
            .iter()
            .enumerate()
            .map(
                |(place, root)| match webpki::anchor_from_trusted_cert(root) {
                    Ok(anchor) => Ok(anchor.to_owned()),
                    Err(why) => Err((place, why)),
                },
            )
            .collect::<Result<_, _>>()?;
        let signatures = aws_lc_rs::default_provider().signature_verification_algorithms;
        Ok(Self {
            anchors,
            signatures,
        })
    }

    /// Whether a leaf was issued, through the intermediates, by one of the roots, is valid at
    /// `now`, is no authority itself and may be used for `usage`. Names are not looked at.
    pub(crate) fn verify(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        let algorithms = self.signatures.all;
        leaf.verify_for_usage(
            algorithms,
            &self.anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        )
        .map(|_path| ())
    }

    /// The same, by one of these roots or of those that are believed beside them.
    pub(crate) fn verify_beside(
        &self,
        beside: &Beside,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        let by_own = self.verify(leaf, intermediates, now, usage);
        if by_own.is_ok() || beside.is_empty() {
            return by_own;
        }
        let all = Self {
            anchors: self.anchors.iter().chain(&**beside).cloned().collect(),
            signatures: self.signatures,
        };
        all.verify(leaf, intermediates, now, usage)
    }
}

/// Roots that are believed beside those that a certificate came with. All configurations look here;
/// only the owner of the certificates writes.
#[derive(Debug, Default)]
pub(crate) struct Believed(RwLock<Beside>);

impl Believed {
    pub(crate) fn replace<'a>(&self, roots: impl Iterator<Item = &'a CertificateDer<'static>>) {
        let anchors: Beside = roots
            // All were read once, or they would not be here.
            .filter_map(|root| webpki::anchor_from_trusted_cert(root).ok())
            .map(|anchor| anchor.to_owned())
            .collect();
        let mut present = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Certificates come often, other roots do not: what was judged by the same ones still holds.
        if *present != anchors {
            *present = anchors;
        }
    }

    /// Those of this moment. As long as nothing is replaced, it is the same allocation.
    pub(crate) fn now(&self) -> Beside {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
