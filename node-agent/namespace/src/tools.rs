//! Where the packet filter's tools are.

use std::env;
use std::path::{Path, PathBuf};

use node_agent_redirect::{Backend, Family};

use crate::process::ToolError;

/// Looked at after `PATH`, which container runtimes often leave poor.
const USUAL: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"];

/// What a tool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Installs rules.
    Restore,
    /// Shows rules.
    Save,
}

/// The name of a tool, as every distribution that has both backends calls it.
pub(crate) fn name(backend: Backend, family: Family, purpose: Purpose) -> String {
    let family = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let purpose = match purpose {
        Purpose::Restore => "restore",
        Purpose::Save => "save",
    };
    format!("{family}-{backend}-{purpose}")
}

/// Finds a tool.
pub(crate) fn find(
    backend: Backend,
    family: Family,
    purpose: Purpose,
) -> Result<PathBuf, ToolError> {
    let name = name(backend, family, purpose);
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .chain(USUAL.iter().map(PathBuf::from))
        .map(|directory| directory.join(&name))
        .find(|candidate| is_executable(candidate))
        .ok_or(ToolError::Missing { tool: name })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
