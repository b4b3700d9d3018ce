//! Entering namespaces, and refusing what is not a pod's. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;

use node_agent_namespace::{EnterError, Netns, NetnsError, addresses, enter};

fn here() -> String {
    fs::read_link("/proc/thread-self/ns/net")
        .unwrap()
        .display()
        .to_string()
}

#[test]
fn work_runs_inside_and_we_stay_outside() {
    let outside = here();
    let ns = Netns::create().unwrap();
    assert_eq!(enter(&ns, here).unwrap(), ns.id().to_string());
    assert_eq!(here(), outside);
    assert_ne!(outside, ns.id().to_string());
}

#[test]
fn a_panic_inside_is_an_error_outside() {
    let ns = Netns::create().unwrap();
    let outcome = enter(&ns, || assert_eq!(1, 2, "inside"));
    match outcome {
        Err(EnterError::Panicked { id, message }) => {
            assert_eq!(id, ns.id());
            assert!(message.contains("inside"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    enter(&ns, || ()).unwrap();
}

#[test]
fn what_is_not_a_pods_namespace_is_refused() {
    assert!(matches!(
        Netns::open("/proc/self/ns/net"),
        Err(NetnsError::Host)
    ));
    assert!(matches!(
        Netns::open("/proc/self/ns/mnt"),
        Err(NetnsError::NotANamespace)
    ));
    assert!(matches!(
        Netns::open("/proc/self/status"),
        Err(NetnsError::NotANamespace)
    ));
    assert!(matches!(Netns::open("/"), Err(NetnsError::NotANamespace)));
    let fd: OwnedFd = File::open("/proc/self/ns/net").unwrap().into();
    assert!(matches!(Netns::from_fd(fd), Err(NetnsError::Host)));

    let directory = tempfile::tempdir().unwrap();
    let gone = Netns::open(directory.path().join("gone")).unwrap_err();
    assert!(matches!(gone, NetnsError::Gone { .. }), "{gone}");
    let pipe = directory.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let refused = Netns::open(&pipe).unwrap_err();
    assert!(matches!(refused, NetnsError::NotANamespace), "{refused}");
}

#[test]
fn the_hosts_namespace_is_refused_from_inside_a_pod_too() {
    let ns = Netns::create().unwrap();
    let refused = enter(&ns, || Netns::open("/proc/self/ns/net").unwrap_err()).unwrap();
    assert!(matches!(refused, NetnsError::Host), "{refused}");
}

#[test]
fn no_descriptor_is_left_behind() {
    // Other tests of this process open descriptors at the same time; a process of its own does not.
    const ROLE: &str = "NETNS_TEST_COUNT_DESCRIPTORS";
    if std::env::var_os(ROLE).is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_descriptor_is_left_behind"])
            .env(ROLE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let ns = Netns::create().unwrap();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    for _ in 0..200 {
        enter(&ns, || ()).unwrap();
        addresses(&ns).unwrap();
        drop(ns.try_clone().unwrap());
        drop(Netns::from_fd(ns.as_fd().try_clone_to_owned().unwrap()).unwrap());
        drop(Netns::create().unwrap());
    }
    assert_eq!(count(), before);
    assert_eq!(
        fs::read_dir("/proc/self/task").unwrap().count(),
        2,
        "test thread and main thread"
    );
}

#[test]
fn addresses_are_those_of_the_pod() {
    let ns = Netns::create().unwrap();
    let script = "ip link set lo up && ip link add d0 type veth peer name d1 && ip link set d1 up && ip link set d0 up && \
                  ip addr add 10.1.2.3 peer 10.1.2.4/32 dev d0 && \
                  ip addr add fd00::9/64 dev d0 nodad";
    let made = enter(&ns, || {
        Command::new("sh").args(["-c", script]).status().unwrap()
    })
    .unwrap();
    assert!(made.success());
    let found = addresses(&ns).unwrap();
    let wanted: [IpAddr; 2] = ["10.1.2.3".parse().unwrap(), "fd00::9".parse().unwrap()];
    assert!(
        wanted.iter().all(|address| found.contains(address)),
        "{found:?}"
    );
    assert!(!found.iter().any(IpAddr::is_loopback), "{found:?}");
    assert!(!found.contains(&"10.1.2.4".parse().unwrap()), "{found:?}");
}
