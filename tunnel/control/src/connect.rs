use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::channel::{Channel, Connection, Driver};
use crate::{ControlError, ServerSettings, files, tls};

/// Makes connections to one server.
#[derive(Debug, Clone)]
pub struct Connector {
    settings: Arc<ServerSettings>,
}

impl Connector {
    /// A way to the server of these settings. Nothing is read or asked yet.
    #[must_use]
    pub fn new(settings: ServerSettings) -> Self {
        Self {
            settings: Arc::new(settings),
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// Makes a connection: reads the roots, resolves the name, and has the server prove itself.
    ///
    /// # Errors
    /// Any but the answers of a server: [`ControlError`] says whose fault it is.
    pub async fn connect(&self) -> Result<Connection, ControlError> {
        let limit = self.settings.connect_timeout;
        let connecting = timeout(limit, self.connect_in_time());
        connecting.await.unwrap_or_else(|_late| {
            Err(ControlError::TimedOut {
                host: format!("{}:{}", self.settings.host, self.settings.port),
                limit,
            })
        })
    }

    async fn connect_in_time(&self) -> Result<Connection, ControlError> {
        let settings = &self.settings;
        let roots = files::roots(&settings.root_cert_file).await?;
        let config = tls::client(&roots, &settings.root_cert_file)?;
        let name = ServerName::try_from(settings.server_name.clone())
            .map_err(|_| ControlError::ServerName(settings.server_name.clone()))?;
        let tcp = dial(&settings.host, settings.port).await?;
        let tls = TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|why| self.tls_fault(&why, &settings.root_cert_file))?;
        let (channel, driver) = self.start_http2(tls).await?;
        Ok(Connection::new(channel, driver, settings.clone()))
    }

    fn tls_fault(&self, why: &std::io::Error, roots: &Path) -> ControlError {
        ControlError::Tls(tls::fault(why, &self.settings.server_name, roots))
    }

    async fn start_http2(
        &self,
        tls: TlsStream<TcpStream>,
    ) -> Result<(Channel, Driver), ControlError> {
        let failed = |why: hyper::Error| ControlError::Http2(why.to_string());
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(2 * STREAM_WINDOW)
            .keep_alive_interval(self.settings.keep_alive_interval)
            .keep_alive_timeout(self.settings.keep_alive_timeout)
            // Servers take signs of life without a call for an attack, and end the connection.
            .keep_alive_while_idle(false)
            .handshake(TokioIo::new(tls))
            .await
            .map_err(failed)?;
        let driver = Driver(tokio::spawn(async move {
            // Whoever waits for an answer is told why there is none.
            if let Err(why) = connection.await {
                tracing::debug!(error = %why, "a connection to the control plane ended");
            }
        }));
        Ok((Channel(send), driver))
    }
}

/// Large enough that the first state of a large mesh does not wait for round trips.
const STREAM_WINDOW: u32 = 4 << 20;

/// Tries each address of the host, in the resolver's order.
async fn dial(host: &str, port: u16) -> Result<TcpStream, ControlError> {
    let unresolved = |why: String| ControlError::Resolve {
        host: host.to_owned(),
        why,
    };
    let found = lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|why| unresolved(why.to_string()))?.collect();
    let mut last = unresolved("it has no address".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small messages are answers somebody waits for.
                let _unsupported = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(why) => {
                let why = why.to_string();
                last = ControlError::Connect { address, why };
            }
        }
    }
    Err(last)
}
