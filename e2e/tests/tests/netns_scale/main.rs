//! What a large mesh costs the agent: memory, processor time, and what traffic notices while the mesh is told, while the
//! connection to istiod is made anew, and while one thing changes after another. Every request has to succeed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod figures;
mod scene;

use figures::{Figures, Limits};
use scene::Scene;
use std::sync::{Mutex, PoisonError};

/// What was seen on two busy processors, and room: memory half as much again, times two to three times as long.
const TEN_THOUSAND: Limits = Limits {
    state_mib: 32,
    peak_mib: 45,
    load_ms: 5000,
    load_cpu_ms: 500,
    change_cpu_ms: 8,
    change_ms: 40,
    slow_ms: 100,
};
const FIFTY_THOUSAND: Limits = Limits {
    state_mib: 130,
    peak_mib: 150,
    load_ms: 5000,
    load_cpu_ms: 2000,
    change_cpu_ms: 8,
    change_ms: 40,
    slow_ms: 100,
};

/// Each wants the machine to itself.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn ten_thousand_workloads() {
    measure(10_000, &TEN_THOUSAND);
}

#[test]
fn fifty_thousand_workloads() {
    measure(50_000, &FIFTY_THOUSAND);
}

fn measure(workloads: u32, limits: &Limits) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let figures = Figures::take(&Scene::open(workloads).unwrap()).unwrap();
    figures.print();
    assert_eq!(figures.beyond(limits), [""; 0]);
}
