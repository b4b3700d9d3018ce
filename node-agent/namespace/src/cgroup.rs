//! Which pod and container a process belongs to, from the path of its cgroup.
//!
//! ```text
//!   /kubepods/burstable/pod<uid>/<container>                             cgroupfs
//!   /kubepods.slice/…-burstable-pod<uid with _>.slice/crio-<container>.scope     systemd
//!   /system.slice/x.service/kubepods-pod<uid with _>.slice:cri-containerd:<container>   in between
//! ```
//!
//! Only the kubelet makes the outermost of these directories, so what a container makes below its own
//! is not believed.

/// What a cgroup's path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodCgroup {
    /// The pod's uid.
    pub(crate) uid: String,
    /// The container's id, if there is one.
    pub(crate) container: Option<String>,
}

/// Reads what `/proc/PID/cgroup` says. Nothing if the process is of no pod, or if its hierarchies
/// disagree.
pub(crate) fn parse(text: &str) -> Option<PodCgroup> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found: Option<PodCgroup> = None;
    for told in paths.filter_map(of_path) {
        match &mut found {
            None => found = Some(told),
            Some(before) if before.uid != told.uid => return None,
            Some(before) => match (&before.container, &told.container) {
                (Some(one), Some(other)) if one != other => return None,
                (None, Some(_)) => before.container = told.container,
                _ => {}
            },
        }
    }
    found
}

fn of_path(path: &str) -> Option<PodCgroup> {
    let mut parts = path.split(['/', ':']);
    let uid = parts.by_ref().find_map(uid_of)?;
    // containerd puts its own name in between where it writes colons.
    let container = parts.take(2).find_map(container_of);
    Some(PodCgroup { uid, container })
}

fn uid_of(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    // No letter of a uid begins the word.
    let (before, uid) = part.rsplit_once("pod")?;
    let ours = before.is_empty() || before.ends_with('-');
    let dash = |b: u8| b == b'-' || b == b'_';
    let right =
        (32..=36).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_hexdigit() || dash(b));
    (ours && right).then(|| uid.replace('_', "-").to_ascii_lowercase())
}

fn container_of(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit('-').next().unwrap_or(part);
    let right = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    right.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6d5b1d4f-0a3c-4b2e-9f10-aabbccddeeff";

    fn check(text: &str, expected: Option<(&str, Option<&str>)>) {
        let found = parse(text);
        let found = found.as_ref();
        let found = found.map(|told| (told.uid.as_str(), told.container.as_deref()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn paths_of_all_drivers() {
        let id = "c".repeat(64);
        let (id, low) = (id.as_str(), UID.replace('-', "_"));
        let with = Some((UID, Some(id)));
        check(&format!("0::/kubepods/burstable/pod{UID}/{id}"), with);
        check(&format!("0::/kubepods/pod{UID}/{id}/init.scope"), with);
        check(
            &format!(
                "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{low}.slice/\
                 cri-containerd-{id}.scope"
            ),
            with,
        );
        check(
            &format!("0::/kubepods.slice/kubepods-pod{low}.slice/crio-{id}.scope"),
            with,
        );
        check(
            &format!("0::/../../kubepods-burstable-pod{low}.slice/docker-{id}.scope"),
            with,
        );
        check(
            &format!(
                "0::/system.slice/containerd.service/kubepods-burstable-pod{low}.slice:\
                 cri-containerd:{id}"
            ),
            with,
        );
        check(
            &format!("12:cpu,cpuacct:/node-a/kubepods/pod{UID}/{id}\n1:name=systemd:/x\n0::/"),
            with,
        );
        check(&format!("0::/kubepods/pod{UID}"), Some((UID, None)));
        // Of a static pod.
        let hash = "0123456789abcdef0123456789abcdef";
        check(
            &format!("0::/kubepods/pod{hash}/{id}"),
            Some((hash, Some(id))),
        );
    }

    #[test]
    fn what_is_no_pod_or_only_looks_like_one() {
        let id = "c".repeat(64);
        let other = "00000000-0000-0000-0000-000000000000";
        for text in [
            "0::/system.slice/kubelet.service".to_owned(),
            "0::/".to_owned(),
            String::new(),
            "0::/kubepods/podxyz/abc".to_owned(),
            "0::/podman/container".to_owned(),
            format!("0::/tripod{UID}/{id}"),
            format!("2:cpu:/kubepods/pod{UID}/{id}\n1:pids:/kubepods/pod{other}/{id}"),
            format!("2:cpu:/pod{UID}/{id}\n1:pids:/pod{UID}/{}", "d".repeat(64)),
        ] {
            check(&text, None);
        }
        // What a container with cgroups of its own calls them.
        check(
            &format!("0::/kubepods/pod{UID}/{id}/kubepods/pod{other}/{id}"),
            Some((UID, Some(id.as_str()))),
        );
        check(
            &format!("0::/kubepods/pod{UID}/short/{}/{id}", "x"),
            Some((UID, None)),
        );
    }
}
