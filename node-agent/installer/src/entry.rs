//! The plugin's own part of a network configuration.

use cni_plugin_spec::SpecVersion;
use node_agent_settings::Settings;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

/// The plugin's file name, which is also the `type` by which a configuration names it.
pub(crate) const PLUGIN: &str = "ambient-cni";

/// What the plugin reads of its configuration, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    #[serde(rename = "type")]
    kind: &'static str,
    agent_socket: String,
    deadline_ms: u64,
    exclude_namespaces: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_pod_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_file: Option<String>,
}

impl Entry {
    /// The entry that fits the agent's settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let socket = settings.cni_agent_socket.as_ref();
        let allowed = settings.admission_deadline.as_millis();
        let log_file = settings.cni_log_file.as_ref();
        Self {
            kind: PLUGIN,
            agent_socket: socket.unwrap_or(&settings.socket).display().to_string(),
            // Where the agent gives up, its answer must still find somebody who waits.
            deadline_ms: u64::try_from(allowed)
                .unwrap_or(u64::MAX)
                .saturating_add(GRACE_MS)
                .min(MOST_MS),
            exclude_namespaces: settings.exclude_namespaces.clone(),
            agent_namespace: settings.agent_namespace.clone(),
            // Without a namespace the plugin does not look at names.
            agent_pod_prefix: settings
                .agent_namespace
                .is_some()
                .then(|| settings.agent_pod_prefix.clone()),
            log_file: log_file.map(|path| path.display().to_string()),
        }
    }

    /// Whether this text says the same, whatever its format.
    pub(crate) fn is_said_by(&self, text: &str) -> bool {
        let said: Result<Value, _> = serde_json::from_str(text);
        matches!((said, serde_json::to_value(self)), (Ok(said), Ok(meant)) if said == meant)
    }

    /// On one line.
    pub(crate) fn compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// On several lines, the first of which is already indented by `indent`.
    pub(crate) fn pretty(&self, layout: &Layout<'_>) -> String {
        let mut bytes = Vec::new();
        let formatter = PrettyFormatter::with_indent(layout.unit.as_bytes());
        let written = self.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
        let text = written.ok().and_then(|()| String::from_utf8(bytes).ok());
        // No text of ours holds a line break: JSON writes it as an escape.
        let line_break = format!("{}{}", layout.line_break, layout.indent);
        text.unwrap_or_default().replace('\n', &line_break)
    }

    /// A document with our plugin alone, under a name by which it can be asked for.
    pub(crate) fn alone(&self, file: &str) -> String {
        let version = SpecVersion::V1_0_0;
        if file.ends_with(".conflist") {
            let layout = Layout {
                line_break: "\n",
                indent: "    ",
                unit: "  ",
            };
            let entry = self.pretty(&layout);
            return format!(
                "{{\n  \"cniVersion\": \"{version}\",\n  \"name\": \"{PLUGIN}\",\n  \"plugins\": [\n    \
             {entry}\n  ]\n}}\n"
            );
        }
        let layout = Layout {
            line_break: "\n",
            indent: "",
            unit: "  ",
        };
        let entry = self.pretty(&layout);
        let members = entry.trim_start_matches(['{', '\n']);
        format!("{{\n  \"cniVersion\": \"{version}\",\n  \"name\": \"{PLUGIN}\",\n{members}\n")
    }
}

/// How the surroundings are laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// How lines end.
    pub(crate) line_break: &'a str,
    /// What the entry's lines begin with.
    pub(crate) indent: &'a str,
    /// One level of indentation.
    pub(crate) unit: &'a str,
}

/// What the plugin is allowed beyond the agent.
const GRACE_MS: u64 = 5_000;
/// The most it takes.
const MOST_MS: u64 = 110_000;
