//! The mesh's control plane: istiod as a pod, with the manifests that its own tool prints.

use crate::kubectl::Kubectl;
use crate::programs::Programs;
use anyhow::Result;
use e2e_netlab::{Image, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether a cluster has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Istio {
    /// istiod with the profile `ambient`, without a node half: that is what we bring.
    Installed,
    /// None.
    Absent,
}

const PATIENCE: Duration = Duration::from_secs(120);
/// What differs from the profile: images by hand, no other node half, room for two nodes on a small machine.
const SETTINGS: [&str; 8] = [
    "profile=ambient",
    "hub=localhost",
    "tag=1",
    "components.cni.enabled=false",
    "components.ztunnel.enabled=false",
    "values.pilot.autoscaleEnabled=false",
    "values.pilot.resources.requests.cpu=50m",
    "values.pilot.resources.requests.memory=128Mi",
];
/// Without it a root cannot be replaced in stages.
const SEVERAL_ROOTS: &str = "values.pilot.env.ISTIO_MULTIROOT_MESH=true";

/// Writes its image's archive.
pub(crate) fn write_image(programs: &Programs, directory: &Path) -> Result<PathBuf> {
    let program = programs.peer("pilot-discovery")?;
    // The profile asks for this variant of the tag.
    let mut image = Image::of(
        "localhost/pilot:1-distroless",
        &program,
        "/usr/local/bin/pilot-discovery",
    );
    // The deployment refuses to run as root.
    image.user.push_str("1337:1337");
    let archive = directory.join("pilot.tar");
    image.write(&archive)?;
    Ok(archive)
}

/// Applies its manifests; it is ready a moment later.
pub(crate) fn apply(kubectl: &Kubectl, cacerts: Option<&Value>) -> Result<()> {
    kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}")?;
    if let Some(secret) = cacerts {
        kubectl.apply(&secret.to_string())?;
    }
    let mut command = kubectl.client("istioctl");
    command.args(["manifest", "generate"]);
    let several = cacerts.map(|_| SEVERAL_ROOTS);
    for setting in SETTINGS.into_iter().chain(several) {
        command.args(["--set", setting]);
    }
    kubectl.apply(&run(&mut command)?)
}

/// Waits until it serves, and has told every namespace its root.
pub(crate) fn wait(kubectl: &Kubectl) -> Result<()> {
    let istiod = ["-n", "istio-system", "deployment/istiod"];
    kubectl.wait(&istiod, "condition=Available", PATIENCE)?;
    let root = ["-n", "default", "configmap/istio-ca-root-cert"];
    kubectl.wait(&root, "create", PATIENCE)
}
