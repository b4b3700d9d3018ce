//! The pods file as a source of truth: read again when it changes, the last good one in force.

use std::path::PathBuf;
use std::sync::Arc;

use node_agent_admin::PendingTask;
use node_agent_enrollment::{Decision, Roster, Selectors, decide};
use tokio::sync::watch;

use crate::config_file::read_roster;
use crate::file_watch::FileWatch;
use crate::pods::Pods;

/// Follows the pods file for as long as it is polled.
pub(crate) async fn follow(
    path: PathBuf,
    selectors: Arc<Selectors>,
    roster: watch::Sender<Option<Arc<Roster>>>,
    pods: Pods,
    excluded_namespaces: Vec<String>,
    pending: PendingTask,
) {
    let mut pending = Some(pending);
    let mut watch = FileWatch::new(&path)
        .inspect_err(|error| {
            tracing::error!(
                %error, path = %path.display(),
                "cannot watch the pods file; it is read once and changes need a restart"
            );
        })
        .ok();
    loop {
        if read(&path, &selectors, &roster) {
            pending.take();
            say_renamed(&pods, roster.borrow().as_deref(), &excluded_namespaces);
        }
        let Some(watch) = watch.as_mut() else {
            return std::future::pending().await;
        };
        if let Err(error) = watch.changed().await {
            tracing::error!(%error, "watching the pods file ended; changes need a restart");
            return std::future::pending().await;
        }
    }
}

fn read(
    path: &std::path::Path,
    selectors: &Arc<Selectors>,
    roster: &watch::Sender<Option<Arc<Roster>>>,
) -> bool {
    match read_roster(path) {
        Ok(read) => {
            tracing::info!(path = %path.display(), pods = read.pod_count(), "read the pods file");
            let read = read.selecting(Arc::clone(selectors));
            roster.send_replace(Some(Arc::new(read)));
            true
        }
        Err(error) => {
            let in_force = if roster.borrow().is_some() {
                "the last good one"
            } else {
                "none"
            };
            tracing::error!(%error, in_force, "the pods file cannot be used");
            false
        }
    }
}

/// A running pod keeps the identity it has; an operator who edited the file must hear so.
fn say_renamed(pods: &Pods, roster: Option<&Roster>, excluded_namespaces: &[String]) {
    for entry in pods.view().iter() {
        let record = &entry.record;
        if let Decision::InMesh(member) = decide(roster, excluded_namespaces, &record.pod)
            && member.service_account != record.service_account
        {
            tracing::warn!(
                pod = %record.pod, enrolled_as = record.service_account,
                listed_as = member.service_account,
                "the pod's service account changed in the pods file; the running pod keeps its own"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::time::Duration;

    use node_agent_admin::Readiness;
    use tokio::time::timeout;

    use super::*;
    use crate::state::{StateDir, StateWriter};

    const ONE: &str = "pods: [{namespace: a, name: b, serviceAccount: c}]\n";
    const TWO: &str = "pods: [{namespace: a, name: b}, {namespace: a, name: d}]\n";

    #[tokio::test]
    async fn the_last_good_file_stays_in_force() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pods.yaml");
        std::fs::write(&path, "pods: [").unwrap();
        let state = StateDir::open(&root.path().join("state")).unwrap();
        let (pods, owner) = Pods::start(StateWriter::start(state).unwrap().0);
        tokio::spawn(owner);
        let (send, mut roster) = watch::channel(None);
        let readiness = Readiness::default();
        let pending = readiness.task("pods file");
        let usual = Arc::default();
        tokio::spawn(follow(path.clone(), usual, send, pods, Vec::new(), pending));
        let count = |roster: &Option<Arc<Roster>>| roster.as_ref().map(|r| r.pod_count());

        for (text, expected) in [(ONE, 1), ("pods: 7", 1), (TWO, 2)] {
            std::fs::write(root.path().join("new"), text).unwrap();
            std::fs::rename(root.path().join("new"), &path).unwrap();
            if text.contains('7') {
                let changed = timeout(Duration::from_millis(500), roster.changed()).await;
                assert!(changed.is_err(), "mistakes change nothing");
            }
            let reached = roster.wait_for(|now| count(now) == Some(expected));
            timeout(Duration::from_secs(5), reached)
                .await
                .unwrap()
                .unwrap();
            assert!(readiness.is_ready());
        }
    }
}
