//! The first process of a sandbox: holds the namespaces, reaps, ends on SIGTERM.

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::process::ExitCode;

/// Blocks the signals that end or wake us; call before any thread is started, so that all inherit it.
pub(crate) fn block_signals() -> Result<SigSet> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(set)
}

/// Waits for the end, reaping orphans meanwhile: PID 1 inherits them.
pub(crate) fn wait_for_end(set: &SigSet) -> Result<()> {
    loop {
        match set.wait()? {
            Signal::SIGCHLD => reap(),
            _ => return Ok(()),
        }
    }
}

fn reap() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return,
            Err(error) if error != Errno::EINTR => return,
            _ => {}
        }
    }
}

/// `podkit pause`.
pub(crate) fn run() -> Result<ExitCode> {
    let set = block_signals()?;
    wait_for_end(&set)?;
    Ok(ExitCode::SUCCESS)
}
