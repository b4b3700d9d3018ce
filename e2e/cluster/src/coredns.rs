//! The cluster's name server, as a pod.

use crate::addresses::DNS_SERVICE;
use crate::images::COREDNS;
use crate::kubectl::Kubectl;
use anyhow::Result;

/// Applies its manifests; it is ready a moment later.
pub(crate) fn apply(kubectl: &Kubectl) -> Result<()> {
    let text = include_str!("coredns.yaml");
    let text = text.replace("DNS_SERVICE", &DNS_SERVICE.to_string());
    kubectl.apply(&text.replace("IMAGE", COREDNS))
}
