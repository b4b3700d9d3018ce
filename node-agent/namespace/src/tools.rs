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

/// Finds a tool. Where a distribution has only the plain name, what that leads to tells which
/// backend it serves.
pub(crate) fn find(
    backend: Backend,
    family: Family,
    purpose: Purpose,
) -> Result<PathBuf, ToolError> {
    let exact = name(backend, family, purpose);
    let plain = exact.replace(&format!("-{backend}-"), "-");
    let in_places = |name: &str, fits: &dyn Fn(&Path) -> bool| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .chain(USUAL.iter().map(PathBuf::from))
            .map(|directory| directory.join(name))
            .find(|candidate| fits(candidate))
    };
    in_places(&exact, &is_executable)
        .or_else(|| in_places(&plain, &|path| is_executable(path) && serves(path, backend)))
        .ok_or(ToolError::Missing { tool: exact })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// All tools of a backend are links to one program that has the backend in its name.
fn serves(path: &Path, backend: Backend) -> bool {
    let program = path.canonicalize().unwrap_or_default();
    let name = program
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.ends_with(&format!("{backend}-multi"))
}
