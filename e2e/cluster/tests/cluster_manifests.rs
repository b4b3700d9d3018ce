//! What `kubectl apply` takes is what the chart says.
#![allow(clippy::unwrap_used, reason = "tests")]

use e2e_cluster::{Programs, chart};
use std::process::Command;

#[test]
fn the_plain_manifests_are_the_charts() {
    let programs = Programs::from_env().unwrap();
    let script = chart().join("../../hack/manifests");
    let mut command = Command::new(script.canonicalize().unwrap());
    command.arg("--check");
    command.env("AMBIENT_HELM", programs.peer("helm").unwrap());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
