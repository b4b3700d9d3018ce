//! A door from this machine to a cluster's API server: a port of the loopback interface, and a kubeconfig that names it.

use anyhow::{Context, Result};
use e2e_netlab::inside;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Open as long as this value lives.
#[derive(Debug)]
pub struct Outside {
    kubeconfig: PathBuf,
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    doorman: Option<JoinHandle<()>>,
}

impl Outside {
    /// Opens one to an address in a network namespace; `write` makes the kubeconfig for the server's new address.
    pub(crate) fn open(
        netns: PathBuf,
        target: SocketAddr,
        write: impl FnOnce(&str) -> Result<PathBuf>,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let kubeconfig = write(&format!("https://{address}"))?;
        let closed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&closed);
        let doorman = thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || {
                for visitor in listener.incoming().flatten() {
                    if seen.load(Ordering::SeqCst) {
                        return;
                    }
                    // Whoever cannot be led in sees a closed connection, as with any server that is away.
                    drop(lead(visitor, &netns, target));
                }
            })?;
        Ok(Self {
            kubeconfig,
            address,
            closed,
            doorman: Some(doorman),
        })
    }

    /// The kubeconfig, for this machine's programs.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // The doorman waits for somebody; this is the last one.
        drop(TcpStream::connect(self.address));
        if let Some(doorman) = self.doorman.take() {
            drop(doorman.join());
        }
    }
}

/// Joins a visitor to the target, each direction on a thread that ends with its connection.
fn lead(visitor: TcpStream, netns: &Path, target: SocketAddr) -> Result<()> {
    // A socket stays in the namespace in which it was made.
    let server = inside(netns, || TcpStream::connect(target))?.context("the API server")?;
    let back = (server.try_clone()?, visitor.try_clone()?);
    for (mut from, mut to) in [(visitor, server), back] {
        thread::Builder::new().spawn(move || {
            // Either side may end it.
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Write));
        })?;
    }
    Ok(())
}
