//! What it costs to redirect a pod: applies, checks and undoes a plan in many fresh namespaces and
//! prints the spread of the times, by backend. Needs root.
//!
//! `cargo run --release -p node-agent-namespace --example apply_cost [ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that stops at the first failure and prints what it found"
)]

use std::time::{Duration, Instant};

use node_agent_namespace::{Netns, apply, check, undo};
use node_agent_redirect::{Backend, RedirectPlan};

fn main() {
    let rounds: usize = std::env::args()
        .nth(1)
        .map_or(100, |rounds| rounds.parse().unwrap());
    for ipv6 in [true, false] {
        for dns in [false, true] {
            for backend in [Backend::Nft, Backend::Legacy] {
                let plan = RedirectPlan {
                    dns,
                    ipv6,
                    ..RedirectPlan::new(backend)
                };
                measure(&plan, rounds);
            }
        }
    }
}

fn measure(plan: &RedirectPlan, rounds: usize) {
    let (mut applied, mut checked, mut undone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let ns = Netns::create().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        applied.push(time(|| drop(apply(&ns, plan, deadline).unwrap())));
        checked.push(time(|| {
            assert!(check(&ns, plan, deadline).unwrap().is_empty());
        }));
        undone.push(time(|| undo(&ns, plan, deadline).unwrap()));
    }
    let families = if plan.ipv6 { "v4+v6" } else { "v4" };
    let dns = if plan.dns { "dns" } else { "no dns" };
    for (what, times) in [("apply", applied), ("check", checked), ("undo", undone)] {
        println!(
            "{:6} {families:5} {dns:6} {what:5} {}",
            plan.backend,
            spread(times)
        );
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    format!(
        "p50 {:>9.3?}  p99 {:>9.3?}  min {:>9.3?}",
        at(50),
        at(99),
        times[0]
    )
}
