//! The successor's side of an upgrade, and the ordinary start.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_handover::{FromPredecessor, FromSuccessor, Kept, Site, ToWorker};

use crate::channel::{Channel, ChannelError, Received};
use crate::door::Door;
use crate::holder::{Holder, HolderError};
use crate::listeners::{bind_plugin, bind_site};
use crate::poll::{Interest, wait};
use crate::worker::Worker;

/// A predecessor says yes or no within this time: its worker must become quiet first.
const ANSWER: Duration = Duration::from_secs(40);
/// Everything it keeps comes within this time.
const EVERYTHING: Duration = Duration::from_secs(20);
/// Our worker serves within this time, or the predecessor goes on. A little less than it allows.
const SERVING: Duration = Duration::from_secs(110);

/// A predecessor that was told that we serve says that it ends within this time.
const OVER: Duration = Duration::from_secs(5);
/// How often somebody may end while being asked.
const KNOCKS: usize = 5;

/// Why everything could not be taken over.
enum Failure {
    /// Who answered has ended, before anything was passed.
    Gone,
    Holder(HolderError),
}

/// The agent that we take over from.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) channel: Channel,
    pub(crate) until: Instant,
    pid: i32,
    version: u16,
    /// It was told that our worker serves.
    told: bool,
}

/// Takes over from whoever answers at the door, or binds everything.
pub(crate) fn begin(holder: &mut Holder, now: Instant) -> Result<(), HolderError> {
    let path = holder.settings.door.clone();
    for _ in 0..KNOCKS {
        let Some((socket, peer)) = Door::knock(&path)? else {
            break;
        };
        let channel = Channel::new(socket, holder.settings.spoken.min);
        match take_over(holder, channel, peer.pid, now) {
            Ok(()) => break,
            // It ended just now; who lives on, if anybody, answers the next time.
            Err(Failure::Gone) => {}
            Err(Failure::Holder(error)) => return Err(error),
        }
    }
    if holder.plugin.is_none()
        && let Some(path) = &holder.settings.plugin
    {
        holder.plugin = Some(bind_plugin(path)?);
    }
    let taken_over = holder.predecessor.is_some() || holder.worker.is_some();
    if !taken_over {
        // Nobody lets go of an address later, so a taken one is a mistake to report now.
        for (site, address) in holder.settings.sites.clone() {
            holder.sites.push((site, bind_site(address)?));
        }
    }
    if holder.predecessor.is_none() && holder.door.is_none() {
        holder.door = Some(Door::bind(&path)?);
    }
    Ok(())
}

fn take_over(
    holder: &mut Holder,
    mut channel: Channel,
    pid: i32,
    now: Instant,
) -> Result<(), Failure> {
    let refused = |why: String| Failure::Holder(HolderError::Predecessor { pid, why });
    let failed = |error: ChannelError| match error {
        ChannelError::Gone => Failure::Gone,
        other => refused(other.to_string()),
    };
    let hello = FromSuccessor::Hello {
        spoken: holder.settings.spoken,
        build: holder.settings.build.clone(),
    };
    channel.send(&hello, Vec::new()).map_err(failed)?;
    let silent = format!(
        "it has not answered within {ANSWER:?}: it hangs, or is busy with pods; if it hangs, kill \
         process {pid} and start again"
    );
    let first = next(&mut channel, now + ANSWER)
        .map_err(failed)?
        .ok_or_else(|| refused(silent))?;
    let (version, build, orphan) = match first.message {
        FromPredecessor::Refused { why } => return Err(refused(why)),
        FromPredecessor::Welcome {
            version,
            build,
            orphan,
        } => (version, build, orphan),
        FromPredecessor::Kept(_) | FromPredecessor::All | FromPredecessor::Over => {
            return Err(refused("it spoke out of turn".to_owned()));
        }
    };
    channel.set_version(version);
    let until = now + ANSWER + EVERYTHING;
    let pods = receive_all(holder, &mut channel, until).map_err(refused)?;
    tracing::info!(
        pid,
        build,
        version,
        orphan,
        pods,
        "took over what the former agent kept"
    );
    if let Some(pid) = orphan {
        let end = first.fds.into_iter().next();
        let end = end.ok_or_else(|| refused("it cannot be watched".to_owned()))?;
        let mut worker = Worker::adopt(channel, pid, end, now);
        // It may have been told to be quiet for a successor that did not live to serve either.
        worker.tell(&ToWorker::Resume, Vec::new()).map_err(failed)?;
        holder.worker = Some(worker);
    } else {
        holder.predecessor = Some(Predecessor {
            channel,
            until: now + SERVING,
            pid,
            version,
            told: false,
        });
    }
    Ok(())
}

fn receive_all(
    holder: &mut Holder,
    channel: &mut Channel,
    until: Instant,
) -> Result<usize, String> {
    let mut pods = 0;
    loop {
        let received = next(channel, until)
            .map_err(|error| error.to_string())?
            .ok_or("it did not pass everything in time")?;
        match received.message {
            FromPredecessor::Kept(kept) => {
                pods += usize::from(matches!(kept, Kept::Pod { .. }));
                keep(holder, kept, received.fds).map_err(|error| error.to_string())?;
            }
            FromPredecessor::All => return Ok(pods),
            FromPredecessor::Refused { why } => return Err(why),
            FromPredecessor::Welcome { .. } | FromPredecessor::Over => {
                return Err("it spoke out of turn".to_owned());
            }
        }
    }
}

fn keep(holder: &mut Holder, kept: Kept, mut fds: Vec<OwnedFd>) -> io::Result<()> {
    let lacking = || io::Error::new(io::ErrorKind::InvalidData, "a descriptor is missing");
    if fds.is_empty() {
        return Err(lacking());
    }
    let first = fds.remove(0);
    match kept {
        Kept::Pod { pod, ipv6 } => {
            let pod: Arc<str> = Arc::from(pod);
            holder.namespaces.adopt(&pod, first, fds, ipv6)?;
        }
        Kept::Plugin { path } => {
            // One that is bound elsewhere is closed: our plugin would not find it.
            if holder.settings.plugin.as_deref() == Some(Path::new(&path)) {
                holder.plugin = Some(UnixListener::from(first));
            }
        }
        Kept::Site { site } => keep_site(holder, site, TcpListener::from(first))?,
        Kept::Door => holder.door = Some(Door::from_listener(first)),
    }
    Ok(())
}

fn keep_site(holder: &mut Holder, site: Site, listener: TcpListener) -> io::Result<()> {
    let wanted = holder.settings.sites.iter().find(|(ours, _)| *ours == site);
    let Some((_, address)) = wanted else {
        return Ok(());
    };
    // Where its address is free, it listens in another network: that of the pod before. Whoever asks after this pod,
    // such as the kubelet, asks here.
    if let Ok(own) = bind_site(*address) {
        holder.sites.push((site, own));
    } else if address.port() == listener.local_addr()?.port() {
        // The port decides: the kernel may have turned the address into its IPv4 form.
        holder.sites.push((site, listener));
    }
    Ok(())
}

/// The next message of the predecessor; `None` when it did not come in time.
pub(crate) fn next(
    channel: &mut Channel,
    until: Instant,
) -> Result<Option<Received<FromPredecessor>>, ChannelError> {
    loop {
        if let Some(received) = channel.receive()? {
            return Ok(Some(received));
        }
        let now = Instant::now();
        if now >= until {
            return Ok(None);
        }
        let interest = Interest {
            fd: channel.as_fd(),
            write: channel.has_waiting(),
            token: (),
        };
        wait(&[interest], Some(until), now).map_err(ChannelError::Kernel)?;
        channel.flush()?;
    }
}

/// Our worker accepts connections: the predecessor's may retire.
pub(crate) fn worker_serves(holder: &mut Holder, now: Instant) {
    holder.retire_former(now);
    let Some(predecessor) = &mut holder.predecessor else {
        return;
    };
    if std::mem::replace(&mut predecessor.told, true) {
        return;
    }
    predecessor.until = now + OVER;
    // If it has died, that is seen at its end of the conversation.
    if let Err(error) = predecessor
        .channel
        .send(&FromSuccessor::Serving, Vec::new())
    {
        tracing::warn!(%error, "the predecessor did not hear that we serve");
    }
}

/// The predecessor said something, or is gone.
pub(crate) fn hear(holder: &mut Holder, now: Instant) -> Result<(), HolderError> {
    let Some(predecessor) = &mut holder.predecessor else {
        return Ok(());
    };
    let (pid, version, told) = (predecessor.pid, predecessor.version, predecessor.told);
    let why = match predecessor.channel.receive::<FromPredecessor>() {
        Ok(None) => return Ok(()),
        Ok(Some(received)) => match received.message {
            FromPredecessor::Over => {
                tracing::info!(predecessor = pid, "took over");
                return own_the_door(holder);
            }
            FromPredecessor::Refused { why } => why,
            _ => "it spoke out of turn".to_owned(),
        },
        // One of version 1 just closes the conversation.
        Err(ChannelError::Gone) if told && version < 2 => {
            tracing::info!(predecessor = pid, "took over");
            return own_the_door(holder);
        }
        Err(error) => {
            // Dead, with its worker or without: we have everything, so we are the agent now.
            tracing::warn!(%error, pid, "the predecessor died during the upgrade");
            holder.care_for_orphan(now);
            return own_the_door(holder);
        }
    };
    Err(HolderError::Predecessor { pid, why })
}

/// From now on successors ask here.
fn own_the_door(holder: &mut Holder) -> Result<(), HolderError> {
    holder.predecessor = None;
    if holder.door.is_none() {
        holder.door = Some(Door::bind(&holder.settings.door)?);
    }
    let outcome = holder.give_door();
    holder.blame_worker(outcome);
    Ok(())
}

/// A worker that does not serve in time must not keep the predecessor from going on; a predecessor
/// that does not say that it ends must not keep us from being found.
pub(crate) fn on_time(holder: &mut Holder, now: Instant) -> Result<(), HolderError> {
    match &holder.predecessor {
        Some(predecessor) if predecessor.until <= now && predecessor.told => {
            tracing::warn!(
                pid = predecessor.pid,
                "the predecessor does not say that it ends"
            );
            own_the_door(holder)
        }
        Some(predecessor) if predecessor.until <= now => Err(HolderError::Predecessor {
            pid: predecessor.pid,
            why: format!("our own worker did not serve within {SERVING:?}; see its log"),
        }),
        _ => Ok(()),
    }
}
