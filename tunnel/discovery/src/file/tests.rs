#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{FileStatus, MeshFileError, parse_document, watch_file};
use crate::MeshStore;

const LONG: Duration = Duration::from_secs(20);

fn mesh(names: &[&str]) -> String {
    let mut text = String::from("services: []\npolicies: []\nworkloads:\n");
    for name in names {
        writeln!(
            text,
            "- {{uid: {name}, name: {name}, namespace: ns, protocol: HBONE}}"
        )
        .unwrap();
    }
    text
}

struct Watching {
    store: Arc<MeshStore>,
    status: FileStatus,
    changes: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watching {
    async fn start(path: &Path) -> Self {
        let store = Arc::new(MeshStore::new());
        let file = watch_file(path, Arc::clone(&store)).await.unwrap();
        let status = file.status();
        let mut changes = store.reader().changes();
        changes.mark_unchanged();
        Self {
            store,
            status,
            changes,
            task: tokio::spawn(file.run()),
        }
    }

    /// Waits until exactly these workloads are known.
    async fn until(&mut self, names: &[&str]) {
        let arrived = async {
            loop {
                let snapshot = self.store.reader().load();
                let known: Vec<_> = snapshot.workloads().map(|w| w.name.to_string()).collect();
                if known == names {
                    return;
                }
                self.changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(LONG, arrived).await;
        let error = self.status.last_error();
        assert!(waited.is_ok(), "never saw {names:?}; last error {error:?}");
    }

    /// Waits until the last reading went as `is` asks.
    async fn until_status(&self, is: impl Fn(Option<&MeshFileError>) -> bool) {
        let started = Instant::now();
        while !is(self.status.last_error().as_deref()) {
            assert!(
                started.elapsed() < LONG,
                "last error: {:?}",
                self.status.last_error()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_error(&self, is: impl Fn(&MeshFileError) -> bool) {
        self.until_status(|error| error.is_some_and(&is)).await;
    }
}

#[tokio::test]
async fn written_in_place() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, mesh(&["a"])).unwrap();
    let mut watching = Watching::start(&path).await;
    watching.until(&["a"]).await;
    fs::write(&path, mesh(&["a", "b"])).unwrap();
    watching.until(&["a", "b"]).await;
    fs::write(&path, mesh(&["c"])).unwrap();
    watching.until(&["c"]).await;
}

#[tokio::test]
async fn replaced_by_rename() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, mesh(&["a"])).unwrap();
    let mut watching = Watching::start(&path).await;
    for round in ["b", "c", "d"] {
        let new = dir.path().join("new");
        fs::write(&new, mesh(&[round])).unwrap();
        fs::rename(&new, &path).unwrap();
        watching.until(&[round]).await;
    }
}

/// How a volume of a config map changes: the file is a link through a link that is swapped.
#[tokio::test]
async fn swapped_by_a_link_to_its_directory() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let generation = |name: &str| {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("mesh.yaml"), mesh(&[name])).unwrap();
        symlink(name, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    generation("g1");
    symlink("..data/mesh.yaml", at("mesh.yaml")).unwrap();
    let mut watching = Watching::start(&at("mesh.yaml")).await;
    watching.until(&["g1"]).await;
    for (old, new) in [("g1", "g2"), ("g2", "g3")] {
        generation(new);
        fs::remove_dir_all(at(old)).unwrap();
        watching.until(&[new]).await;
    }
}

#[tokio::test]
async fn link_to_a_file_elsewhere_that_is_written() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (path, target) = (
        here.path().join("mesh.yaml"),
        there.path().join("real.yaml"),
    );
    fs::write(&target, mesh(&["a"])).unwrap();
    symlink(&target, &path).unwrap();
    let mut watching = Watching::start(&path).await;
    fs::write(&target, mesh(&["b"])).unwrap();
    watching.until(&["b"]).await;
}

#[tokio::test]
async fn mistakes_keep_the_state_and_are_all_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, mesh(&["a"])).unwrap();
    let mut watching = Watching::start(&path).await;
    assert!(watching.status.last_error().is_none());
    let two = "workloads:\n- {uid: x, name: x, namespace: 'a/b', workloadIps: [1.2.3]}\n";
    fs::write(&path, two).unwrap();
    let both = |error: &MeshFileError| matches!(error, MeshFileError::Mistakes { mistakes, .. } if mistakes.len() == 2);
    watching.until_error(both).await;
    watching.until(&["a"]).await;
    fs::write(&path, "workloads: [").unwrap();
    watching
        .until_error(|error| matches!(error, MeshFileError::Shape { .. }))
        .await;
    fs::remove_file(&path).unwrap();
    watching
        .until_error(|error| matches!(error, MeshFileError::Read { .. }))
        .await;
    watching.until(&["a"]).await;
    fs::write(&path, mesh(&["b"])).unwrap();
    watching.until(&["b"]).await;
    watching.until_status(|error| error.is_none()).await;
}

#[tokio::test]
async fn directory_removed_and_made_again() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("inner");
    let path = inner.join("mesh.yaml");
    fs::create_dir(&inner).unwrap();
    fs::write(&path, mesh(&["a"])).unwrap();
    let mut watching = Watching::start(&path).await;
    fs::remove_dir_all(&inner).unwrap();
    watching
        .until_error(|error| matches!(error, MeshFileError::Watch { .. }))
        .await;
    watching.until(&["a"]).await;
    fs::create_dir(&inner).unwrap();
    fs::write(&path, mesh(&["b"])).unwrap();
    watching.until(&["b"]).await;
}

/// Other files of the directory do not make the file be read: its version stays.
#[tokio::test]
async fn neighbours_are_no_concern() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, mesh(&["a"])).unwrap();
    let mut watching = Watching::start(&path).await;
    fs::write(dir.path().join("other"), "x").unwrap();
    // Long enough apart that the two are not one batch; the second is the fence.
    tokio::time::sleep(super::SETTLE * 4).await;
    fs::write(&path, mesh(&["b"])).unwrap();
    watching.until(&["b"]).await;
    assert_eq!(watching.store.reader().load().version(), 2);
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_the_callers() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mesh.yaml");
    let store = Arc::new(MeshStore::new());
    let start = |path: &Path| watch_file(path.to_owned(), Arc::clone(&store));
    let error = start(&dir.path().join("no/such")).await.unwrap_err();
    assert!(matches!(error, MeshFileError::Watch { .. }), "{error}");
    let error = start(&path).await.unwrap_err();
    assert!(matches!(error, MeshFileError::Read { .. }), "{error}");
    for text in [
        "",
        "workloads: {}",
        "worklods: []",
        "{}\n---\n{}",
        "workloads: []\nworkloads: []",
    ] {
        fs::write(&path, text).unwrap();
        let error = start(&path).await.unwrap_err();
        assert!(
            matches!(error, MeshFileError::Shape { .. }),
            "{text:?}: {error}"
        );
        assert!(!error.to_string().contains('\n'), "one line: {error}");
    }
    assert_eq!(store.reader().load().version(), 0);
}

/// More entries than the YAML reader takes by default. Optimised, it is the largest mesh meant.
#[test]
#[expect(clippy::print_stdout, reason = "for whoever measures")]
fn large_mesh() {
    let count = if cfg!(debug_assertions) {
        12_000
    } else {
        50_000
    };
    let mut text = String::from("policies: []\nservices: []\nworkloads:\n");
    for i in 0..count {
        let (a, b, c) = (100 + i / 65536, i / 256 % 256, i % 256);
        writeln!(
            text,
            "- {{uid: \"cluster1//v1/Pod/default/w{i}\", name: w{i}, namespace: default, \
             serviceAccount: sa{}, workloadIps: [\"10.{a}.{b}.{c}\"], protocol: HBONE, \
             node: n{}, network: \"\", trustDomain: cluster.local, services: {{}}}}",
            i % 100,
            i % 500
        )
        .unwrap();
    }
    let started = Instant::now();
    let state = parse_document(&text, Path::new("large")).unwrap();
    let parsed = started.elapsed();
    let started = Instant::now();
    let snapshot = state.into_snapshot(1);
    let indexed = started.elapsed();
    println!(
        "{} bytes: parsed in {parsed:?}, indexed in {indexed:?}",
        text.len()
    );
    assert_eq!(snapshot.workloads().count(), count);
}
