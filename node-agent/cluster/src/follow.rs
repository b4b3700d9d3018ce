//! Lists one kind of objects and follows its changes, for as long as it is polled.
//!
//! ```text
//!            ┌──── all read ───► watch from that version ── ended ──► watch from the last version
//!   list ────┤                        │ 410 Gone, or the version is not known
//!     ▲      └── failed: pause        ▼
//!     └───────────────────────────── list again; nothing is forgotten before it is complete
//! ```

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, Resource};
use node_agent_enrollment::{Fact, Notice};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::access::Access;
use crate::backoff::{Backoff, random};
use crate::link::Lamp;
use crate::problem::{Problem, within};

/// An object that can be followed.
pub(crate) trait Object:
    Clone + Debug + DeserializeOwned + Resource + Send + 'static
{
}

impl<T: Clone + Debug + DeserializeOwned + Resource + Send + 'static> Object for T {}

/// Follows one kind of objects.
pub(crate) struct Follower<K> {
    pub(crate) access: Access,
    pub(crate) api: fn(Client) -> Api<K>,
    /// Only these, if not all.
    pub(crate) fields: Option<String>,
    pub(crate) fact: fn(Notice<K>) -> Fact,
    pub(crate) facts: mpsc::Sender<Fact>,
    pub(crate) lamp: Lamp,
    /// From where to go on.
    pub(crate) version: Option<String>,
    pub(crate) initial: Initial,
    pub(crate) limits: Limits,
}

/// How everything is asked for at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initial {
    /// As a watch that begins with everything: the API server need not hold the list in memory.
    Stream,
    /// Page by page, which every API server can.
    Pages,
}

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For the answer to a request, or the next piece of a list.
    pub(crate) answer: Duration,
    /// The API server is asked to end a watch after this long. Nothing for so long and a bit means
    /// that the connection is dead.
    pub(crate) watch: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(20),
            watch: Duration::from_secs(120),
        }
    }
}

impl<K: Object> Follower<K> {
    /// Follows until nobody wants the facts any more.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        // Credentials are read when a client is made; the token is read again as long as it is good.
        let mut client = None;
        // Whether it was excused since a watch ended in good order.
        let mut excused = false;
        while !self.facts.is_closed() {
            let problem = match self.attempt(&mut client, &mut backoff).await {
                Ok(()) => {
                    backoff.worked();
                    excused = false;
                    continue;
                }
                Err(problem) => problem,
            };
            // Once, this is an ordinary thing to happen; that it has forgotten is also what an API server says first
            // that was away.
            let spared = backoff.failures() == 0 || (problem.is_gone() && !excused);
            if self.answers_to(&problem) && spared {
                excused = true;
                backoff.failed(0);
                continue;
            }
            self.lamp.down(&problem.to_string());
            let pause = backoff.failed(random());
            if problem.is_refused() || backoff.failures() % RENEW == 0 {
                client = None;
            }
            sleep(pause).await;
        }
    }

    /// One session, with the client that there is.
    async fn attempt(
        &mut self,
        client: &mut Option<Client>,
        backoff: &mut Backoff,
    ) -> Result<(), Problem> {
        let client = match client {
            Some(client) => client.clone(),
            None => client.insert(self.access.client().await?).clone(),
        };
        self.session(&(self.api)(client), backoff).await
    }

    /// What is done about a problem beyond trying again; whether that may be all there is to do.
    fn answers_to(&mut self, problem: &Problem) -> bool {
        if problem.is_gone() {
            tracing::info!(
                what = self.lamp.kind.name(),
                "the API server has forgotten what changed since; everything is listed again"
            );
            self.version = None;
            return true;
        }
        let listing = self.version.is_none();
        let unable = problem.is_unknown_request() || matches!(problem, Problem::Late(_));
        if listing && self.initial == Initial::Stream && unable {
            tracing::debug!(%problem, "the API server does not stream lists; they are read in pages");
            self.initial = Initial::Pages;
            return true;
        }
        false
    }

    /// Everything, if that is needed, and then one watch to its end.
    async fn session(&mut self, api: &Api<K>, backoff: &mut Backoff) -> Result<(), Problem> {
        let began = Instant::now();
        if self.version.is_none() {
            match self.initial {
                Initial::Stream => {
                    let params = self.watch_params(true);
                    let stream = within(self.limits.answer, api.watch(&params, "0")).await?;
                    let mut stream = pin!(stream);
                    self.send(Notice::Relisting).await;
                    self.read_stream(&mut stream).await?;
                    return self.watch(stream, began, backoff).await;
                }
                Initial::Pages => self.read_pages(api).await?,
            }
        }
        let Some(version) = self.version.clone() else {
            return Err(Problem::NoVersion);
        };
        let params = self.watch_params(false);
        let stream = within(self.limits.answer, api.watch(&params, &version)).await?;
        self.watch(pin!(stream), began, backoff).await
    }

    /// The first part of a watch that begins with everything.
    async fn read_stream(
        &mut self,
        stream: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
    ) -> Result<(), Problem> {
        let limit = self.limits.answer;
        loop {
            let next = timeout(limit, stream.next()).await;
            let event = next.map_err(|_| Problem::Late(limit))?;
            // Ended before everything was there; the next attempt begins anew.
            match event.ok_or(Problem::Cut)?? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.send(Notice::Listed(object)).await;
                }
                WatchEvent::Deleted(object) => self.send(Notice::Deleted(object)).await,
                WatchEvent::Bookmark(mark) => {
                    if mark.metadata.annotations.contains_key(INITIAL_END) {
                        self.complete(mark.metadata.resource_version).await;
                        return Ok(());
                    }
                }
                WatchEvent::Error(status) => {
                    return Err(Problem::says(status.code, status.message));
                }
            }
        }
    }

    async fn read_pages(&mut self, api: &Api<K>) -> Result<(), Problem> {
        self.send(Notice::Relisting).await;
        let mut token = None;
        loop {
            let params = ListParams {
                field_selector: self.fields.clone(),
                limit: Some(PAGE),
                continue_token: token,
                ..ListParams::default()
            };
            let page = within(self.limits.answer, api.list(&params)).await?;
            for object in page.items {
                self.send(Notice::Listed(object)).await;
            }
            token = page.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                let version = page.metadata.resource_version;
                let version = version.filter(|version| !version.is_empty());
                self.complete(version.ok_or(Problem::NoVersion)?).await;
                return Ok(());
            }
        }
    }

    async fn complete(&mut self, version: String) {
        self.version = Some(version);
        self.send(Notice::Complete).await;
        self.lamp.listed();
    }

    /// Follows a watch to its end.
    async fn watch(
        &mut self,
        mut stream: impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
        began: Instant,
        backoff: &mut Backoff,
    ) -> Result<(), Problem> {
        self.lamp.up();
        let silence = self.limits.watch + SILENCE_MARGIN;
        let mut heard = false;
        loop {
            let Ok(next) = timeout(silence, stream.next()).await else {
                return Err(Problem::Late(silence));
            };
            let (object, gone) = match next {
                None if heard || began.elapsed() >= AT_ONCE => return Ok(()),
                None => return Err(Problem::EndsAtOnce),
                Some(event) => match event? {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(mark) => {
                        self.version = Some(mark.metadata.resource_version);
                        heard = true;
                        backoff.worked();
                        continue;
                    }
                    WatchEvent::Error(status) => {
                        return Err(Problem::says(status.code, status.message));
                    }
                },
            };
            heard = true;
            backoff.worked();
            let version = object.meta().resource_version.clone();
            self.version = version.filter(|version| !version.is_empty());
            let notice = if gone {
                Notice::Deleted(object)
            } else {
                Notice::Applied(object)
            };
            self.send(notice).await;
        }
    }

    fn watch_params(&self, with_everything: bool) -> WatchParams {
        let seconds = u32::try_from(self.limits.watch.as_secs()).unwrap_or(u32::MAX);
        WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(seconds.max(1)),
            bookmarks: true,
            send_initial_events: with_everything,
            ..WatchParams::default()
        }
    }

    async fn send(&self, notice: Notice<K>) {
        // Whoever kept them is gone, and the loop ends.
        let _ending = self.facts.send((self.fact)(notice)).await;
    }
}

/// Says that the first part of a watch is over, which is everything that there was.
const INITIAL_END: &str = "k8s.io/initial-events-end";
const PAGE: u32 = 500;
/// After so many failures in a row, the credentials are read anew, whatever the reason was.
const RENEW: u32 = 5;
/// A watch that brings nothing for less than this did not work.
const AT_ONCE: Duration = Duration::from_secs(1);
const SILENCE_MARGIN: Duration = Duration::from_secs(10);
