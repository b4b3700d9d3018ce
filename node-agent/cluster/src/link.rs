//! How the connections to the API server are, for people.

use std::time::SystemTime;

use node_agent_enrollment::Counts;
use tokio::sync::watch;

/// How one watch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It is followed.
    Up {
        /// Since then.
        since: SystemTime,
    },
    /// It is not; what was known stays in force.
    Down {
        /// Since then.
        since: SystemTime,
        /// Why.
        why: String,
    },
}

/// One watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// How it is.
    pub link: Link,
    /// When the last whole list was read.
    pub listed: Option<SystemTime>,
}

/// Everything that can be said of the source of truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The watch of this node's pods.
    pub pods: LinkStatus,
    /// The watch of namespaces.
    pub namespaces: LinkStatus,
    /// How much is known.
    pub counts: Counts,
}

impl Status {
    pub(crate) fn beginning(now: SystemTime) -> Self {
        let down = LinkStatus {
            link: Link::Down {
                since: now,
                why: "it has not been asked yet".to_owned(),
            },
            listed: None,
        };
        Self {
            pods: down.clone(),
            namespaces: down,
            counts: Counts {
                pods: 0,
                namespaces: 0,
            },
        }
    }
}

/// Which watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pods,
    Namespaces,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
        }
    }
}

/// Says how one watch is; logs when that changes.
#[derive(Debug, Clone)]
pub(crate) struct Lamp {
    pub(crate) kind: Kind,
    pub(crate) status: watch::Sender<Status>,
}

impl Lamp {
    pub(crate) fn up(&self) {
        let turned_on = self.turn(|link| match link.link {
            Link::Up { .. } => false,
            Link::Down { .. } => {
                link.link = Link::Up {
                    since: SystemTime::now(),
                };
                true
            }
        });
        if turned_on {
            tracing::info!(what = self.kind.name(), "the API server is followed");
        }
    }

    pub(crate) fn down(&self, why: &str) {
        let turned_off = self.turn(|link| match &mut link.link {
            Link::Up { .. } => {
                link.link = Link::Down {
                    since: SystemTime::now(),
                    why: why.to_owned(),
                };
                true
            }
            // The same every few seconds would only bury the rest of the log.
            Link::Down { why: said, .. } => {
                let is_news = said != why;
                why.clone_into(said);
                is_news
            }
        });
        if turned_off {
            tracing::warn!(
                what = self.kind.name(),
                why,
                "the API server cannot be followed; what was known stays in force"
            );
        }
    }

    pub(crate) fn listed(&self) {
        self.turn(|link| {
            link.listed = Some(SystemTime::now());
            true
        });
    }

    fn turn(&self, turn: impl FnOnce(&mut LinkStatus) -> bool) -> bool {
        self.status.send_if_modified(|status| {
            turn(match self.kind {
                Kind::Pods => &mut status.pods,
                Kind::Namespaces => &mut status.namespaces,
            })
        })
    }
}
