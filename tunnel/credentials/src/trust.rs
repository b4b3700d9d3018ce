use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

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
}
