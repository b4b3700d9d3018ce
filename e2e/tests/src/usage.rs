//! What an agent's processes cost: memory and processor time, as the kernel counts them.

use crate::Agent;
use anyhow::{Context, Result};
use e2e_netlab::Part;
use e2e_netlab::usage::{kib, processor_time};
use std::time::Duration;

/// Memory in KiB, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident, of the worker.
    pub worker: u64,
    /// Of that, what is backed by no file.
    pub anonymous: u64,
    /// The most the worker ever had, or had since [`forget_peak`].
    pub peak: u64,
    /// Resident, of all processes together; pages that they share count more than once.
    pub all: u64,
}

/// Looks at all processes of an agent.
///
/// # Errors
/// One of them ends meanwhile.
pub fn memory(agent: &Agent) -> Result<Memory> {
    let mut sum = Memory::default();
    for one in agent.processes()? {
        let text = std::fs::read_to_string(format!("/proc/{}/status", one.id.pid))?;
        let read = |key: &str| kib(&text, key).with_context(|| format!("no {key}"));
        sum.all += read("VmRSS")?;
        if one.part == Part::Worker {
            sum.worker += read("VmRSS")?;
            sum.anonymous += read("RssAnon")?;
            sum.peak += read("VmHWM")?;
        }
    }
    Ok(sum)
}

/// Has the kernel count the worker's peak from now on.
///
/// # Errors
/// The kernel refuses.
pub fn forget_peak(agent: &Agent) -> Result<()> {
    for one in agent.processes()? {
        if one.part == Part::Worker {
            std::fs::write(format!("/proc/{}/clear_refs", one.id.pid), "5")?;
        }
    }
    Ok(())
}

/// The processor time that all processes of an agent have had so far, in both modes.
///
/// # Errors
/// One of them ends meanwhile.
pub fn processor(agent: &Agent) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for one in agent.processes()? {
        sum += processor_time(one.id)?;
    }
    Ok(sum)
}
