//! System calls of a process, counted by `strace`.

use anyhow::{Context, Result, bail, ensure};
use e2e_netlab::wait::Hopeless;
use e2e_netlab::{ProcessId, find_program};
use e2e_tests::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// All calls of a process are counted until this is stopped or dropped.
pub(crate) struct Trace {
    child: Child,
    table: PathBuf,
}

/// How often which was made.
pub(crate) struct Calls(Vec<(String, u64)>);

impl Trace {
    /// Calls that are made after this returns are counted.
    pub(crate) fn start(process: ProcessId, directory: &Path) -> Result<Self> {
        let strace = find_program("strace")
            .context("system calls are counted by strace: install the package strace")?;
        let table = directory.join(format!("calls-{}", process.pid));
        let words = table.with_extension("words");
        let mut command = Command::new(strace);
        command.args(["-f", "-c", "-p", &process.pid.to_string(), "-o"]);
        command.arg(&table).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(File::create(&words)?);
        let mut trace = Self {
            child: command.spawn()?,
            table,
        };
        until("strace is attached", || {
            let said = std::fs::read_to_string(&words)?;
            if let Some(status) = trace.child.try_wait()? {
                bail!(Hopeless(format!("it ended ({status}): {said}")));
            }
            // It says so when all threads are.
            ensure!(said.contains("attached"), "it says {said:?}");
            Ok(())
        })?;
        Ok(trace)
    }

    /// Lets go of the process; what was counted until now.
    pub(crate) fn stop(mut self) -> Result<Calls> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGINT)?;
        let child = &mut self.child;
        until("strace ends", || child.try_wait()?.context("it runs"))?;
        let text = std::fs::read_to_string(&self.table)?;
        let calls = Calls(text.lines().filter_map(row).collect());
        ensure!(!calls.0.is_empty(), "it counted nothing: {text}");
        Ok(calls)
    }
}

/// Of `% time, seconds, usecs/call, calls[, errors], name`.
fn row(line: &str) -> Option<(String, u64)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let name = *columns.get(4..)?.last()?;
    let calls = columns[3].parse().ok()?;
    (name != "total").then(|| (name.to_owned(), calls))
}

impl Drop for Trace {
    fn drop(&mut self) {
        // One that has ended is no error. Its end lets go of the process.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Calls {
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, calls)| calls).sum()
    }

    /// By name, the most frequent first; `most` is in hundredths.
    pub(crate) fn table(&self, whose: &str, what: &str, count: u64, most: u64) -> String {
        let mut rows = self.0.clone();
        rows.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        rows.insert(0, ("all".to_owned(), self.total()));
        let mut text = format!(
            "{whose}: system calls for {count} of: {what}; for each at most {}\n",
            decimal(most)
        );
        for (name, calls) in rows {
            let each = decimal(calls * 100 / count);
            // Writing into a String cannot fail.
            let _ = writeln!(text, "  {name:<20} {calls:>8} {each:>8}");
        }
        text
    }
}

fn decimal(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
