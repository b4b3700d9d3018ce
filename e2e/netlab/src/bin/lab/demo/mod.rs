//! The demo: two nodes, five pods, one mesh, and what happened.

mod access;
mod calls;
mod cast;
mod print;
mod report;
mod wire;

use crate::last_words;
use crate::out::say;
use anyhow::{Context, Result};
use cast::Markers;
use e2e_netlab::{Binaries, Lab, LabOptions, OwnTls, Sweep};
use report::Report;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Runs it; the exit code says whether all was as it must be.
pub(crate) fn run(binaries: &Binaries, json: Option<&Path>, keep: bool) -> Result<ExitCode> {
    let clock = Clock(Instant::now());
    let options = LabOptions::two_nodes(binaries, Sweep::AbandonedAndKept);
    clock.step("two nodes: network namespaces, each with its own containerd");
    let lab = Lab::up(&options)?;
    let mut report = match play(&lab, &clock) {
        Ok(report) => report,
        Err(error) => return fail(lab, error, keep),
    };
    report.ok = report.problems.is_empty();
    report.seconds = clock.0.elapsed().as_secs_f64();
    if let Some(file) = json {
        let text = serde_json::to_vec_pretty(&report)?;
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    print::report(&report);
    if keep {
        print::look_around(&lab.keep()?);
    } else {
        lab.down().context("taking the lab down")?;
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says what went wrong with the agents' last words, as the lab is about to go.
fn fail(lab: Lab, error: anyhow::Error, keep: bool) -> Result<ExitCode> {
    last_words::of_agents(&lab);
    if keep {
        print::look_around(&lab.keep()?);
    }
    Err(error)
}

fn play(lab: &Lab, clock: &Clock) -> Result<Report> {
    let mut report = Report {
        kinds: calls::KINDS.to_vec(),
        families: calls::FAMILIES.to_vec(),
        ..Report::default()
    };
    let (markers, own_tls) = (Markers::new()?, OwnTls::generate()?);
    let specs = cast::specs(&own_tls, &markers);
    let mut mesh = cast::mesh(&specs);
    lab.write_mesh(&mesh)?;
    clock.step("an agent on each node");
    lab.start_agents()?;
    clock.step("five pods through CRI, with our plugin behind the bridge plugin");
    let capture = lab.capture("a")?;
    let cast = cast::enter(lab, &specs, &mut mesh)?;
    clock.step("calls");
    calls::meshed(&cast, &markers, &mut report)?;
    let denied = calls::denied(&cast, &markers)?;
    let outsider = calls::outsider(&cast)?;
    calls::control(&cast, &markers, &mut report)?;
    clock.step("reading the capture and the access logs");
    wire::judge(&capture.stop()?, &markers, &mut report);
    access::identities(lab, &mut report);
    report.denied = access::reason(lab, cast.denied.ips(), denied, &mut report);
    report.outsider = access::reason(lab, cast.plain_client.ips(), outsider, &mut report);
    clock.step("latency");
    calls::latency(&cast, &mut report)?;
    Ok(report)
}

/// Progress with the time since the start.
struct Clock(Instant);

impl Clock {
    fn step(&self, text: &str) {
        say(&format!(
            "[{:5.1} s] {text}",
            self.0.elapsed().as_secs_f64()
        ));
    }
}
