//! The dependency graph as cargo resolved it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// What a crate may touch. Declared in its manifest as `[package.metadata] colour = "..."`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// No clock, socket, file, environment or randomness.
    Pure,
    /// Tasks, timers, sockets; no policy of its own.
    Io,
    /// May change kernel state.
    Priv,
    /// Builds or checks; does not ship.
    Tool,
    /// Exists for tests.
    Test,
}

/// A package of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) is_proc_macro: bool,
    /// An SPDX expression, if it declares one.
    pub(crate) license: Option<String>,
    /// Where it comes from; nothing if it lies in this repository.
    pub(crate) source: Option<String>,
}

/// A package of ours.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) colour: Colour,
    /// Relative to the workspace root.
    pub(crate) directory: String,
    pub(crate) manifest: String,
    pub(crate) roots: Vec<PathBuf>,
    /// Names of its integration tests.
    pub(crate) tests: Vec<String>,
    /// Registry packages for which its manifest takes any version.
    pub(crate) any_version: Vec<String>,
}

/// Packages and the edges between them, without those only used to test or build.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
    members: Vec<Member>,
    normal: BTreeMap<String, BTreeSet<String>>,
    any: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo, for the platform this runs on.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let host = run(Command::new("rustc").arg("-vV"))?;
        let host = host
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc -vV names no host")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let metadata = run(Command::new(cargo).current_dir(root).args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            host,
        ]))
        .context("when Cargo.lock is out of date, run `cargo check` and commit it")?;
        Self::parse(&serde_json::from_str(&metadata)?, root)
    }

    fn parse(metadata: &Value, root: &Path) -> anyhow::Result<Self> {
        let ours: BTreeSet<&str> = array(metadata, "workspace_members")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let mut graph = Self::default();
        let mut declared = BTreeMap::new();
        for package in array(metadata, "packages")? {
            declared.insert(package["id"].as_str().unwrap_or(""), package);
            let parsed = Package::parse(package)?;
            if ours.contains(parsed.id.as_str()) {
                graph.members.push(Member::parse(package, root)?);
            }
            graph.packages.insert(parsed.id.clone(), parsed);
        }
        for node in array(&metadata["resolve"], "nodes")? {
            graph.read_node(node, &declared)?;
        }
        graph.forget_unreachable();
        Ok(graph)
    }

    fn read_node(&mut self, node: &Value, declared: &BTreeMap<&str, &Value>) -> anyhow::Result<()> {
        let id = text(node, "id")?;
        let package = declared
            .get(id.as_str())
            .context("a node without its package")?;
        let mut normal = BTreeSet::new();
        let mut any = BTreeSet::new();
        for dependency in array(node, "deps")? {
            let target = text(dependency, "pkg")?;
            let name = declared
                .get(target.as_str())
                .and_then(|package| package["name"].as_str());
            if !is_switched_on(package, node, name.unwrap_or("")) {
                continue;
            }
            let kinds = array(dependency, "dep_kinds")?;
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                normal.insert(target.clone());
            }
            any.insert(target);
        }
        self.normal.insert(id.clone(), normal);
        self.any.insert(id, any);
        Ok(())
    }

    fn forget_unreachable(&mut self) {
        let mut seen = BTreeSet::new();
        let mut next: Vec<String> = self
            .members
            .iter()
            .map(|member| member.id.clone())
            .collect();
        while let Some(id) = next.pop() {
            if seen.insert(id.clone()) {
                next.extend(self.any.get(&id).into_iter().flatten().cloned());
            }
        }
        self.packages.retain(|id, _| seen.contains(id));
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Everything resolved for this platform, whatever it is used for.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Normal dependencies named in the manifest of a member.
    pub(crate) fn direct<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Package> {
        let ids = self.normal.get(&member.id).into_iter().flatten();
        ids.filter_map(|id| self.packages.get(id))
    }

    /// Everything linked into a member, itself included; macros run in the compiler and stay out.
    pub(crate) fn linked<'a>(&'a self, member: &'a Member) -> BTreeMap<&'a str, &'a Package> {
        let mut seen = BTreeMap::new();
        let mut next = vec![member.id.as_str()];
        while let Some(id) = next.pop() {
            let Some(package) = self.packages.get(id) else {
                continue;
            };
            if package.is_proc_macro || seen.insert(id, package).is_some() {
                continue;
            }
            next.extend(
                self.normal
                    .get(id)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
        }
        seen
    }
}

impl Package {
    fn parse(package: &Value) -> anyhow::Result<Self> {
        let targets = array(package, "targets")?;
        let is_proc_macro = targets.iter().any(|target| {
            target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|k| k == "proc-macro"))
        });
        Ok(Self {
            id: text(package, "id")?,
            name: text(package, "name")?,
            version: text(package, "version")?,
            is_proc_macro,
            license: package["license"].as_str().map(str::to_owned),
            source: package["source"].as_str().map(str::to_owned),
        })
    }
}

impl Member {
    fn parse(package: &Value, root: &Path) -> anyhow::Result<Self> {
        let manifest = PathBuf::from(text(package, "manifest_path")?);
        let manifest = manifest.strip_prefix(root).unwrap_or(&manifest);
        let name = text(package, "name")?;
        let colour = match package["metadata"]["colour"].as_str() {
            Some("pure") => Colour::Pure,
            Some("io") => Colour::Io,
            Some("priv") => Colour::Priv,
            Some("tool") => Colour::Tool,
            Some("test") => Colour::Test,
            other => bail!(
                "{}:1: {name} has colour {other:?}; give it `[package.metadata] colour` pure, io, \
                 priv, tool or test",
                manifest.display()
            ),
        };
        let mut roots = Vec::new();
        let mut tests = Vec::new();
        for target in array(package, "targets")? {
            let kinds = array(target, "kind")?;
            if kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
                roots.push(PathBuf::from(text(target, "src_path")?));
            } else if kinds.iter().any(|kind| kind == "test") {
                tests.push(text(target, "name")?);
            }
        }
        let directory = manifest
            .parent()
            .unwrap_or(Path::new(""))
            .display()
            .to_string();
        let manifest = manifest.display().to_string();
        Ok(Self {
            id: text(package, "id")?,
            name,
            colour,
            directory,
            manifest,
            roots,
            tests,
            any_version: any_version(package)?,
        })
    }
}

fn any_version(package: &Value) -> anyhow::Result<Vec<String>> {
    let entries = array(package, "dependencies")?.iter();
    let any = entries.filter(|entry| entry["req"] == "*" && entry["path"].is_null());
    any.map(|entry| text(entry, "name")).collect()
}

/// Whether a resolved dependency is really used. Cargo's metadata lists an optional dependency as
/// soon as a feature mentions it weakly (`ring?/alloc`), though nobody asked for it.
fn is_switched_on(package: &Value, node: &Value, name: &str) -> bool {
    let empty = Vec::new();
    let entries = package["dependencies"].as_array().unwrap_or(&empty);
    let features = node["features"].as_array().unwrap_or(&empty);
    let mut named = entries.iter().filter(|entry| entry["name"] == name);
    named.any(|entry| {
        let key = entry["rename"].as_str().unwrap_or(name);
        let asks = |what: &Value| {
            let what = what.as_str().unwrap_or("");
            what.strip_prefix("dep:") == Some(key)
                || what == key
                || what.split_once('/').is_some_and(|(asked, _)| asked == key)
        };
        let by_feature = |feature: &Value| {
            let definition = feature
                .as_str()
                .map(|feature| &package["features"][feature]);
            definition
                .and_then(Value::as_array)
                .is_some_and(|list| list.iter().any(asks))
        };
        entry["optional"] == false || features.iter().any(by_feature)
    })
}

fn array<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    value[key]
        .as_array()
        .with_context(|| format!("cargo metadata without `{key}`"))
}

fn text(value: &Value, key: &str) -> anyhow::Result<String> {
    Ok(value[key]
        .as_str()
        .with_context(|| format!("cargo metadata without `{key}`"))?
        .to_owned())
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {stderr}");
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_weakly_mentioned_dependency_is_not_used() {
        let package = serde_json::json!({
            "dependencies": [
                {"name": "ring", "rename": null, "optional": true},
                {"name": "always", "rename": null, "optional": false},
                {"name": "long-name", "rename": "short", "optional": true},
            ],
            "features": {
                "alloc": ["ring?/alloc"],
                "ring": ["dep:ring"],
                "tls": ["short/std"],
            },
        });
        for (features, name, expected) in [
            (vec!["alloc"], "ring", false),
            (vec!["alloc", "ring"], "ring", true),
            (vec![], "always", true),
            (vec!["alloc"], "long-name", false),
            (vec!["tls"], "long-name", true),
        ] {
            let node = serde_json::json!({ "features": features });
            assert_eq!(
                is_switched_on(&package, &node, name),
                expected,
                "{features:?} {name}"
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Small graphs for the tests of the rules.

    use super::*;

    /// Members as (name, directory, colour), others by name, edges by name.
    pub(crate) fn graph(
        members: &[(&str, &str, Colour)],
        others: &[&str],
        edges: &[(&str, &str)],
    ) -> Graph {
        let mut graph = Graph::default();
        for name in members
            .iter()
            .map(|(name, ..)| *name)
            .chain(others.iter().copied())
        {
            let package = Package {
                id: name.to_owned(),
                name: name.split('@').next().unwrap_or(name).to_owned(),
                version: "1.0.0".to_owned(),
                is_proc_macro: name.ends_with("-macro"),
                license: Some("MIT".to_owned()),
                source: None,
            };
            graph.packages.insert(name.to_owned(), package);
        }
        for (name, directory, colour) in members {
            graph.members.push(Member {
                id: (*name).to_owned(),
                name: (*name).to_owned(),
                colour: *colour,
                directory: (*directory).to_owned(),
                manifest: format!("{directory}/Cargo.toml"),
                roots: Vec::new(),
                tests: Vec::new(),
                any_version: Vec::new(),
            });
        }
        for (from, to) in edges {
            graph
                .normal
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        graph
    }

    impl Graph {
        pub(crate) fn packages_mut(&mut self) -> impl Iterator<Item = &mut Package> {
            self.packages.values_mut()
        }

        pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
            self.members.iter_mut()
        }
    }
}
