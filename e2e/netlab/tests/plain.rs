//! The lab itself, without the mesh: pods in both families, every kind of call, the capture, and tear-down.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use e2e_netlab::{Binaries, Family, Lab, LabOptions, OwnTls, Pod, PodSpec, Sweep};
use e2e_netlab::{remove_lab, sweep, wait};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn plain_lab() -> Lab {
    let nodes = vec!["a".to_owned(), "b".to_owned()];
    let podkit = Binaries::from_env().unwrap().podkit;
    Lab::up(&LabOptions {
        nodes,
        podkit,
        agents: None,
        sweep: Sweep::Abandoned,
    })
    .unwrap()
}

fn call(from: &Pod, to: &Pod, ipv6: bool, verb: &str, port: u16, options: &[&str]) {
    let answer = from
        .call(verb, to.address(ipv6, port).unwrap(), options)
        .unwrap();
    assert_eq!(answer["ok"], true, "{verb} over ipv6={ipv6}: {answer}");
    if verb == "http" {
        let own = from.address(ipv6, 0).unwrap().ip().to_string();
        assert_eq!(
            answer["peer"][0], own,
            "the server sees the caller's own address"
        );
    }
}

#[test]
fn two_nodes_carry_every_kind_of_call_and_the_capture_sees_it_all() {
    let lab = plain_lab();
    let own_tls = OwnTls::generate().unwrap();
    let services = [
        ("http", 8080),
        ("echo", 8081),
        ("banner", 8082),
        ("bulk", 8083),
        ("tls", 8443),
    ];
    let server = own_tls.for_server(PodSpec::server("demo", "server", &services));
    let client = own_tls.for_client(PodSpec::idle("demo", "client"));
    let capture = lab.capture("a").unwrap();
    let pods = lab.run_pods(&[("a", client), ("b", server)]).unwrap();
    let [client, server] = &pods[..] else {
        panic!("two pods")
    };
    for ipv6 in [false, true] {
        call(client, server, ipv6, "http", 8080, &["--path", "/MARKER"]);
        call(client, server, ipv6, "latency", 8080, &["--count", "20"]);
        call(client, server, ipv6, "banner", 8082, &[]);
        call(client, server, ipv6, "tls", 8443, &["--path", "/MARKER"]);
        call(client, server, ipv6, "bulk", 8083, &["--bytes", "3000000"]);
        call(
            client,
            server,
            ipv6,
            "bulk",
            8083,
            &["--bytes", "3000000", "--direction", "down"],
        );
        call(
            client,
            server,
            ipv6,
            "half-close",
            8081,
            &["--bytes", "100000"],
        );
        call(
            client,
            server,
            ipv6,
            "stream",
            8081,
            &["--interval-ms", "5"],
        );
    }
    let refused = client
        .call("http", server.address(false, 1).unwrap(), &[])
        .unwrap();
    assert_eq!(
        (&refused["failed"], &refused["ok"]),
        (&1.into(), &false.into())
    );
    let traffic = capture.stop().unwrap();
    // In clear over both families, request and answer; what went through TLS is not seen.
    assert_eq!(traffic.occurrences(b"MARKER"), 4);
    assert!(
        traffic.ports[&(Family::Ipv6, 8083)].bytes > 6_000_000,
        "{:?}",
        traffic.ports
    );
    server.remove().unwrap();
    lab.down().unwrap();
}

#[test]
fn nothing_stays_of_a_lab_whose_pods_still_run() {
    let lab = plain_lab();
    let name = lab.name().to_owned();
    let directory = lab.directory().to_owned();
    let pods = lab
        .run_pods(&[("a", PodSpec::idle("demo", "one"))])
        .unwrap();
    assert!(
        pods[0].netns().starts_with(&directory),
        "{:?}",
        pods[0].netns()
    );
    assert!(
        traces(&name).len() > 5,
        "the search must be able to find something: {:?}",
        traces(&name)
    );
    lab.down().unwrap();
    assert_eq!(traces(&name), Vec::<String>::new());
    remove_lab(&name).unwrap();
}

#[test]
fn the_next_run_removes_what_a_killed_one_left() {
    const TEST: &str = "the_next_run_removes_what_a_killed_one_left";
    if let Ok(report) = std::env::var("LAB_TO_ABANDON") {
        let lab = plain_lab();
        lab.run_pods(&[("a", PodSpec::idle("demo", "one"))])
            .unwrap();
        std::fs::write(report, lab.name()).unwrap();
        loop {
            std::thread::park();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("name");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", TEST])
        .env("LAB_TO_ABANDON", &report);
    let mut owner = command.stdout(Stdio::null()).spawn().unwrap();
    let read = || -> anyhow::Result<String> { Ok(std::fs::read_to_string(&report)?) };
    let name = wait::until("the other run has its lab", Duration::from_secs(60), read).unwrap();
    sweep(Sweep::AbandonedAndKept).unwrap();
    assert!(
        traces(&name).len() > 5,
        "a lab whose owner lives is left alone"
    );
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(traces(&name).len() > 5, "nothing else took it away");
    assert!(sweep(Sweep::Abandoned).unwrap().contains(&name));
    assert_eq!(traces(&name), Vec::<String>::new());
}

/// Everything on the machine that bears the lab's name.
fn traces(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    found.extend(
        lines("/proc/self/mountinfo")
            .lines()
            .filter(|line| line.contains(name))
            .map(str::to_owned),
    );
    for place in [
        "/run/netns",
        "/run/ambient-lab",
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/pids",
        "/sys/fs/cgroup",
    ] {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        found.extend(
            entries
                .map(|entry| entry.path().display().to_string())
                .filter(|path| path.contains(name)),
        );
    }
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = lines(&process.path().join("cmdline").display().to_string());
        if command.contains(name) && Path::new(&process.path()).join("exe").exists() {
            found.push(command.replace('\0', " "));
        }
    }
    found
}
