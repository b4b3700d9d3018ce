//! All that is measured of one size of mesh, and what is too much.

use crate::scene::{Phase, Scene};
use anyhow::Result;
use e2e_tests::istiod::{Memory, Stream};
use e2e_tests::tempo::Times;
use e2e_tests::usage;
use std::thread;
use std::time::{Duration, Instant};

const CHANGES: u32 = 40;
/// The allocator gives pages back that were free for ten seconds.
const SETTLING: Duration = Duration::from_secs(12);

const RESUMED: &str = "versions kept";
/// The versions of the largest mesh are more than istiod takes in one request: of the rest all is told.
const MOST_TOLD_AGAIN: u128 = 35;

/// What one request may take longer than in a mesh where nothing happens, in milliseconds: a state that loads takes
/// longer than this, so that traffic that waits for it shows.
const LONGEST_PAUSE: u128 = 500;

pub(crate) struct Figures {
    workloads: u32,
    resources: usize,
    told: usize,
    idle: usage::Memory,
    settled: usage::Memory,
    phases: Vec<Phase>,
    streams: Vec<(&'static str, Stream)>,
    changes: Times,
    new_worker: Duration,
}

/// What fails the test if there is more of it.
pub(crate) struct Limits {
    /// Anonymous memory of the worker once settled, less what it had before.
    pub(crate) state_mib: u64,
    /// The same of its peak.
    pub(crate) peak_mib: u64,
    /// From the beginning of a stream to its last answer.
    pub(crate) load_ms: u128,
    /// Processor time of that, traffic's taken off.
    pub(crate) load_cpu_ms: u128,
    /// The same of one change.
    pub(crate) change_cpu_ms: u128,
    /// From a change that is told to its answer, for half of them at most.
    pub(crate) change_ms: u128,
    /// What 99 of 100 requests may take longer than in a mesh where nothing happens.
    pub(crate) slow_ms: u128,
}

impl Figures {
    pub(crate) fn take(scene: &Scene) -> Result<Self> {
        let idle = usage::memory(&scene.agent)?;
        let quiet = scene.quiet()?;
        let (load, loaded) = scene.load("the mesh is told", Memory::Kept)?;
        let settled = settle(scene)?;
        let (workloads, mut changes) =
            scene.changes("a workload changes", CHANGES, |told, number| {
                told.member(7, number)
            })?;
        let (policies, more) = scene.changes("a policy changes", CHANGES, |told, number| {
            if number % 2 == 0 {
                told.strict("other")
            } else {
                told.closed("other")
            }
        })?;
        changes.extend(more);
        let (kept, resumed) = scene.load("again, versions kept", Memory::Kept)?;
        let (lost, retold) = scene.load("again, all is told", Memory::Lost)?;
        let (new_worker, restarted) = scene.new_worker()?;
        Ok(Self {
            workloads: scene.workloads,
            resources: scene.crowd.resources(),
            told: scene.crowd.bytes(),
            idle,
            settled,
            phases: vec![quiet, load, workloads, policies, kept, lost],
            streams: vec![
                ("first", loaded),
                (RESUMED, resumed),
                ("all is told", retold),
                ("a new worker", restarted),
            ],
            changes: Times::new(changes),
            new_worker,
        })
    }

    #[expect(clippy::print_stdout, reason = "for whoever measures")]
    pub(crate) fn print(&self) {
        println!(
            "\n{} workloads: {} resources, {} KiB to tell",
            self.workloads,
            self.resources,
            self.told / 1024
        );
        for (name, memory) in [("idle", self.idle), ("loaded, settled", self.settled)] {
            println!(
                "  {name:<16} worker {:>6} KiB (anonymous {:>6}), all processes {:>6} KiB",
                memory.worker, memory.anonymous, memory.all
            );
        }
        for (name, stream) in &self.streams {
            println!(
                "  stream: {name:<14} held {:>6}, {:>6} KiB in {} responses, all answered after {:>6.0?}",
                stream.known,
                stream.bytes / 1024,
                stream.sent,
                took(stream)
            );
        }
        println!(
            "  new worker: from the death of the former {:.0?}",
            self.new_worker
        );
        println!("  change, told to in force: {}", row(&self.changes));
        println!(
            "  {:<21} {:>7} {:>9} {:>8}   {:<34}   open connection: p50, p99, longest",
            "while", "CPU ms", "less idle", "peak KiB", "new connections: p50, p99, longest"
        );
        for phase in &self.phases {
            println!(
                "  {:<21} {:>7} {:>9} {:>8}   {:<34}   {}",
                phase.name,
                phase.processor.as_millis(),
                self.beyond_traffic(phase).as_millis(),
                phase.memory.peak,
                row(&phase.traffic.new),
                row(&phase.traffic.old)
            );
        }
    }

    /// What is more than allowed, in words.
    pub(crate) fn beyond(&self, limits: &Limits) -> Vec<String> {
        let idle = self.idle.anonymous;
        let mib = |kib: u64| u128::from(kib.saturating_sub(idle) / 1024);
        let mut checks = vec![
            (
                "MiB of state",
                mib(self.settled.anonymous),
                limits.state_mib.into(),
            ),
            (
                "ms from half of the changes to their answers",
                self.changes.of_thousand(500).as_millis(),
                limits.change_ms,
            ),
            (
                "hundredths told again of what is held",
                self.told_again(),
                MOST_TOLD_AGAIN,
            ),
        ];
        let quiet = &self.phases[0].traffic;
        for phase in &self.phases {
            let peak = phase.memory.peak.saturating_sub(self.idle.worker) / 1024;
            checks.push(("MiB at the peak", peak.into(), limits.peak_mib.into()));
            for (seen, quiet) in [
                (&phase.traffic.new, &quiet.new),
                (&phase.traffic.old, &quiet.old),
            ] {
                let most = seen.longest().saturating_sub(quiet.longest());
                checks.push((
                    "ms longer of the longest request",
                    most.as_millis(),
                    LONGEST_PAUSE,
                ));
                let more = seen.of_thousand(990).saturating_sub(quiet.of_thousand(990));
                checks.push((
                    "ms longer of 99 in 100 requests",
                    more.as_millis(),
                    limits.slow_ms,
                ));
            }
            let used = self.beyond_traffic(phase).as_millis();
            checks.push(if phase.name.ends_with("changes") {
                let most = limits.change_cpu_ms * u128::from(CHANGES);
                ("ms of processor time for changes", used, most)
            } else {
                ("ms of processor time for a load", used, limits.load_cpu_ms)
            });
        }
        let load =
            |(_, stream): &(_, Stream)| ("ms to load", took(stream).as_millis(), limits.load_ms);
        checks.extend(self.streams.iter().map(load));
        let beyond = checks.into_iter().filter(|(_, seen, most)| seen > most);
        beyond
            .map(|(what, seen, most)| {
                format!(
                    "{} workloads: {seen} {what}, at most {most}",
                    self.workloads
                )
            })
            .collect()
    }

    /// What of the large mesh is told again to a client that holds all of it, in hundredths.
    fn told_again(&self) -> u128 {
        let resumed = self.streams.iter().find(|(name, _)| *name == RESUMED);
        let bytes = resumed.map_or(self.told, |(_, stream)| stream.bytes);
        (bytes * 100 / self.told) as u128
    }

    /// Processor time less what as long a time of traffic alone takes.
    fn beyond_traffic(&self, phase: &Phase) -> Duration {
        let quiet = &self.phases[0];
        let share = phase.lasted.as_secs_f64() / quiet.lasted.as_secs_f64();
        phase
            .processor
            .saturating_sub(quiet.processor.mul_f64(share))
    }
}

/// The memory once it has stopped shrinking.
fn settle(scene: &Scene) -> Result<usage::Memory> {
    let began = Instant::now();
    let mut least = usage::memory(&scene.agent)?;
    let mut since = began;
    while began.elapsed() < SETTLING && since.elapsed() < SETTLING / 4 {
        // There is nothing to wait for but time: the allocator's clock.
        thread::sleep(SETTLING / 40);
        let now = usage::memory(&scene.agent)?;
        if now.worker < least.worker {
            (least, since) = (now, Instant::now());
        }
    }
    Ok(least)
}

/// From the beginning of a stream to its last answer.
fn took(stream: &Stream) -> Duration {
    let last = stream.last_answer.unwrap_or(stream.opened);
    last.duration_since(stream.opened)
}

fn row(times: &Times) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    format!(
        "{:>7.2} {:>7.2} {:>7.2} ms ({})",
        ms(times.of_thousand(500)),
        ms(times.of_thousand(990)),
        ms(times.longest()),
        times.count()
    )
}
