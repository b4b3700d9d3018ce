//! What the agent had to repair because others had changed it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use node_agent_enrollment::AttachmentKey;
use serde_json::{Value, json};
use tokio::sync::watch;
use tunnel_telemetry::{Counter, Telemetry};

/// What was repaired at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repair {
    /// How often.
    pub(crate) times: u64,
    /// When last.
    pub(crate) at: SystemTime,
    /// What had changed then.
    pub(crate) what: Vec<String>,
}

impl Repair {
    /// Another one at the same place.
    pub(crate) fn after(before: Option<Self>, at: SystemTime, what: Vec<String>) -> Self {
        let times = before.map_or(0, |before| before.times) + 1;
        Self { times, at, what }
    }

    /// As the admin interface shows it.
    pub(crate) fn shown(&self) -> Value {
        let since = self.at.duration_since(SystemTime::UNIX_EPOCH);
        let at = since.unwrap_or_default().as_secs();
        json!({ "times": self.times, "at": at, "what": self.what })
    }
}

/// What was repaired in pods; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repairs {
    pods: watch::Sender<BTreeMap<AttachmentKey, Repair>>,
    count: Counter,
}

impl Repairs {
    /// Counts with this.
    pub(crate) fn counting(count: Counter) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }

    /// Notes one.
    pub(crate) fn note(&self, pod: &AttachmentKey, at: SystemTime, what: Vec<String>) {
        self.count.increment();
        self.pods.send_modify(|pods| {
            let before = pods.remove(pod);
            pods.insert(pod.clone(), Repair::after(before, at, what));
        });
    }

    /// Forgets the pods that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&AttachmentKey) -> bool) {
        self.pods.send_if_modified(|pods| {
            let before = pods.len();
            pods.retain(|pod, _| is_there(pod));
            pods.len() != before
        });
    }

    /// What was repaired in a pod.
    pub(crate) fn of(&self, pod: &AttachmentKey) -> Option<Repair> {
        self.pods.borrow().get(pod).cloned()
    }
}

/// The counter of repairs at a kind of place.
pub(crate) fn counter(telemetry: &Telemetry, place: &'static str) -> Counter {
    let help = "Packet rules that others had changed and the agent repaired";
    telemetry.counter_of("ambient_rule_repairs", help, ("place", place))
}
