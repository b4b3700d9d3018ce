//! `podkit measure`: how much, how many and how soon, against `podkit serve`, until a time is over.
//! It refuses more connections than it has been tried with, and gives no figure of a measurement that saw an error.
//! It owns the load, the times, and one JSON line with both.

mod bulk;
mod crew;
mod exchange;
mod idle;
mod order;
mod pace;
pub(crate) mod served;
mod times;

use crate::limits;
use crate::result::Tally;
use anyhow::{Result, bail};
use order::{Order, Plan};
use std::process::ExitCode;

/// Runs one measurement and prints its line.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let Some((verb, rest)) = words.split_first() else {
        bail!("measure what? Say bulk, requests, connects or idle; see podkit help");
    };
    let Order { target, plan } = Order::parse(verb, rest)?;
    limits::raise_descriptors()?;
    let mut tally = Tally::default();
    match &plan {
        Plan::Bulk(plan) => bulk::run(&target, plan, &mut tally)?,
        Plan::Requests(plan) => exchange::requests(&target, plan, &mut tally)?,
        Plan::Connects(plan) => exchange::connects(&target, plan, &mut tally)?,
        Plan::Idle { connections } => idle::run(&target, *connections, &mut tally)?,
    }
    Ok(tally.print(verb, &target.address.to_string()))
}

#[cfg(test)]
mod tests;
