//! What failed, and when it is tried again.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use node_agent_enrollment::{AttachmentKey, PodRef};
use tokio::time::Instant;

use super::failure::Failure;

/// A kind of work on a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Join,
    Out,
    Spare,
}

/// Work that failed, of each kind and attachment.
#[derive(Debug, Default)]
pub(super) struct Trials(HashMap<(Kind, AttachmentKey), Trial>);

#[derive(Debug)]
struct Trial {
    pod: String,
    why: String,
    failures: u32,
    not_before: Instant,
}

impl Trials {
    /// When it may be begun.
    pub(super) fn not_before(&self, kind: Kind, key: &AttachmentKey) -> Instant {
        let trial = self.0.get(&(kind, key.clone()));
        trial.map_or_else(Instant::now, |trial| trial.not_before)
    }

    pub(super) fn succeeded(&mut self, kind: Kind, key: &AttachmentKey) {
        self.0.remove(&(kind, key.clone()));
    }

    pub(super) fn failed(
        &mut self,
        kind: Kind,
        key: AttachmentKey,
        pod: &PodRef,
        failure: &Failure,
    ) {
        let before = self.0.get(&(kind, key.clone()));
        let failures = before.map_or(0, |trial| trial.failures);
        let pause = FIRST.saturating_mul(1 << failures.min(10)).min(MOST);
        let doing = match kind {
            Kind::Join => "the pod is not taken into the mesh; it talks as before",
            Kind::Out => "the pod cannot leave the mesh; it stays in it",
            Kind::Spare => "spared connections that ended stay in the pod's rules",
        };
        let retry_ms = u64::try_from(pause.as_millis()).ok();
        if matches!(failure, Failure::Wanted) {
            tracing::debug!(%pod, %failure, "{doing}");
        } else if before.is_some_and(|trial| trial.why == failure.to_string()) {
            // Once is enough; the admin interface shows it for as long as it lasts.
            tracing::debug!(%pod, %failure, failures, retry_ms, "{doing}");
        } else {
            tracing::warn!(%pod, %failure, retry_ms, "{doing}");
        }
        let trial = Trial {
            pod: pod.to_string(),
            why: format!("{doing}: {failure}"),
            failures: failures.saturating_add(1),
            not_before: Instant::now() + pause,
        };
        self.0.insert((kind, key), trial);
    }

    /// Waits are over.
    pub(super) fn retry_now(&mut self) {
        for trial in self.0.values_mut() {
            trial.not_before = Instant::now();
            trial.failures = 0;
        }
    }

    pub(super) fn retain(&mut self, wanted: impl Fn(&AttachmentKey) -> bool) {
        self.0.retain(|(_, key), _| wanted(key));
    }

    /// Why pods are not where they belong, by name.
    pub(super) fn troubles(&self) -> BTreeMap<String, String> {
        let all = self.0.values();
        all.map(|trial| (trial.pod.clone(), trial.why.clone()))
            .collect()
    }
}

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_end_at_once_when_asked() {
        let key = AttachmentKey {
            container_id: "c".into(),
            ifname: "eth0".into(),
        };
        let pod = PodRef {
            namespace: "n".into(),
            name: "p".into(),
            uid: None,
        };
        let mut trials = Trials::default();
        let pause = |trials: &Trials| {
            let wait = trials.not_before(Kind::Join, &key) - Instant::now();
            wait.as_secs_f64().round()
        };
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            trials.failed(Kind::Join, key.clone(), &pod, &Failure::Wanted);
            assert!((pause(&trials) - expected).abs() < 0.5, "{trials:?}");
        }
        assert_eq!(trials.troubles().len(), 1);
        trials.retry_now();
        assert!(pause(&trials) < 0.5, "{trials:?}");
        trials.failed(Kind::Join, key.clone(), &pod, &Failure::Wanted);
        assert!((pause(&trials) - 1.0).abs() < 0.5, "{trials:?}");
        trials.retain(|_| false);
        assert!(trials.troubles().is_empty());
    }
}
