//! `ambient-cni`, the CNI plugin chained behind the one that makes the pod's interface: it asks the
//! node agent whether the pod is in the mesh, installs the agent's redirect rules in the pod's
//! namespace, and lets the pod start only when the agent has seen traffic take that way.
//! It refuses to let a pod start whose place in the mesh is not certain, to call the API server, to
//! leave rules behind after a failure, and to write anything but the answer on standard output.
//! It owns nothing that outlives a call but the log file, if one is configured.

#![forbid(unsafe_code)]

mod agent;
mod call;
mod failure;
mod journal;
mod rules;
mod settings;
mod verbs;

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use cni_plugin_spec::{CniError, Code, Command, SpecVersion, answering_version, version_answer};

use crate::call::{Call, Outcome};

/// More than any network configuration; what is longer is a runaway writer.
const LONGEST_INPUT: u64 = 8 << 20;

fn main() -> ExitCode {
    // The Rust runtime ignores SIGPIPE, so a runtime that went away shows as an error of the write.
    let started = Instant::now();
    let command = match Command::read(|name| std::env::var_os(name)) {
        Ok(Some(command)) => command,
        Ok(None) => return about(),
        Err(error) => return finish(&Call::nameless(started), refused(error.into(), &[])),
    };
    let mut call = Call::new(command, started);
    let answer = match standard_input() {
        Ok(stdin) => catch_unwind(AssertUnwindSafe(|| answer(&mut call, &stdin)))
            .unwrap_or_else(|_| refused(failure::internal(), &stdin)),
        Err(error) => refused(CniError::new(Code::Io, error.to_string()), &[]),
    };
    finish(&call, answer)
}

/// What the call came to, ready to be printed.
struct Answer {
    stdout: Option<String>,
    outcome: Result<Outcome, CniError>,
}

fn answer(call: &mut Call, stdin: &[u8]) -> Answer {
    let done = if matches!(call.command, Command::Version) {
        version_answer(stdin)
            .map(Outcome::answered)
            .map_err(CniError::from)
    } else {
        verbs::run(call, stdin)
    };
    match done {
        Ok(outcome) => Answer {
            stdout: outcome.stdout.clone(),
            outcome: Ok(outcome),
        },
        Err(error) => refused(error, stdin),
    }
}

fn refused(error: CniError, stdin: &[u8]) -> Answer {
    let version = if stdin.is_empty() {
        SpecVersion::CURRENT
    } else {
        answering_version(stdin)
    };
    Answer {
        stdout: Some(error.answer(version)),
        outcome: Err(error),
    }
}

fn finish(call: &Call, answer: Answer) -> ExitCode {
    let printed = answer.stdout.map_or(Ok(()), |text| print(&text));
    if let Err(error) = &answer.outcome {
        complain(&format!("{} failed: {error}", call.verb()));
    }
    if let Err(error) = &printed {
        complain(&format!(
            "the answer cannot be written to standard output: {error}"
        ));
    }
    journal::record(call, answer.outcome.as_ref(), printed.as_ref().err());
    if answer.outcome.is_ok() && printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn standard_input() -> io::Result<Vec<u8>> {
    let mut input = Vec::with_capacity(4096);
    io::stdin()
        .lock()
        .take(LONGEST_INPUT + 1)
        .read_to_end(&mut input)?;
    if input.len() as u64 > LONGEST_INPUT {
        let message = format!("the network configuration is longer than {LONGEST_INPUT} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(input)
}

/// The only place that writes to standard output, which belongs to the runtime.
fn print(answer: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(answer.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// For the runtime's own log. Nobody can be told if even that fails.
pub(crate) fn complain(message: &str) {
    drop(writeln!(io::stderr(), "ambient-cni: {message}"));
}

fn about() -> ExitCode {
    let versions = SpecVersion::ALL.map(SpecVersion::as_str).join(", ");
    complain(&format!(
        "version {}: a CNI plugin that leads pods into the mesh, chained behind the plugin that \
         makes their interface.\nA container runtime starts it with CNI_COMMAND set; it speaks \
         versions {versions} of the specification.",
        env!("CARGO_PKG_VERSION")
    ));
    ExitCode::SUCCESS
}
