//! The cluster's own authority, and who has a certificate of it.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Who a certificate is for.
pub(crate) struct Subject<'a> {
    /// Its file's name.
    pub(crate) file: &'a str,
    /// The user, as Kubernetes sees it.
    pub(crate) user: &'a str,
    /// The user's group; may be empty.
    pub(crate) group: &'a str,
    /// Names and addresses, of servers.
    pub(crate) hosts: Vec<String>,
}

/// An authority whose files are in one directory: `ca.crt`, and `NAME.crt` and `NAME.key` of each it has issued.
pub(crate) struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Authority({})", self.directory.display())
    }
}

impl Authority {
    /// Makes one, and the key pair for service accounts' tokens.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "ambient e2e cluster");
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write(directory, "ca.crt", &certificate.pem())?;
        write(directory, "ca.key", &key.serialize_pem())?;
        let accounts = KeyPair::generate()?;
        write(directory, "accounts.key", &accounts.serialize_pem())?;
        write(directory, "accounts.pub", &accounts.public_key_pem())?;
        Ok(Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The path of one of its files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Issues a certificate for a client, and for a server if it has hosts.
    pub(crate) fn issue(&self, subject: Subject<'_>) -> Result<()> {
        let mut params = CertificateParams::new(subject.hosts)?;
        let name = &mut params.distinguished_name;
        if !subject.group.is_empty() {
            name.push(DnType::OrganizationName, subject.group);
        }
        name.push(DnType::CommonName, subject.user);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let named = |ending: &str| format!("{}.{ending}", subject.file);
        write(&self.directory, &named("crt"), &certificate.pem())?;
        write(&self.directory, &named("key"), &key.serialize_pem())
    }

    /// Writes a kubeconfig for somebody who has a certificate; gives its path.
    pub(crate) fn kubeconfig(&self, file: &str, server: &str) -> Result<PathBuf> {
        self.kubeconfig_as(file, file, server)
    }

    /// The same, in a file of another name.
    pub(crate) fn kubeconfig_as(&self, file: &str, name: &str, server: &str) -> Result<PathBuf> {
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bare", "cluster": {
                "server": server,
                "certificate-authority": self.file("ca.crt"),
            }}],
            "users": [{"name": file, "user": {
                "client-certificate": self.file(&format!("{file}.crt")),
                "client-key": self.file(&format!("{file}.key")),
            }}],
            "contexts": [{"name": "bare", "context": {"cluster": "bare", "user": file}}],
            "current-context": "bare",
        });
        let name = format!("{name}.kubeconfig");
        write(&self.directory, &name, &text.to_string())?;
        Ok(self.file(&name))
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    let file = directory.join(name);
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}
