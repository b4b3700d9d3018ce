//! Where the programs are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use node_agent_redirect::{Backend, Family};

/// Where such programs live, whether or not the search path says so.
const USUAL: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Save,
    Restore,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Save => "save",
            Action::Restore => "restore",
        }
    }
}

/// The name of the program.
pub(crate) fn name(backend: Backend, family: Family, action: Action) -> String {
    let stem = stem(family);
    format!("{stem}-{backend}-{}", action.name())
}

fn stem(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Finds the program. Where only the unspecific name exists, what it is a link to tells which
/// backend it drives.
pub(crate) fn find(backend: Backend, family: Family, action: Action) -> Option<PathBuf> {
    let exact = name(backend, family, action);
    let plain = format!("{}-{}", stem(family), action.name());
    places()
        .map(|place| place.join(&exact))
        .find(|path| path.is_file())
        .or_else(|| {
            places()
                .map(|place| place.join(&plain))
                .find(|path| drives(path, backend))
        })
}

fn places() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|place| place.is_absolute())
        .collect();
    named.into_iter().chain(USUAL.map(PathBuf::from))
}

fn drives(path: &Path, backend: Backend) -> bool {
    let Ok(program) = path.canonicalize() else {
        return false;
    };
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or("");
    name.contains(match backend {
        Backend::Nft => "nft-multi",
        Backend::Legacy => "legacy-multi",
    })
}
