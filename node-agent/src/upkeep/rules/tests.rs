#![allow(clippy::unwrap_used, reason = "tests")]

use node_agent_enrollment::{NamespaceId, PodRef, Traffic};

use super::*;

fn entry(name: &str, stage: Stage) -> Entry {
    let record = PodRecord {
        attachment: AttachmentKey {
            container_id: name.into(),
            ifname: "eth0".into(),
        },
        pod: PodRef {
            namespace: "n".into(),
            name: name.into(),
            uid: None,
        },
        service_account: "sa".into(),
        netns: None,
        namespace_id: NamespaceId {
            device: 0,
            inode: 0,
        },
        addresses: Vec::new(),
        plan: serde_json::Value::Null,
    };
    Entry {
        record: Arc::new(record),
        stage,
        admitted: true,
    }
}

fn enrolled(count: usize) -> Vec<Entry> {
    let stage = || Stage::Enrolled(Traffic::Ready);
    (0..count)
        .map(|number| entry(&format!("pod-{number:03}"), stage()))
        .collect()
}

/// How often each pod is looked at in so many seconds.
fn looks(rounds: &mut Rounds, view: &[Entry], seconds: u64) -> HashMap<AttachmentKey, u64> {
    let start = Instant::now();
    let mut looks = HashMap::new();
    for second in 0..seconds {
        let due = rounds.due(view, start + LOOK * u32::try_from(second).unwrap());
        assert!(due.len() <= AT_ONCE);
        for key in due {
            *looks.entry(key).or_default() += 1;
        }
    }
    looks
}

#[tokio::test(start_paused = true)]
async fn few_pods_are_looked_at_once_a_period() {
    let view = enrolled(7);
    let looks = looks(&mut Rounds::default(), &view, 61);
    assert_eq!(looks.len(), 7);
    assert!(
        looks.values().all(|count| (5..=6).contains(count)),
        "{looks:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn many_pods_share_what_is_spent() {
    let view = enrolled(250);
    let looks = looks(&mut Rounds::default(), &view, 10 + 250);
    assert_eq!(looks.len(), 250, "nobody is forgotten");
    assert!(looks.values().all(|count| *count == 2), "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn only_pods_that_are_in_are_looked_at() {
    let view = [entry("a", Stage::Draining), entry("b", Stage::Installing)];
    let mut rounds = Rounds::default();
    assert!(looks(&mut rounds, &view, 30).is_empty());
    looks(&mut rounds, &enrolled(3), 30);
    looks(&mut rounds, &view, 1);
    assert!(rounds.0.is_empty(), "those that left are forgotten");
}
