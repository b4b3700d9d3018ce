//! The self-probe's client: knocks at a pod's listeners from inside the pod.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tunnel_model::PodUid;
use tunnel_sockets::{Family, Port, SocketKind, SocketsError};

use crate::handle::TunnelHandle;
use crate::probe::{NOWHERE, TICKET};

/// One probe connection is answered within, or the pod does not work.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// The pod has no route to where the probe wanted to go.
const NO_ROUTE: &str = "no route";

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The pod was never admitted, or left.
    #[error("the pod is not served by this node's tunnel")]
    UnknownPod,
    /// A probing socket could not be made.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// A connection failed on its way to a listener.
    #[error("self-probe of port {port} failed: {what}")]
    Failed {
        /// The listener that was to be reached.
        port: u16,
        /// What happened instead.
        what: String,
    },
}

impl TunnelHandle {
    /// Proves that connections reach the pod's listeners and are accepted: 15006 and 15008
    /// directly, 15001 through the pod's rules if `via_rules`.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn probe(&self, uid: &PodUid, via_rules: bool) -> Result<(), ProbeError> {
        let ips = self
            .pods()
            .get(uid)
            .map(|p| p.ips.clone())
            .ok_or(ProbeError::UnknownPod)?;
        let key: Arc<str> = Arc::from(uid.to_string());
        // Side by side: whoever waits for this is a pod that wants to start.
        let of = |family| ips.iter().copied().find(|ip| Family::of(ip) == family);
        tokio::try_join!(
            self.probe_family(&key, of(Family::V4), via_rules),
            self.probe_family(&key, of(Family::V6), via_rules),
        )?;
        Ok(())
    }

    async fn probe_family(
        &self,
        key: &Arc<str>,
        ip: Option<IpAddr>,
        via_rules: bool,
    ) -> Result<(), ProbeError> {
        let Some(ip) = ip else { return Ok(()) };
        let family = Family::of(&ip);
        let direct = |port: Port| (port, SocketAddr::new(ip, port.number()));
        let outbound = async {
            if !via_rules {
                return self.knock(key, ip, direct(Port::Outbound)).await;
            }
            let nowhere = NOWHERE[usize::from(family == Family::V6)];
            match self.knock(key, ip, (Port::Outbound, nowhere)).await {
                // A pod without a default route cannot show how such a route is captured.
                Err(ProbeError::Failed { what, .. }) if what == NO_ROUTE => {
                    self.knock(key, ip, direct(Port::Outbound)).await
                }
                other => other,
            }
        };
        tokio::try_join!(
            self.knock(key, ip, direct(Port::InboundPlaintext)),
            self.knock(key, ip, direct(Port::InboundHbone)),
            outbound,
        )?;
        Ok(())
    }

    async fn knock(
        &self,
        key: &Arc<str>,
        from: IpAddr,
        (port, to): (Port, SocketAddr),
    ) -> Result<(), ProbeError> {
        let family = Family::of(&from);
        let made = self
            .inner
            .sockets
            .make(Arc::clone(key), family, SocketKind::Captured, 1);
        let failed = |what: String| ProbeError::Failed {
            port: port.number(),
            what,
        };
        let fd = made
            .await?
            .pop()
            .ok_or_else(|| failed("no socket was made".into()))?;
        let socket = TcpSocket::from_std_stream(fd.into());
        timeout(PROBE_PATIENCE, self.exchange(key, socket, from, to))
            .await
            .map_err(|_| failed(format!("no answer within {PROBE_PATIENCE:?}")))?
            .map_err(failed)
    }

    async fn exchange(
        &self,
        key: &Arc<str>,
        socket: TcpSocket,
        from: IpAddr,
        to: SocketAddr,
    ) -> Result<(), String> {
        socket
            .bind(SocketAddr::new(from, 0))
            .map_err(|e| format!("cannot bind to {from}: {e}"))?;
        let source = socket.local_addr().map_err(|e| e.to_string())?;
        let mut ticket = [0; TICKET];
        getrandom::fill(&mut ticket).map_err(|e| e.to_string())?;
        let _expected = self.inner.tickets.expect(Arc::clone(key), source, ticket);
        let mut stream = socket.connect(to).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
                NO_ROUTE.to_owned()
            }
            _ => format!("connection from {source} to {to}: {e}"),
        })?;
        let mut answer = [0; TICKET];
        stream
            .read_exact(&mut answer)
            .await
            .map_err(|e| format!("answer to {source}: {e}"))?;
        if answer == ticket {
            Ok(())
        } else {
            Err("somebody else than this node's tunnel answered".to_owned())
        }
    }
}
