//! Settings that are right one by one and wrong together.

use serde_json::{Map, Value};

use crate::cni::CniMode;
use crate::control::{self, given};
use crate::mistakes::Mistake;
use crate::table::Settings;

/// Everything that contradicts itself, as far as it can be judged.
pub(crate) fn contradictions(
    map: &Map<String, Value>,
    settings: Option<&Settings>,
) -> Vec<Mistake> {
    let mut mistakes = control::contradictions(map);
    mistakes.extend(sources_of_truth(map));
    if let Some(settings) = settings {
        mistakes.extend(addresses(settings));
        mistakes.extend(socket_paths(settings));
        mistakes.extend(sizes_and_times(settings));
        mistakes.extend(installed_files(settings));
    }
    mistakes
}

fn sources_of_truth(map: &Map<String, Value>) -> Vec<Mistake> {
    let mut mistakes = pods_source(map);
    if map.get("dnsCapture") == Some(&Value::Bool(true)) {
        mistakes.push(Mistake::about(
            "dnsCapture",
            "is not built yet; with it pods could not resolve names, so it must be false",
        ));
    }
    mistakes
}

/// Exactly one says which pods there are.
fn pods_source(map: &Map<String, Value>) -> Vec<Mistake> {
    let kubernetes = map.get("pods").and_then(Value::as_str) == Some("kubernetes");
    let (file, foreign) = (given(map, "podsFile"), given(map, "zdsSocket"));
    let mut mistakes = Vec::new();
    if !kubernetes && !file && !foreign {
        mistakes.push(Mistake::about(
            "podsFile",
            "must be given, because it names the pods of the mesh (unless pods is kubernetes, or \
             zdsSocket hands them over)",
        ));
    }
    if foreign && (file || kubernetes) {
        mistakes.push(Mistake::about(
            "zdsSocket",
            "cannot be given together with podsFile or pods: kubernetes: either the foreign agent \
             names the pods or they do",
        ));
    }
    if kubernetes && file {
        mistakes.push(Mistake::about(
            "podsFile",
            "cannot be given together with pods: kubernetes: either the file or the API server \
             names the pods",
        ));
    }
    if !kubernetes && given(map, "kubeconfig") {
        mistakes.push(Mistake::about(
            "kubeconfig",
            "is of no use unless pods is kubernetes: nothing else asks the API server",
        ));
    }
    mistakes
}

/// The kernel takes 107 bytes; the socket is first bound under a longer, temporary name.
fn socket_paths(settings: &Settings) -> impl Iterator<Item = Mistake> {
    let paths = [
        ("socket", &settings.socket),
        ("holderSocket", &settings.holder_socket),
    ];
    paths
        .into_iter()
        .filter(|(_, path)| path.as_os_str().len() > 90)
        .map(|(key, _)| Mistake::about(key, "must not be longer than 90 bytes"))
}

fn addresses(settings: &Settings) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if !settings.admin_address.ip().is_loopback() {
        mistakes.push(Mistake::about(
            "adminAddress",
            format!(
                "must be a loopback address, found {}: who reaches it can stop the agent",
                settings.admin_address
            ),
        ));
    }
    let listeners = [
        ("adminAddress", settings.admin_address),
        ("metricsAddress", settings.metrics_address),
        ("readinessAddress", settings.readiness_address),
    ];
    for (index, (key, address)) in listeners.iter().enumerate() {
        for (other, taken) in &listeners[..index] {
            // Port 0 asks the kernel for any free port, as tests do.
            if address.port() != 0 && address.port() == taken.port() {
                mistakes.push(Mistake::about(
                    key,
                    format!("uses port {}, which {other} already uses", address.port()),
                ));
            }
        }
    }
    mistakes
}

fn sizes_and_times(settings: &Settings) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if settings.tunnel_window < settings.stream_window {
        mistakes.push(Mistake::about(
            "tunnelWindow",
            "must not be smaller than streamWindow: one stream could never use its window",
        ));
    }
    if settings.certificate_wait >= settings.admission_deadline {
        mistakes.push(Mistake::about(
            "certificateWait",
            "must be shorter than admissionDeadline, which covers it and everything else",
        ));
    }
    if settings.pod_lookup_timeout >= settings.admission_deadline {
        mistakes.push(Mistake::about(
            "podLookupTimeout",
            "must be shorter than admissionDeadline, which covers it and everything else",
        ));
    }
    mistakes
}

fn installed_files(settings: &Settings) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mode = settings.cni_mode_in_force();
    let ours = settings.cni_conflist_name.as_deref();
    let primary = settings.cni_primary_name.as_deref();
    if let Some(name) = ours {
        mistakes.extend(own_name(name, mode).map(|why| Mistake::about("cniConflistName", why)));
    }
    if let Some(name) = primary {
        mistakes.extend(primary_name(name, mode).map(|why| Mistake::about("cniPrimaryName", why)));
    }
    if ours.is_some() && ours == primary {
        let why = "must not be cniConflistName: the file that is ours cannot be the primary's too";
        mistakes.push(Mistake::about("cniPrimaryName", why));
    }
    if settings.cni_state_dir.starts_with(&settings.state_dir) {
        let why = "must not be in stateDir: the worker can write there, and what it wrote would \
                   become the runtime's configuration";
        mistakes.push(Mistake::about("cniStateDir", why));
    }
    let socket = settings.cni_agent_socket.as_ref();
    if socket.is_some_and(|path| path.as_os_str().len() > LONGEST_SOCKET) {
        let why = "must not be longer than 107 bytes";
        mistakes.push(Mistake::about("cniAgentSocket", why));
    }
    mistakes
}

fn own_name(name: &str, mode: CniMode) -> Option<&'static str> {
    let ends = |ending: &str| !name.starts_with('.') && name.ends_with(ending);
    match mode {
        CniMode::Chained => {
            Some("is of no use in chained mode, which has no file of its own: see cniPrimaryName")
        }
        CniMode::Owned if !ends(".conflist") => {
            Some("must end in .conflist, and not begin with a dot")
        }
        CniMode::Standalone if !ends(".conflist") && !ends(".conf") => {
            Some("must end in .conf or .conflist, and not begin with a dot")
        }
        CniMode::Owned | CniMode::Standalone => None,
    }
}

fn primary_name(name: &str, mode: CniMode) -> Option<&'static str> {
    let endings = [".conf", ".conflist", ".json"];
    if mode == CniMode::Standalone {
        Some("is of no use in standalone mode, which does not look at the primary plugin")
    } else if !endings.iter().any(|ending| name.ends_with(ending)) {
        Some("must end in .conf, .conflist or .json: runtimes look at no others")
    } else {
        None
    }
}

/// What the kernel takes.
const LONGEST_SOCKET: usize = 107;
