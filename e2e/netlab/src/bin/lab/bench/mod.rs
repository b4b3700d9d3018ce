//! The benchmark: the same load in the mesh and outside it, in turn, on two nodes of this machine.
//! It refuses to say anything about other machines, and to leave out what failed.
//! It owns three files in the directory it is given: all numbers, a table, and a plot.

mod lanes;
mod machine;
mod plot;
mod results;
mod scale;
mod spread;
mod suite;
mod table;
mod usage;

use crate::last_words;
use crate::out::say;
use anyhow::{Context, Result};
use e2e_netlab::{Binaries, Lab, LabOptions, Sweep, wait};
use lanes::Lane;
use machine::About;
use results::{Journal, Look, Measurement, Results};
use spread::number;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use suite::{TESTS, Test};
use usage::Processor;

const NUMBERS: &str = "results.jsonl";
const TABLE: &str = "table.md";
const PLOT: &str = "plot.svg";
/// Whose cost in memory is looked at.
const IDLE: u32 = 1000;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    /// How often each test runs in each lane.
    pub(crate) rounds: u32,
    /// How many seconds each test takes.
    pub(crate) seconds: u32,
}

/// Runs it; the exit code says whether every measurement succeeded.
pub(crate) fn run(binaries: &Binaries, length: Length, out: &Path) -> Result<ExitCode> {
    let about = About::now(length);
    let journal = prepare(out, &about)?;
    say("two nodes: network namespaces, each with its own containerd");
    // A demo that somebody keeps is not in the way.
    let lab = Lab::up(&LabOptions::two_nodes(binaries, Sweep::Abandoned))?;
    let mut bench = Bench {
        lab: &lab,
        length,
        journal,
        results: Results::default(),
        began: Instant::now(),
    };
    let outcome = bench.play(&binaries.podkit);
    let results = bench.results;
    if let Err(error) = outcome {
        if wait::check().is_ok() {
            last_words::of_agents(&lab);
        }
        return Err(error);
    }
    write(out, &about, &results)?;
    lab.down().context("taking the lab down")?;
    let failures = results.failures().len();
    if failures == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!(
        "NOT all was measured; {failures} failed, see the end of {TABLE}"
    ));
    Ok(ExitCode::FAILURE)
}

/// Makes the directory, and removes what an earlier run has left: old tables beside new numbers would mislead.
fn prepare(out: &Path, about: &About) -> Result<Journal> {
    let hint = || format!("{}: give --out a directory to write to", out.display());
    std::fs::create_dir_all(out).with_context(hint)?;
    for name in [TABLE, PLOT] {
        match std::fs::remove_file(out.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(hint);
            }
            _ => {}
        }
    }
    Journal::create(&out.join(NUMBERS), &serde_json::to_value(about)?)
}

/// Writes the table and the plot.
fn write(out: &Path, about: &About, results: &Results) -> Result<()> {
    for (name, text) in [
        (TABLE, table::table(about, results)),
        (PLOT, plot::plot(about, results)),
    ] {
        let file = out.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// A benchmark under way.
struct Bench<'a> {
    lab: &'a Lab,
    length: Length,
    journal: Journal,
    results: Results,
    began: Instant,
}

impl Bench<'_> {
    fn play(&mut self, podkit: &Path) -> Result<()> {
        self.step("an agent on each node, and two pairs of pods");
        let lanes = lanes::make(self.lab, podkit)?;
        self.step("memory");
        self.look("before any connection")?;
        self.look_beside_idle(&lanes[0])?;
        self.step("which lane goes through the agents");
        lanes::check(self.lab, &lanes)?;
        for round in 1..=self.length.rounds {
            for (number, test) in (1..).zip(&TESTS) {
                let (rounds, tests) = (self.length.rounds, TESTS.len());
                let title = test.title;
                self.step(&format!(
                    "round {round} of {rounds}, test {number} of {tests}: {title}"
                ));
                // Neither lane is always the one that comes after the other.
                let turn = usize::from((round + number).is_multiple_of(2));
                for lane in [&lanes[turn], &lanes[1 - turn]] {
                    self.measure(round, test, lane)?;
                }
            }
        }
        self.look("after all tests, without connections")
    }

    fn measure(&mut self, round: u32, test: &Test, lane: &Lane) -> Result<()> {
        wait::check()?;
        let before = Processor::now(self.lab)?;
        let outcome = lane.run(test, self.length.seconds);
        // What an interruption breaks has not failed.
        wait::check()?;
        let mut one = Measurement::new(round, test, lane.name, outcome);
        match Processor::now(self.lab)?.since(&before) {
            Ok(spent) => one.agents_cpu_s = Some(spent.as_secs_f64()),
            Err(error) => drop(one.error.get_or_insert_with(|| format!("{error:#}"))),
        }
        if let Some(error) = &one.error {
            say(&format!("          {} failed: {error}", lane.name));
        }
        self.journal.line(&one)?;
        self.results.measurements.push(one);
        Ok(())
    }

    /// Notes both agents' memory.
    fn look(&mut self, moment: &str) -> Result<()> {
        for node in self.lab.nodes() {
            let one = Look {
                moment: moment.to_owned(),
                node: node.name().to_owned(),
                memory: usage::memory(node)?,
            };
            self.journal.line(&one)?;
            self.results.memory.push(one);
        }
        Ok(())
    }

    fn look_beside_idle(&mut self, lane: &Lane) -> Result<()> {
        let moment = format!("with {} idle connections", number(f64::from(IDLE)));
        let outcome = lane.idle(IDLE).and_then(|mut load| {
            self.look(&moment)?;
            lanes::verdict(&load.answer(lanes::OPENING)?)
        });
        wait::check()?;
        if let Err(error) = outcome {
            self.results.memory.retain(|one| one.moment != moment);
            self.results
                .problems
                .push(format!("memory {moment}: {error:#}"));
        }
        Ok(())
    }

    /// Progress with the time since the start.
    fn step(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        say(&format!("[{seconds:5.1} s] {text}"));
    }
}

#[cfg(test)]
mod tests;
