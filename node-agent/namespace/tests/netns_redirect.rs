//! A plan in real namespaces: installed, checked, tampered with, removed. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use node_agent_namespace::{Netns, Outcome, apply, check, detect_backend, enter, undo};
use node_agent_redirect::{Backend, Drift, Family, RedirectPlan};

const BACKENDS: [Backend; 2] = [Backend::Nft, Backend::Legacy];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn plan(backend: Backend, dns: bool) -> RedirectPlan {
    RedirectPlan {
        dns,
        ..RedirectPlan::new(backend)
    }
}

/// Runs a shell line inside the namespace; it has to succeed.
fn run(ns: &Netns, line: &str) -> String {
    let output = enter(ns, || {
        Command::new("sh").args(["-c", line]).output().unwrap()
    })
    .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Everything of ours that any tool can see in a namespace.
fn ours(ns: &Netns) -> String {
    let all = run(
        ns,
        "iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; ip6tables-legacy-save; \
         ip rule; ip -6 rule; ip route show table all; ip -6 route show table all",
    );
    let of_ours = |line: &&str| {
        line.contains("ISTIO") || line.contains("0x111") || line.contains("table 100")
    };
    all.lines().filter(of_ours).collect::<Vec<_>>().join("\n")
}

#[test]
fn life_of_a_plan() {
    for backend in BACKENDS {
        for dns in [false, true] {
            let ns = Netns::create().unwrap();
            let plan = plan(backend, dns);
            let report = apply(&ns, &plan, soon()).unwrap();
            assert!(
                report
                    .families
                    .iter()
                    .all(|family| family.outcome == Outcome::Installed)
            );
            assert_eq!(report.families.len(), 2);
            assert_eq!(
                check(&ns, &plan, soon()).unwrap(),
                [],
                "{backend} dns {dns}"
            );

            let again = apply(&ns, &plan, soon()).unwrap();
            assert!(
                again
                    .families
                    .iter()
                    .all(|family| family.outcome == Outcome::AlreadyThere)
            );

            undo(&ns, &plan, soon()).unwrap();
            assert_eq!(ours(&ns), "", "{backend} dns {dns}");
            undo(&ns, &plan, soon()).unwrap();
        }
    }
}

/// Whether a difference is the one a test looks for.
type Expected = fn(&Drift) -> bool;

#[test]
fn tampering_is_reported_and_repaired() {
    let cases: [(&str, Expected); 9] = [
        ("T4 -t nat -F ISTIO_OUTPUT", |d| {
            matches!(d, Drift::MissingRule { .. })
        }),
        ("T4 -t nat -D ISTIO_PRERT 2", |d| {
            matches!(d, Drift::MissingRule { position: 2, .. })
        }),
        ("T4 -t nat -I ISTIO_OUTPUT 1 -j RETURN", |d| {
            matches!(d, Drift::ExtraRule { position: 1, .. })
        }),
        ("T4 -t nat -D OUTPUT -j ISTIO_OUTPUT", |d| {
            matches!(d, Drift::MissingJump { .. })
        }),
        (
            "T6 -t mangle -R ISTIO_PRERT 1 -m mark --mark 0x538/0xfff -j ACCEPT",
            |d| {
                matches!(
                    d,
                    Drift::AlteredRule {
                        family: Family::V6,
                        ..
                    }
                )
            },
        ),
        (
            "T4 -t nat -D ISTIO_OUTPUT 1 && T4 -t nat -A ISTIO_OUTPUT -d 169.254.7.127 -p tcp -j ACCEPT",
            |d| matches!(d, Drift::Reordered { .. }),
        ),
        ("T4 -t nat -A PREROUTING -j ISTIO_PRERT", |d| {
            matches!(d, Drift::UnexpectedJump { .. })
        }),
        ("ip rule del pref 32764", |d| {
            matches!(
                d,
                Drift::MissingRoutingRule {
                    family: Family::V4,
                    ..
                }
            )
        }),
        ("ip -6 route flush table 100", |d| {
            matches!(
                d,
                Drift::MissingRoute {
                    family: Family::V6,
                    ..
                }
            )
        }),
    ];
    for backend in BACKENDS {
        for (line, expected) in &cases {
            let ns = Netns::create().unwrap();
            let plan = plan(backend, false);
            apply(&ns, &plan, soon()).unwrap();
            let line = line
                .replace("T4", &format!("iptables-{backend}"))
                .replace("T6", &format!("ip6tables-{backend}"));
            run(&ns, &line);
            let drift = check(&ns, &plan, soon()).unwrap();
            assert!(drift.iter().any(expected), "{backend}: {line}: {drift:?}");

            apply(&ns, &plan, soon()).unwrap();
            assert_eq!(check(&ns, &plan, soon()).unwrap(), [], "{backend}: {line}");
            undo(&ns, &plan, soon()).unwrap();
            assert_eq!(ours(&ns), "", "{backend}: {line}");
        }
    }
}

#[test]
fn an_empty_namespace_lacks_everything() {
    let ns = Netns::create().unwrap();
    let drift = check(&ns, &plan(Backend::Nft, false), soon()).unwrap();
    let missing = |wanted: fn(&Drift) -> bool| drift.iter().filter(|drift| wanted(drift)).count();
    assert_eq!(
        missing(|drift| matches!(drift, Drift::MissingChain { .. })),
        8
    );
    assert_eq!(
        missing(|drift| matches!(drift, Drift::MissingJump { .. })),
        8
    );
    assert_eq!(
        missing(|drift| matches!(drift, Drift::MissingRoute { .. })),
        2
    );
    assert_eq!(
        missing(|drift| matches!(drift, Drift::MissingRoutingRule { .. })),
        2
    );
}

#[test]
fn looking_leaves_no_trace() {
    let ns = Netns::create().unwrap();
    for backend in BACKENDS {
        let plan = plan(backend, true);
        check(&ns, &plan, soon()).unwrap();
        undo(&ns, &plan, soon()).unwrap();
    }
    let tables = "cat /proc/self/net/ip_tables_names /proc/self/net/ip6_tables_names";
    assert_eq!(run(&ns, tables), "");
    assert_eq!(run(&ns, "nft list ruleset"), "");
}

#[test]
fn foreign_rules_stay() {
    for backend in BACKENDS {
        let ns = Netns::create().unwrap();
        let plan = plan(backend, true);
        let foreign = format!(
            "iptables-{backend} -t nat -N OTHER && iptables-{backend} -t nat -A OUTPUT -j OTHER && \
             iptables-{backend} -t nat -A OTHER -p tcp --dport 7 -j ACCEPT && \
             iptables-{backend} -A INPUT -p udp -m comment --comment 'to ISTIO_OUTPUT -j x' -j ACCEPT"
        );
        run(&ns, &foreign);
        let dump = format!("iptables-{backend}-save | grep -e '^-A'");
        let before = run(&ns, &dump);
        apply(&ns, &plan, soon()).unwrap();
        assert_eq!(check(&ns, &plan, soon()).unwrap(), []);
        undo(&ns, &plan, soon()).unwrap();
        assert_eq!(run(&ns, &dump), before, "{backend}");
    }
}

#[test]
fn a_change_of_backend_or_shape_leaves_one_set() {
    for backend in BACKENDS {
        let ns = Netns::create().unwrap();
        let old = plan(backend, true);
        let new = RedirectPlan {
            ipv6: false,
            ..plan(backend.other(), false)
        };
        apply(&ns, &old, soon()).unwrap();
        let drift = check(&ns, &new, soon()).unwrap();
        assert!(
            drift
                .iter()
                .any(|drift| matches!(drift, Drift::OtherBackend { .. })),
            "{drift:?}"
        );
        apply(&ns, &new, soon()).unwrap();
        assert_eq!(check(&ns, &new, soon()).unwrap(), []);
        undo(&ns, &new, soon()).unwrap();
        assert_eq!(ours(&ns), "");
    }
}

#[test]
fn past_the_deadline_nothing_is_left() {
    for backend in BACKENDS {
        let ns = Netns::create().unwrap();
        let plan = plan(backend, false);
        let error = apply(&ns, &plan, Instant::now()).unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("deadline"), "{error}");
        assert_eq!(ours(&ns), "", "{backend}");
        apply(&ns, &plan, soon()).unwrap();
        assert_eq!(check(&ns, &plan, soon()).unwrap(), []);
    }
}

/// Runs one test of this binary again in a process of its own, where a tool is replaced.
fn with_tool(test: &str, tool: &str, script: &str) {
    let directory = tempfile::tempdir().unwrap();
    // By another process: a child that a neighbouring test starts would for a moment have the file open for writing if
    // this one had, and then nobody can execute it.
    let write = Command::new("sh")
        .args([
            "-c",
            "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"",
        ])
        .args([directory.path().join(tool).as_os_str(), script.as_ref()])
        .status();
    assert!(write.unwrap().success());
    let search = format!(
        "{}:{}",
        directory.path().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("PATH", search)
        .env(INNER, tool)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Set in the inner process.
const INNER: &str = "NETNS_TEST_INNER";

#[test]
fn one_family_refused_takes_the_other_along() {
    if std::env::var_os(INNER).is_none() {
        for backend in BACKENDS {
            let tool = format!("ip6tables-{backend}-restore");
            // Late enough for the other family to be in.
            let script = "sleep 0.2; echo 'no such module' >&2; exit 3";
            with_tool("one_family_refused_takes_the_other_along", &tool, script);
        }
        return;
    }
    let backend = backend_of_inner();
    let ns = Netns::create().unwrap();
    let error = apply(&ns, &plan(backend, true), soon()).unwrap_err();
    assert!(error.to_string().contains("no such module"), "{error}");
    assert!(!error.is_transient(), "{error}");
    assert_eq!(ours(&ns), "");
    // A pod that was redirected keeps its rules when they cannot be changed.
    let only_v4 = RedirectPlan {
        ipv6: false,
        ..plan(backend, true)
    };
    apply(&ns, &only_v4, soon()).unwrap();
    apply(&ns, &plan(backend, true), soon()).unwrap_err();
    let drift = check(&ns, &only_v4, soon()).unwrap();
    assert_eq!(drift, []);
}

#[test]
fn a_hung_tool_is_killed_at_the_deadline() {
    if std::env::var_os(INNER).is_none() {
        let tool = "iptables-nft-restore";
        with_tool(
            "a_hung_tool_is_killed_at_the_deadline",
            tool,
            "exec sleep 1000",
        );
        return;
    }
    let ns = Netns::create().unwrap();
    let started = Instant::now();
    let deadline = started + Duration::from_millis(300);
    let error = apply(&ns, &plan(Backend::Nft, false), deadline).unwrap_err();
    assert!(error.to_string().contains("killed"), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(ours(&ns), "");
}

fn backend_of_inner() -> Backend {
    if std::env::var(INNER).unwrap().contains("legacy") {
        Backend::Legacy
    } else {
        Backend::Nft
    }
}

#[test]
fn killed_half_way_is_undone() {
    for backend in BACKENDS {
        let plan = plan(backend, true);
        // What is there when the work ends after each line of the text of either family.
        for family in [Family::V4, Family::V6] {
            let text = plan.render(family);
            let tables: Vec<&str> = text.split_inclusive("COMMIT\n").collect();
            for upto in 0..=tables.len() {
                let ns = Netns::create().unwrap();
                let tool = match family {
                    Family::V4 => format!("iptables-{backend}-restore"),
                    Family::V6 => format!("ip6tables-{backend}-restore"),
                };
                let half = tables[..upto].concat();
                run(&ns, &format!("{tool} --noflush <<'END'\n{half}END"));
                undo(&ns, &plan, soon()).unwrap();
                assert_eq!(ours(&ns), "", "{backend} {family} after {upto} tables");
            }
        }
    }
}

/// The test binary runs itself as the process that is killed.
#[test]
fn a_killed_process_takes_its_tools_along() {
    const ROLE: &str = "NETNS_TEST_APPLY_IN";
    if let Ok(path) = std::env::var(ROLE) {
        let ns = Netns::open(path).unwrap();
        loop {
            let plan = plan(Backend::Nft, false);
            apply(&ns, &plan, soon()).unwrap();
            undo(&ns, &plan, soon()).unwrap();
        }
    }
    for step in 0..40u32 {
        let ns = Netns::create().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&ns));
        let path = format!("/proc/{}/fd/{fd}", std::process::id());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_takes_its_tools_along"])
            .env(ROLE, path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait for something: the moment of death is what varies.
        std::thread::sleep(Duration::from_micros(u64::from(4_000 + step * 350)));
        child.kill().unwrap();
        child.wait().unwrap();
        let plan = plan(Backend::Nft, false);
        undo(&ns, &plan, soon()).unwrap();
        assert_eq!(ours(&ns), "", "killed at step {step}");
        // Whatever still ran then would show now.
        apply(&ns, &plan, soon()).unwrap();
        assert_eq!(
            check(&ns, &plan, soon()).unwrap(),
            [],
            "killed at step {step}"
        );
    }
}

#[test]
fn ipv6_switched_off() {
    for backend in BACKENDS {
        let ns = Netns::create().unwrap();
        let plan = plan(backend, false);
        run(&ns, "echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6");
        let report = apply(&ns, &plan, soon()).unwrap();
        assert_eq!(report.families[1].outcome, Outcome::NotInPod);
        assert_eq!(check(&ns, &plan, soon()).unwrap(), []);
        assert_eq!(run(&ns, &format!("ip6tables-{backend}-save")), "");

        // An address elsewhere: the rules are needed, the route cannot be had.
        run(
            &ns,
            "ip link add d0 type veth peer name d1 && ip link set d1 up && ip link set d0 up && ip addr add fd00::9/64 dev d0",
        );
        let drift = check(&ns, &plan, soon()).unwrap();
        assert!(
            drift
                .iter()
                .any(|drift| matches!(drift, Drift::MissingChain { .. })),
            "{drift:?}"
        );
        let report = apply(&ns, &plan, soon()).unwrap();
        assert_eq!(report.families[1].outcome, Outcome::Installed);
        assert_eq!(check(&ns, &plan, soon()).unwrap(), []);
        undo(&ns, &plan, soon()).unwrap();
        assert_eq!(ours(&ns), "");
    }
}

#[test]
fn the_backend_is_detected_without_a_trace() {
    let lists = "iptables-nft-save; ip6tables-nft-save; cat /proc/net/ip_tables_names";
    let shell = |line: &str| {
        Command::new("sh")
            .args(["-c", line])
            .output()
            .unwrap()
            .stdout
    };
    let without_dates = |text: Vec<u8>| {
        let text = String::from_utf8(text).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let before = without_dates(shell(lists));
    let detected = detect_backend(&plan(Backend::Legacy, true), soon()).unwrap();
    assert_eq!(detected, Backend::Nft);
    assert_eq!(without_dates(shell(lists)), before);
    let late = Instant::now();
    assert!(detect_backend(&plan(Backend::Nft, true), late).is_err());
}
