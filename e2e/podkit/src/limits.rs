//! Room for many connections.

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Takes all the descriptors that it may have.
pub(crate) fn raise_descriptors() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(())
}
