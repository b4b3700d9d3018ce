//! What a client and a server have in common for a handshake.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::UnbufferedStatus;
use rustls::{CommonState, Error, ExtractedSecrets, HandshakeKind, ProtocolVersion};

use super::super::fault::general;
use super::super::key::Secrets;
use super::Shown;

/// The keys of a complete handshake, and where their successors come from.
type Keys = (ExtractedSecrets, Box<dyn Secrets>);

/// One side's state machine.
pub(super) trait Side {
    /// The library's per-side data.
    type Data;
    /// Whether the other side may send tickets afterwards.
    const TICKETS: bool;
    /// Runs the state machine over what has arrived.
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
    /// What the other side has shown, now or when the session began.
    fn shown(&self) -> Shown;
    /// Ends the library's part.
    fn into_keys(self) -> Result<Keys, Error>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const TICKETS: bool = true;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
    fn shown(&self) -> Shown {
        shown(self)
    }
    fn into_keys(self) -> Result<Keys, Error> {
        keys(self.dangerous_into_kernel_connection()?)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const TICKETS: bool = false;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
    fn shown(&self) -> Shown {
        shown(self)
    }
    fn into_keys(self) -> Result<Keys, Error> {
        keys(self.dangerous_into_kernel_connection()?)
    }
}

fn shown(state: &CommonState) -> Shown {
    let chain = state.peer_certificates().unwrap_or_default();
    Shown {
        unjudged: chain.iter().map(|c| c.clone().into_owned()).collect(),
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

fn keys<D: 'static>((secrets, next): (ExtractedSecrets, KernelConnection<D>)) -> Result<Keys, Error>
where
    KernelConnection<D>: Secrets,
{
    if next.protocol_version() == ProtocolVersion::TLSv1_3 {
        Ok((secrets, Box::new(next)))
    } else {
        Err(general("only TLS 1.3 is spoken here"))
    }
}
