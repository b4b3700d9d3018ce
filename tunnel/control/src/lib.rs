//! The way to the control plane: TLS to a server that is known by a root file and a name, HTTP/2
//! with signs of life, and gRPC calls with a token that is read anew for each.
//!
//! It refuses to speak to a server that cannot prove its name, to remember a token or a root longer
//! than the files hold them, and to know what the calls are about. It owns the connection, and says
//! of each failure whose it is and what to do; when to try again is computed here, from the time
//! and the dice that the caller brings, and done by the caller.
#![forbid(unsafe_code)]

mod backoff;
mod channel;
mod connect;
mod error;
mod files;
pub mod protobuf;
mod settings;
mod tls;

#[cfg(any(test, feature = "test-util"))]
pub mod scripted;
#[cfg(test)]
mod tests;

pub use backoff::{Backoff, Dice};
pub use channel::{Answers, Connection, WeakConnection};
pub use connect::Connector;
pub use error::{ControlError, TlsFault};
pub use settings::ServerSettings;
