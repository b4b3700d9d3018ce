//! Where the API server is, and with which credentials it is asked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Where Kubernetes puts a pod's service account.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the API server is, and with which credentials it is asked. Files are read when a client is
/// made; the token is read again each minute after that, because it is replaced before it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// As a pod of the cluster.
    InCluster {
        /// The address that Kubernetes tells its pods.
        host: String,
        /// The port.
        port: String,
        /// The directory with token and certificate.
        directory: PathBuf,
    },
    /// As the file says.
    Kubeconfig(PathBuf),
}

/// Why the API server cannot be asked at all; the operator must act, and it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// This is no pod.
    #[error(
        "{0} is not set in the environment, as Kubernetes does for its pods: run the agent as a \
         pod, or give kubeconfig"
    )]
    Environment(&'static str),
    /// The address means nothing.
    #[error("KUBERNETES_SERVICE_HOST and _PORT, {0:?}, are no address of a server")]
    Address(String),
    /// A file of the service account.
    #[error(
        "{}: {source}; is a service account's token mounted there (automountServiceAccountToken)?",
        path.display()
    )]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate authority's file has no certificate in it.
    #[error("{} has no certificate in it (PEM)", .0.display())]
    NoCertificate(PathBuf),
    /// The kubeconfig cannot be used.
    #[error(
        "kubeconfig {}: {source}; what it names must be inside of it or of its directory",
        path.display()
    )]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// It asks for something that is not done here.
    #[error("kubeconfig {}: {what}", path.display())]
    NotHere {
        /// Which.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// No client can be made of it.
    #[error("no connection to the API server can be set up: {0}")]
    Client(#[source] Box<kube::Error>),
}

impl Access {
    /// As a pod of the cluster, by what `variable` finds in the environment.
    ///
    /// # Errors
    /// This is no pod.
    pub fn in_cluster(
        directory: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, AccessError> {
        let get = |name| variable(name).ok_or(AccessError::Environment(name));
        Ok(Self::InCluster {
            host: get("KUBERNETES_SERVICE_HOST")?,
            port: get("KUBERNETES_SERVICE_PORT")?,
            directory: directory.to_owned(),
        })
    }

    /// Checks everything that can be checked without asking anybody.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn check(&self) -> Result<(), AccessError> {
        self.config().await.map(drop)
    }

    /// A client; it connects when it is used.
    pub(crate) async fn client(&self) -> Result<Client, AccessError> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT);
        // Who asks has limits of its own, and tries again when it is time.
        config.default_retry = false;
        Client::try_from(config).map_err(|error| AccessError::Client(Box::new(error)))
    }

    async fn config(&self) -> Result<Config, AccessError> {
        match self {
            Self::InCluster {
                host,
                port,
                directory,
            } => in_cluster(host, port, directory),
            Self::Kubeconfig(path) => kubeconfig(path).await,
        }
    }
}

fn in_cluster(host: &str, port: &str, directory: &Path) -> Result<Config, AccessError> {
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let address = format!("https://{bracketed}:{port}");
    let uri = address
        .parse()
        .map_err(|_| AccessError::Address(address.clone()))?;
    let (token, authority) = (directory.join("token"), directory.join("ca.crt"));
    read(&token)?;
    let certificates = certificates(&authority)?;
    let mut config = Config::new(uri);
    config.root_cert = Some(certificates);
    config.root_cert_file = Some(authority);
    config.auth_info.token_file = Some(token.display().to_string());
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(path).map_err(|source| AccessError::File {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, AccessError> {
    let parsed = pem::parse_many(read(path)?).unwrap_or_default();
    let all: Vec<Vec<u8>> = parsed
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .collect();
    if all.is_empty() {
        return Err(AccessError::NoCertificate(path.to_owned()));
    }
    Ok(all)
}

async fn kubeconfig(path: &Path) -> Result<Config, AccessError> {
    let failed = |source| AccessError::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let read = Kubeconfig::read_from(path).map_err(failed)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(failed)?;
    let what = if config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some() {
        "it gets its credentials from another program, and the worker may start none; give a \
         token, a token file or a client certificate"
    } else if config.accept_invalid_certs {
        "insecure-skip-tls-verify would let anybody say which pods are in the mesh; give \
         certificate-authority"
    } else {
        return Ok(config);
    };
    Err(AccessError::NotHere {
        path: path.to_owned(),
        what,
    })
}

const CONNECT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let none = Access::in_cluster(root.path(), |_| None).unwrap_err();
        assert!(
            none.to_string().contains("KUBERNETES_SERVICE_HOST"),
            "{none}"
        );

        let access = Access::in_cluster(root.path(), |_| Some("fd00::1".into())).unwrap();
        let why = async || access.check().await.unwrap_err().to_string();
        assert!(why().await.contains("fd00::1"), "the port is no number");
        let access = Access::InCluster {
            host: "fd00::1".into(),
            port: "443".into(),
            directory: root.path().to_owned(),
        };
        let why = async || access.check().await.unwrap_err().to_string();
        assert!(why().await.contains("token"), "{}", why().await);
        std::fs::write(root.path().join("token"), "t").unwrap();
        assert!(why().await.contains("ca.crt"), "{}", why().await);
        std::fs::write(root.path().join("ca.crt"), "nonsense").unwrap();
        assert!(why().await.contains("no certificate"), "{}", why().await);
    }

    #[tokio::test]
    async fn a_kubeconfig_may_neither_start_programs_nor_trust_everybody() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("kubeconfig");
        let cases = [
            ("{token: t}", "{}", None),
            (
                "{exec: {apiVersion: a, command: c}}",
                "{}",
                Some("another program"),
            ),
            (
                "{token: t}",
                "{insecure-skip-tls-verify: true}",
                Some("insecure-skip-tls-verify"),
            ),
        ];
        for (user, cluster, expected) in cases {
            let cluster = cluster.replace('{', "{server: \"http://127.0.0.1:1\", ");
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
                 clusters: [{{name: c, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
            );
            std::fs::write(&path, text).unwrap();
            let outcome = Access::Kubeconfig(path.clone()).check().await;
            let error = outcome.err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(error, None),
                Some(part) => assert!(error.unwrap().contains(part), "{part}"),
            }
        }
    }
}
