//! Network configuration documents, edited as text: what is not ours stays as it was, to the byte.

use std::ops::Range;

use cni_plugin_spec::SpecVersion;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::entry::{Entry, Layout, PLUGIN};

/// A document that a runtime would use.
#[derive(Debug, Clone)]
pub(crate) enum Document<'a> {
    /// Several plugins, run in their order.
    List(List<'a>),
    /// One plugin.
    Single(Single<'a>),
}

/// Why a document is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Runtimes do not use it either.
    Invalid(String),
    /// A runtime may use it, and we cannot tell as what.
    Unclear(String),
}

/// The versions that a document declares do not suit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongVersion(pub(crate) String);

/// A list of plugins.
#[derive(Debug, Clone)]
pub(crate) struct List<'a> {
    text: &'a str,
    versions: Vec<String>,
    plugins: Vec<Plugin>,
}

/// A configuration of one plugin.
#[derive(Debug, Clone)]
pub(crate) struct Single<'a> {
    text: &'a str,
    name: String,
    version: String,
    ours: bool,
}

#[derive(Debug, Clone)]
struct Plugin {
    at: Range<usize>,
    ours: bool,
}

#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "cniVersion")]
    version: String,
    #[serde(default, rename = "cniVersions")]
    versions: Vec<String>,
    #[serde(borrow, default)]
    plugins: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPlugin {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "cniVersion")]
    version: String,
    #[serde(default, rename = "type")]
    kind: String,
}

impl<'a> Document<'a> {
    /// Reads the document of the file `name` as runtimes do: `.conflist` is a list, any other one
    /// plugin.
    pub(crate) fn read(name: &str, text: &'a str) -> Result<Self, Unusable> {
        if name.ends_with(".conflist") {
            List::read(text).map(Self::List)
        } else {
            Single::read(text).map(Self::Single)
        }
    }

    /// Whether our plugin is named.
    pub(crate) fn names_us(&self) -> bool {
        match self {
            Self::List(list) => list.names_us(),
            Self::Single(single) => single.ours,
        }
    }

    /// Whether another one is named.
    pub(crate) fn names_others(&self) -> bool {
        match self {
            Self::List(list) => list.plugins.iter().any(|plugin| !plugin.ours),
            Self::Single(single) => !single.ours,
        }
    }
}

impl<'a> List<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, Unusable> {
        let raw: RawList<'a> = object(text)?;
        let invalid = |why: &str| Err(Unusable::Invalid(why.to_owned()));
        if raw.name.is_empty() {
            return invalid("it has no \"name\"");
        }
        if raw.plugins.is_empty() {
            return invalid("it has no \"plugins\"");
        }
        let mut plugins = Vec::new();
        for plugin in raw.plugins {
            let typed: RawPlugin = object(plugin.get())?;
            if typed.kind.is_empty() {
                return invalid("one of its plugins has no \"type\"");
            }
            // The raw value is a part of the text.
            let start = plugin.get().as_ptr() as usize - text.as_ptr() as usize;
            plugins.push(Plugin {
                at: start..start + plugin.get().len(),
                ours: typed.kind == PLUGIN,
            });
        }
        let mut versions = raw.versions;
        if !raw.version.is_empty() {
            versions.push(raw.version);
        }
        Ok(Self {
            text,
            versions,
            plugins,
        })
    }

    pub(crate) fn names_us(&self) -> bool {
        self.plugins.iter().any(|plugin| plugin.ours)
    }

    /// Whether our plugin could speak each version that a runtime may settle on.
    pub(crate) fn check_version(&self) -> Result<(), WrongVersion> {
        let spoken = |version: &String| SpecVersion::parse(version).is_some();
        if !self.versions.is_empty() && self.versions.iter().all(spoken) {
            return Ok(());
        }
        Err(WrongVersion(match self.versions.as_slice() {
            [] => "missing, which means 0.1.0".to_owned(),
            versions => versions.join(" and "),
        }))
    }

    /// The document with our entry, once and never first; none if it is so already.
    pub(crate) fn with(&self, entry: &Entry) -> Option<String> {
        let ours: Vec<usize> = (0..self.plugins.len())
            .filter(|at| self.plugins[*at].ours)
            .collect();
        match ours.as_slice() {
            [] => Some(self.appended(entry)),
            [at] if *at > 0 => self.replaced(*at, entry),
            _ => {
                let bare = self.without();
                let list = List::read(&bare).ok()?;
                // Where nobody but us is in it, there is nothing to stand behind.
                (!list.names_us()).then(|| list.appended(entry))
            }
        }
    }

    /// The document without our entries. Of a document that names nobody else nothing is taken.
    pub(crate) fn without(&self) -> String {
        let Some(first) = self.plugins.iter().position(|plugin| !plugin.ours) else {
            return self.text.to_owned();
        };
        let (front, back) = (&self.plugins[0], &self.plugins[self.plugins.len() - 1]);
        let mut text = self.text[..front.at.start].to_owned();
        for (at, plugin) in self.plugins.iter().enumerate().filter(|(_, p)| !p.ours) {
            if at > first {
                let separator = self.plugins[at - 1].at.end..plugin.at.start;
                text.push_str(&self.text[separator]);
            }
            text.push_str(&self.text[plugin.at.clone()]);
        }
        text.push_str(&self.text[back.at.end..]);
        text
    }

    fn appended(&self, entry: &Entry) -> String {
        let last = self.plugins.len() - 1;
        let gap = self.gap_before(last);
        let end = self.plugins[last].at.end;
        let entry = match layout(gap) {
            Some(layout) => format!(
                ",{}{}{}",
                layout.line_break,
                layout.indent,
                entry.pretty(&layout)
            ),
            None => format!(",{gap}{}", entry.compact()),
        };
        format!("{}{entry}{}", &self.text[..end], &self.text[end..])
    }

    fn replaced(&self, at: usize, entry: &Entry) -> Option<String> {
        let place = self.plugins[at].at.clone();
        if entry.is_said_by(&self.text[place.clone()]) {
            return None;
        }
        let entry = match layout(self.gap_before(at)) {
            Some(layout) => entry.pretty(&layout),
            None => entry.compact(),
        };
        let (before, after) = (&self.text[..place.start], &self.text[place.end..]);
        Some(format!("{before}{entry}{after}"))
    }

    /// The white space in front of a plugin.
    fn gap_before(&self, at: usize) -> &'a str {
        let before = &self.text[..self.plugins[at].at.start];
        &before[before.trim_end_matches([' ', '\t', '\r', '\n']).len()..]
    }
}

impl<'a> Single<'a> {
    fn read(text: &'a str) -> Result<Self, Unusable> {
        let raw: RawPlugin = object(text)?;
        if raw.kind.is_empty() {
            return Err(Unusable::Invalid("it has no \"type\"".to_owned()));
        }
        Ok(Self {
            text: text.trim(),
            name: raw.name,
            version: raw.version,
            ours: raw.kind == PLUGIN,
        })
    }

    /// The list that a runtime would make of it, and our entry. Name and version are the plugin's:
    /// address managers keep their books by the network's name.
    pub(crate) fn wrapped(&self, entry: &Entry) -> Result<String, WrongVersion> {
        let version = match (self.version.as_str(), SpecVersion::parse(&self.version)) {
            (_, Some(version)) => version,
            // There were no lists yet.
            ("" | "0.1.0" | "0.2.0", None) => SpecVersion::V0_3_1,
            (other, None) => return Err(WrongVersion(other.to_owned())),
        };
        let name = if self.name.is_empty() {
            NAMELESS
        } else {
            &self.name
        };
        let name = serde_json::Value::from(name);
        let layout = Layout {
            line_break: "\n",
            indent: "    ",
            unit: "  ",
        };
        let entry = entry.pretty(&layout);
        Ok(format!(
            "{{\n  \"cniVersion\": \"{version}\",\n  \"name\": {name},\n  \"plugins\": [\n    \
             {},\n    {entry}\n  ]\n}}\n",
            self.text
        ))
    }
}

/// How lines are laid out behind this white space; none if all is on one line.
fn layout(gap: &str) -> Option<Layout<'_>> {
    let (before, indent) = gap.rsplit_once('\n')?;
    let half = indent.len() / 2;
    Some(Layout {
        line_break: if before.ends_with('\r') { "\r\n" } else { "\n" },
        indent,
        // Plugins stand two levels deep.
        unit: if half > 0 && indent.len().is_multiple_of(2) {
            &indent[..half]
        } else {
            "  "
        },
    })
}

/// Reads an object: the decoder would take a list of a structure's members as well.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Unusable> {
    if !text.trim_start().starts_with('{') {
        let why = "it is no configuration: no JSON object";
        return Err(Unusable::Invalid(why.to_owned()));
    }
    serde_json::from_str(text).map_err(|error| not_read(&error))
}

fn not_read(error: &serde_json::Error) -> Unusable {
    let why = error.to_string();
    // Go's decoder takes the last of several members of a name; which one is meant, nobody knows.
    if why.contains("duplicate field") {
        return Unusable::Unclear(format!("a member stands there twice: {why}"));
    }
    Unusable::Invalid(format!("it is no configuration: {why}"))
}

/// What networks without a name are called.
const NAMELESS: &str = "k8s-pod-network";

#[cfg(test)]
mod tests;
