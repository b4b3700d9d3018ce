//! Puts the plugin onto a node, into the container runtime's configuration, and keeps both there.
//! It refuses to change what it does not understand, to leave a file half written whenever it is
//! stopped, and to name the plugin in a configuration before it can be executed.
//! It owns the plugin's file, our entry in network configurations, and the record of what stood in
//! their place, by which an uninstall gives everything back as it was.

#![forbid(unsafe_code)]

mod choose;
mod document;
mod entry;
mod error;
mod file;
mod host;
mod installer;
mod keep;
mod plan;
mod program;
mod record;
mod refusal;
mod step;
mod undo;
mod uninstall;
mod watch;

#[cfg(test)]
mod testing;

pub use entry::Entry;
pub use error::InstallError;
pub use installer::{Installer, Pass};
pub use keep::{keep, once};
pub use refusal::Refusal;
pub use step::Change;
pub use uninstall::uninstall;
