//! Connections without traffic, for somebody who looks at what they cost.

use super::exchange::{Request, warm};
use crate::clients::Target;
use crate::result::Tally;
use anyhow::{Context, Result};
use serde_json::json;

const SIZE: u32 = 128;

/// Opens them, says so, and is silent to the end of standard input; then each must still carry a request.
pub(super) fn run(target: &Target, connections: u32, tally: &mut Tally) -> Result<()> {
    let mut request = Request::of_size(SIZE)?;
    let mut lines = Vec::new();
    for number in 0..connections {
        let opened = warm(target, &mut request);
        lines.push(opened.with_context(|| format!("connection {number} of {connections}"))?);
    }
    crate::say(&json!({"ready": true, "connections": connections}).to_string());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    for line in &lines {
        tally.record(request.exchange(line).context("after the silence"));
    }
    Ok(())
}
