//! Starts this very program as a worker, confined as the shipped one is, and looks at it from
//! outside, from inside, and with an intruder's eyes. Root is needed.
//!
//! It has no test harness: the worker has to seal itself before there is a second thread.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests, whose results are printed as a harness does"
)]

mod intruder;
mod outside;
mod work;

use std::panic::catch_unwind;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const TESTS: &[(&str, fn())] = &[
    (
        "what_the_kernel_says_of_a_worker",
        outside::what_the_kernel_says_of_a_worker,
    ),
    (
        "it_sees_what_is_named_and_nothing_else",
        outside::it_sees_what_is_named_and_nothing_else,
    ),
    ("it_does_its_work", outside::it_does_its_work),
    (
        "it_inherits_what_is_named_and_nothing_else",
        outside::it_inherits_what_is_named_and_nothing_else,
    ),
    (
        "it_outlives_who_started_it",
        outside::it_outlives_who_started_it,
    ),
    (
        "nobody_of_the_same_user_looks_into_it",
        outside::nobody_of_the_same_user_looks_into_it,
    ),
    (
        "without_the_right_to_set_rights_it_has_none_either",
        outside::without_the_right_to_set_rights_it_has_none_either,
    ),
    (
        "who_may_not_confine_is_told_the_step",
        outside::who_may_not_confine_is_told_the_step,
    ),
    (
        "what_is_not_there_cannot_be_shown",
        outside::what_is_not_there_cannot_be_shown,
    ),
    (
        "every_attempt_of_an_intruder_fails",
        intruder::every_attempt_of_an_intruder_fails,
    ),
    (
        "the_same_attempts_succeed_without_confinement",
        intruder::the_same_attempts_succeed_without_confinement,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["role", "sealed", ref rest @ ..] => {
            node_agent_confine::seal_worker().unwrap();
            act(rest)
        }
        ["role", "unsealed", ref rest @ ..] => act(rest),
        _ => run(arguments.iter().find(|argument| !argument.starts_with('-'))),
    }
}

/// What this program does when it is not the test.
fn act(role: &[&str]) -> ExitCode {
    match role {
        ["wait"] => work::wait(),
        ["work", directory, config] => work::work(directory.as_ref(), config.as_ref()),
        ["look", paths @ ..] => work::look(paths),
        ["middle", directory] => outside::middle(directory.as_ref()),
        ["weak", rights] => outside::weak(rights),
        ["attempt", name, rest @ ..] => intruder::attempt(name, rest),
        _ => panic!("{role:?}"),
    }
    ExitCode::SUCCESS
}

fn run(only: Option<&String>) -> ExitCode {
    let mut failed = 0;
    let chosen = TESTS
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| name.contains(only.as_str())));
    let mut passed = 0;
    for (name, test) in chosen {
        let good = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        *(if good { &mut passed } else { &mut failed }) += 1;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
