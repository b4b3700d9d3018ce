//! HBONE: TCP streams carried by HTTP/2 CONNECT over mutual TLS.
//!
//! Makes and serves tunnels on any byte stream, opens and answers streams on them, and pumps bytes
//! between a stream and an application's connection with half-close carried both ways. It refuses
//! to decide anything: who may talk to whom, where a connection goes and which certificate is
//! shown is told to it. It owns the tunnels' buffers, and bounds what a peer can make them hold.
//!
//! Everything here belongs to one thread: a connection, its stream and its tunnel are polled by
//! the same event loop, and one turn of it ends in one send for each tunnel.

#![forbid(unsafe_code)]

mod app;
mod budget;
mod buffers;
mod client;
mod connect;
mod driver;
mod error;
mod hpack;
mod http2;
mod kept;
mod limits;
mod promise;
mod pump;
mod relay;
mod server;
mod spread;
mod state;
mod tls;
mod turn;
mod watch;

pub use app::{AppStream, disarm};
pub use client::{ClientTunnel, OpenStream};
pub use connect::ConnectHead;
pub use error::{StreamError, TunnelError};
pub use http2::{Asked, Broken, Reason};
pub use limits::Limits;
pub use promise::{ANSWER_FIRST, Promised};
pub use pump::{Meter, Pump, Pumped};
pub use relay::Relay;
pub use server::{Accepted, Incoming, serve};
pub use spread::{Spread, SpreadHasher};
pub use state::{StreamGuard, TunnelState};
pub use tls::{Shown, TlsIo, accept, connect};
pub use turn::{LaneTurn, later};

#[cfg(test)]
mod tests;
