//! Between plugin and agent: a socket that passes their frames on, and stops at a chosen one for a test to do harm.

use anyhow::{Context, Result, bail};
use cni_plugin_handoff::{Decoder, HEADER_LENGTH, encode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use node_agent_namespace::{recv_with_fds, send_with_fds};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// What becomes of the frame that was stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is passed on, and all that follow.
    Pass,
    /// Both connections are closed instead.
    Cut,
    /// Its first half is passed on, then both connections are closed.
    Half,
    /// Bytes that are no frame are passed on instead.
    Rubbish,
    /// A frame that makes no sense here is passed on instead.
    Nonsense,
    /// Nothing is passed on any more, and nothing is closed.
    Silence,
}

/// A relay for one conversation.
#[derive(Debug)]
pub struct Relay {
    socket: PathBuf,
    reached: Receiver<()>,
    order: Sender<Then>,
}

/// A frame as it came, with the descriptors that came with it.
struct Parcel {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Relay {
    /// Listens on a socket of its own and stops at the `stop`-th frame: odd ones are the plugin's, even ones the agent's.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(directory: &Path, name: &str, agent: &Path, stop: usize) -> Result<Self> {
        let socket = directory.join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket)?;
        let agent = agent.to_owned();
        let (told, reached) = channel();
        let (order, orders) = channel();
        thread::spawn(move || {
            // What goes wrong ends the conversation, which is what both sides then see.
            drop(converse(&listener, &agent, stop, &told, &orders));
        });
        Ok(Self {
            socket,
            reached,
            order,
        })
    }

    /// Where the plugin shall call.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Waits until the frame has come from its sender and before anything of it has gone on.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait(&self) -> Result<()> {
        let limit = Duration::from_secs(15);
        self.reached
            .recv_timeout(limit)
            .context("the conversation does not get there")
    }

    /// Goes on.
    ///
    /// # Errors
    /// The conversation is over.
    pub fn proceed(&self, then: Then) -> Result<()> {
        self.order.send(then).context("the conversation is over")
    }
}

fn converse(
    listener: &UnixListener,
    agent: &Path,
    stop: usize,
    told: &Sender<()>,
    orders: &Receiver<Then>,
) -> Result<()> {
    let (plugin, _) = listener.accept()?;
    let agent = UnixStream::connect(agent)?;
    for number in 1.. {
        let (from, to) = if number % 2 == 1 {
            (&plugin, &agent)
        } else {
            (&agent, &plugin)
        };
        let parcel = receive(from, to)?;
        if number != stop {
            send(to, &parcel)?;
            continue;
        }
        told.send(())?;
        match orders.recv()? {
            Then::Pass => send(to, &parcel)?,
            Then::Cut => bail!("cut"),
            Then::Half => {
                let half = parcel.bytes.len() / 2;
                let bytes = parcel.bytes[..half].to_vec();
                send(to, &Parcel { bytes, ..parcel })?;
                bail!("cut half-way")
            }
            Then::Rubbish => send(
                to,
                &Parcel {
                    bytes: vec![b'?'; 200],
                    fds: Vec::new(),
                },
            )?,
            Then::Nonsense => {
                let bytes = encode(1, &serde_json::json!({"surprise": [number]}))?;
                send(
                    to,
                    &Parcel {
                        bytes,
                        fds: Vec::new(),
                    },
                )?;
            }
            Then::Silence => {
                // Until the test drops its end.
                while orders.recv().is_ok() {}
                bail!("over")
            }
        }
    }
    Ok(())
}

/// A whole frame from one side, unless the other ends first.
fn receive(from: &UnixStream, other: &UnixStream) -> Result<Parcel> {
    let (mut decoder, mut bytes, mut fds) = (Decoder::new(), Vec::new(), Vec::new());
    loop {
        let mut both = [
            PollFd::new(from.as_fd(), PollFlags::POLLIN),
            PollFd::new(other.as_fd(), PollFlags::empty()),
        ];
        poll(&mut both, PollTimeout::NONE)?;
        let ended = PollFlags::POLLHUP | PollFlags::POLLERR;
        if both[1]
            .revents()
            .is_some_and(|events| events.intersects(ended))
        {
            bail!("the other side has ended");
        }
        let mut room = vec![0; decoder.wanted().max(HEADER_LENGTH)];
        let wanted = decoder.wanted().max(1).min(room.len());
        let (size, came) = recv_with_fds(from, &mut room[..wanted])?;
        fds.extend(came);
        if size == 0 {
            bail!("the sender has ended");
        }
        bytes.extend_from_slice(&room[..size]);
        decoder.push(&room[..size])?;
        if decoder.next_frame()?.is_some() {
            return Ok(Parcel { bytes, fds });
        }
    }
}

fn send(to: &UnixStream, parcel: &Parcel) -> Result<()> {
    let fds: Vec<_> = parcel.fds.iter().map(AsFd::as_fd).collect();
    let mut sent = send_with_fds(to, &parcel.bytes, &fds)?;
    while sent < parcel.bytes.len() {
        sent += send_with_fds(to, &parcel.bytes[sent..], &[])?;
    }
    Ok(())
}
