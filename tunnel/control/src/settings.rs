use std::path::PathBuf;
use std::time::Duration;

/// Where the control plane is, and by what it and we are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Its name or address; a name is resolved anew for each connection.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The name its certificate must hold, whatever it is dialled by.
    pub server_name: String,
    /// The roots by which it is believed, PEM; read for each connection.
    pub root_cert_file: PathBuf,
    /// The token by which we are believed; read for each call.
    pub token_file: PathBuf,
    /// The cluster of the caller, sent with each call.
    pub cluster_id: String,
    /// How long a connection may take until HTTP/2 speaks.
    pub connect_timeout: Duration,
    /// How long the server may be silent during a call before it is asked for a sign of life. Servers
    /// refuse to be asked all the time: istiod wants at least 15 s in between.
    pub keep_alive_interval: Duration,
    /// How long that sign may take before the connection counts as dead.
    pub keep_alive_timeout: Duration,
}

impl ServerSettings {
    /// Settings with the usual times: 5 s to connect, signs of life after 30 s within 10 s.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self {
            server_name: host.clone(),
            host,
            port,
            root_cert_file: PathBuf::new(),
            token_file: PathBuf::new(),
            cluster_id: String::new(),
            connect_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
        }
    }
}
