//! Every Rust file of the workspace, with the crate and the role it has.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::graph::{Colour, Graph};
use crate::source::Source;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ships, or helps to build what ships.
    Production,
    /// Exists for tests or benches only.
    Test,
}

/// A source file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the workspace root.
    pub(crate) path: String,
    pub(crate) package: String,
    pub(crate) colour: Colour,
    pub(crate) role: Role,
    pub(crate) is_root: bool,
    pub(crate) source: Source,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct SourceTree {
    pub(crate) files: Vec<SourceFile>,
}

impl SourceTree {
    pub(crate) fn load(root: &Path, graph: &Graph) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for member in graph.members() {
            let directory = root.join(&member.directory);
            let mut paths = Vec::new();
            for below in ["src", "tests", "benches", "examples"] {
                collect(&directory.join(below), &mut paths)?;
            }
            for path in paths {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let inside = path.strip_prefix(&directory).unwrap_or(&path);
                files.push(SourceFile {
                    path: path
                        .strip_prefix(root)
                        .unwrap_or(&path)
                        .display()
                        .to_string(),
                    package: member.name.clone(),
                    colour: member.colour,
                    role: role(inside),
                    is_root: member.roots.iter().any(|root| root == &path),
                    source: Source::new(&text),
                });
            }
        }
        Ok(Self { files })
    }
}

/// By name: `tests.rs` and everything below a `tests`, `benches` or `examples` directory.
fn role(inside_crate: &Path) -> Role {
    let mut parts = inside_crate
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    let named = |part: &str| matches!(part, "tests" | "tests.rs" | "benches" | "examples");
    if parts.any(|part| named(&part)) {
        Role::Test
    } else {
        Role::Production
    }
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn roles_follow_names() {
        for (path, expected) in [
            ("src/lib.rs", Role::Production),
            ("src/attests.rs", Role::Production),
            ("src/writer/tests.rs", Role::Test),
            ("src/tests/log.rs", Role::Test),
            ("tests/netns_apply.rs", Role::Test),
        ] {
            assert_eq!(role(Path::new(path)), expected, "{path}");
        }
    }
}
