//! Keeps a node as it should be until told to stop.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::error::InstallError;
use crate::installer::{Installer, Pass};
use crate::watch::Watch;

/// Installs, watches and repairs until `stop` is over. What is installed stays.
///
/// # Errors
/// The directories cannot be watched at all.
pub async fn keep(mut installer: Installer, stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut stop = pin!(stop);
    let mut watch = Watch::new()?;
    let mut tale = Tale::default();
    loop {
        // What happens from here on is noticed, also while the pass goes on.
        watch.forget();
        let watched = installer.directories();
        let whole = watch_all(&watch, &watched);
        let outcome = installer.pass();
        tale.tell(&outcome, Instant::now());
        let calm = tale.pause(&outcome, whole);
        tokio::select! {
            () = &mut stop => return Ok(()),
            happened = watch.happened() => happened?,
            () = tokio::time::sleep(calm) => {}
        }
        // Whoever writes in several steps is given the time to finish, and no two of us the
        // opportunity to keep a processor busy.
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = tokio::time::sleep(tale.settle()) => {}
        }
    }
}

/// One pass, and more only while somebody writes at this very moment.
///
/// # Errors
/// The gap could not be closed.
pub async fn once(mut installer: Installer) -> Result<Pass, InstallError> {
    let mut attempts = 0;
    loop {
        match installer.pass() {
            Err(error) if error.is_momentary() && attempts < ATTEMPTS => attempts += 1,
            outcome => return outcome,
        }
        tokio::time::sleep(MOMENT).await;
    }
}

/// A directory that cannot be watched is looked at often instead.
fn watch_all(watch: &Watch, directories: &[PathBuf]) -> bool {
    match watch.add(directories) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "a directory cannot be watched and is looked at often");
            false
        }
    }
}

/// What was said so far, so that each thing is said once.
#[derive(Debug, Default)]
struct Tale {
    complaint: Option<String>,
    passed_over: Vec<(String, String)>,
    failures: u32,
    /// When others last made us repair.
    repairs: VecDeque<Instant>,
    begun: bool,
    quarrel: bool,
}

impl Tale {
    fn tell(&mut self, outcome: &Result<Pass, InstallError>, now: Instant) {
        match outcome {
            Ok(pass) => self.good(pass, now),
            Err(error) => self.bad(error),
        }
    }

    fn good(&mut self, pass: &Pass, now: Instant) {
        if self.complaint.take().is_some() {
            tracing::info!("what was complained about is over");
        }
        if !self.begun {
            tracing::info!("installed; repairing what others change");
        }
        self.failures = 0;
        if pass.passed_over != self.passed_over {
            self.passed_over.clone_from(&pass.passed_over);
            for (file, why) in &pass.passed_over {
                tracing::warn!(
                    file,
                    why,
                    "a file that sorts before the primary plugin's cannot be used, and a runtime may \
                     refuse the whole directory for it; remove it"
                );
            }
        }
        if self.begun && !pass.changes.is_empty() {
            self.repairs.push_back(now);
        }
        self.begun = true;
        self.repairs
            .retain(|repair| now.duration_since(*repair) < QUARREL_SPAN);
        let quarrel = self.repairs.len() > QUARREL;
        if quarrel && !self.quarrel {
            tracing::warn!(
                repairs = self.repairs.len(),
                "somebody keeps undoing what is installed: another installer, or a primary plugin \
                 that allows no other (for Cilium set cni.exclusive=false)"
            );
        }
        self.quarrel = quarrel;
    }

    fn bad(&mut self, error: &InstallError) {
        if error.is_momentary() {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let complaint = error.to_string();
        if self.complaint.as_ref() == Some(&complaint) {
            return;
        }
        match error {
            InstallError::Superseded => tracing::info!("{complaint}; standing by"),
            InstallError::Refused(crate::Refusal::NoPrimary { .. }) => {
                tracing::warn!("{complaint}");
            }
            _ => tracing::error!("{complaint}"),
        }
        self.complaint = Some(complaint);
    }

    /// How long to wait if nothing happens.
    fn pause(&self, outcome: &Result<Pass, InstallError>, watched: bool) -> Duration {
        match outcome {
            Ok(_) if watched => UNASKED,
            Err(error) if error.is_momentary() => MOMENT,
            // It becomes visible only by looking.
            Ok(_) | Err(InstallError::Missing { .. }) => LOOKING,
            Err(_) => LOOKING
                .saturating_mul(1 << self.failures.min(6))
                .min(UNASKED),
        }
    }

    fn settle(&self) -> Duration {
        if self.quarrel { QUARREL_SETTLE } else { SETTLE }
    }
}

/// Everything is compared that often even if nothing seems to happen.
const UNASKED: Duration = Duration::from_secs(30);
const LOOKING: Duration = Duration::from_millis(500);
const MOMENT: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 20;
const SETTLE: Duration = Duration::from_millis(50);
/// Still below the second within which others' changes are repaired.
const QUARREL_SETTLE: Duration = Duration::from_millis(700);
const QUARREL: usize = 5;
const QUARREL_SPAN: Duration = Duration::from_secs(20);
