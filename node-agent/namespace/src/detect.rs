//! Finds out which backend works here.

use std::time::Instant;

use node_agent_redirect::{Backend, RedirectPlan};

use crate::apply::apply;
use crate::netns::{Netns, NetnsError};
use crate::undo::check;

/// Why no backend can be used.
#[derive(thiserror::Error, Debug)]
pub enum DetectError {
    /// The trial needs a namespace of its own.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// Neither works.
    #[error(
        "no packet filter works on this node: nft: {nft}; legacy: {legacy}; install iptables and its kernel modules"
    )]
    NoneWorks {
        /// Why not nft.
        nft: String,
        /// Why not legacy.
        legacy: String,
    },
}

/// Finds a backend that can hold this plan, whatever backend the plan names: nft if it works, else
/// legacy. It is tried out in a new, empty namespace that ends with the trial, so neither the host
/// nor a pod keeps a trace, and what others have put on the host cannot change the answer from one
/// start to the next.
///
/// # Errors
/// When neither works, with the reason of each.
pub fn detect_backend(plan: &RedirectPlan, deadline: Instant) -> Result<Backend, DetectError> {
    let Some(nft) = trial(plan, Backend::Nft, deadline)? else {
        return Ok(Backend::Nft);
    };
    match trial(plan, Backend::Legacy, deadline)? {
        None => Ok(Backend::Legacy),
        Some(legacy) => Err(DetectError::NoneWorks { nft, legacy }),
    }
}

/// Why a backend cannot hold the plan.
fn trial(
    plan: &RedirectPlan,
    backend: Backend,
    deadline: Instant,
) -> Result<Option<String>, NetnsError> {
    let ns = Netns::create()?;
    let plan = RedirectPlan {
        backend,
        ..plan.clone()
    };
    if let Err(error) = apply(&ns, &plan, deadline) {
        return Ok(Some(error.to_string()));
    }
    Ok(match check(&ns, &plan, deadline) {
        Ok(drift) if drift.is_empty() => None,
        Ok(drift) => {
            let drift: Vec<String> = drift.iter().map(ToString::to_string).collect();
            Some(format!(
                "rules do not read back as written: {}",
                drift.join("; ")
            ))
        }
        Err(error) => Some(error.to_string()),
    })
}
