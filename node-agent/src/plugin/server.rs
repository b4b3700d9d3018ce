//! Accepts plugins and answers each in a task of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cni_plugin_handoff::{Failure, MessageError, Reply, Request};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::add::{add, pod_of};
use super::link::{Link, LinkError};
use super::others::{check, del, gc, status};
use crate::agent::Agent;
use crate::world::World;

/// Serves until `stop` says so, then finishes the conversations there are.
pub(crate) async fn serve<W: World>(
    agent: Arc<Agent<W>>,
    listener: UnixListener,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
    let mut conversations = JoinSet::new();
    loop {
        // Cancelled only by `stop`: neither accept nor the wait for a place loses anything.
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let agent = Arc::clone(&agent);
                conversations.spawn(async move {
                    converse(&agent, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept the plugin");
                // Most often the descriptors are used up, which the next instant does not cure.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while conversations.try_join_next().is_some() {}
    }
    // Who connects from now on waits in the listener's queue for whoever serves next.
    drop(listener);
    while conversations.join_next().await.is_some() {}
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn converse<W: World>(agent: &Agent<W>, stream: UnixStream) {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == permitted_uid() => {}
        Ok(peer) => {
            tracing::warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "refused a peer that is not root"
            );
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "refused a peer that cannot be identified");
            return;
        }
    }
    let mut link = Link::new(stream);
    if let Err(error) = answer(agent, &mut link).await {
        tracing::warn!(%error, "conversation with the plugin ended early");
    }
}

async fn answer<W: World>(agent: &Agent<W>, link: &mut Link) -> Result<(), LinkError> {
    let (request, netns) = match link.request().await {
        Ok(request) => request,
        Err(LinkError::Message(MessageError::Version { version, upgrade })) => {
            tracing::warn!(version, which = %upgrade.which, "the plugin speaks another version");
            return link.say(&Reply::Upgrade(upgrade)).await;
        }
        Err(error) => {
            // Whoever sent this may still read; otherwise the log has it.
            let failure = refused(&error.to_string());
            let _unheard = link.say(&Reply::Failed(failure)).await;
            return Err(error);
        }
    };
    let reply = match dispatch(agent, link, request, netns).await {
        Answer::Given => return Ok(()),
        Answer::Reply(reply) => reply,
    };
    link.say(&reply).await
}

enum Answer {
    /// The conversation is over.
    Given,
    /// This remains to be said.
    Reply(Reply),
}

async fn dispatch<W: World>(
    agent: &Agent<W>,
    link: &mut Link,
    request: Request,
    netns: Option<OwnedFd>,
) -> Answer {
    let outcome = match request {
        Request::Add(request) => {
            let pod = pod_of(&request.pod);
            return match Box::pin(add(agent, link, request, netns)).await {
                Ok(()) => Answer::Given,
                Err(error) => {
                    tracing::warn!(%error, %pod, "pod not enrolled");
                    if let Some(reason) = error.complaint() {
                        agent.complain(&pod, reason, error.to_string());
                    }
                    Answer::Reply(Reply::Failed(error.failure()))
                }
            };
        }
        Request::Del(request) => del(agent, request, netns).await,
        Request::Check(request) => check(agent, request, netns).await,
        Request::Gc(request) => gc(agent, request).await,
        Request::Status => Ok(status(agent)),
    };
    Answer::Reply(outcome.unwrap_or_else(|error| Reply::Failed(refused(&error.to_string()))))
}

fn refused(message: &str) -> Failure {
    Failure {
        code: TRY_AGAIN_LATER,
        message: message.to_owned(),
        details: "see the node agent's log".to_owned(),
        retry: true,
    }
}

/// Root in the field; in tests whoever runs them, because the agent never changes its user.
fn permitted_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

const MAX_CONVERSATIONS: usize = 512;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const TRY_AGAIN_LATER: u32 = 11;
