//! Roots of a mesh, as operators make them for istiod: each with an issuing authority below it.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

/// A root, and who signs in its name.
#[derive(Clone, Debug)]
pub struct MeshRoot {
    root: String,
    issuer: String,
    key: String,
}

impl MeshRoot {
    /// Makes one.
    ///
    /// # Errors
    /// The library fails.
    pub fn make(name: &str) -> Result<Self> {
        let (root_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let params = authority(name);
        let root = params.self_signed(&root_key)?.pem();
        let above = Issuer::new(params, root_key);
        let issuer = authority(&format!("{name}, issuing")).signed_by(&key, &above)?;
        Ok(Self {
            root: tidy(&root),
            issuer: tidy(&issuer.pem()),
            key: key.serialize_pem(),
        })
    }

    /// The root, PEM.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The certificate of who signs, PEM.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The secret that istiod reads: this one signs, and all of `roots` are named.
    #[must_use]
    pub fn cacerts(&self, roots: &[&Self]) -> Value {
        let roots: String = roots.iter().map(|one| one.root.as_str()).collect();
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"namespace": "istio-system", "name": "cacerts"},
            "stringData": {
                "ca-cert.pem": self.issuer,
                "ca-key.pem": self.key,
                "cert-chain.pem": self.issuer,
                "root-cert.pem": roots,
            },
        })
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// With the line endings that everybody else writes.
fn tidy(pem: &str) -> String {
    pem.replace("\r\n", "\n")
}
