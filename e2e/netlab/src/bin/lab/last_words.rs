//! What the agents said last, for a person whose run has failed.

use crate::out::say;
use e2e_netlab::Lab;

const LINES: usize = 20;

/// Says it, as the lab is about to go.
pub(crate) fn of_agents(lab: &Lab) {
    for node in lab.nodes() {
        let log = node.agent_log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        say(&format!(
            "\nThe last words of node {}'s agent:",
            node.name()
        ));
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            say(&format!("  {line}"));
        }
    }
}
