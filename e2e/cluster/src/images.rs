//! Images of a cluster's own programs, made by hand.

use crate::programs::Programs;
use anyhow::Result;
use e2e_netlab::Image;
use std::path::{Path, PathBuf};

/// What scenarios' pods run: `podkit`, which without arguments waits for its end.
pub const WORKLOAD: &str = "localhost/podkit:1";
/// The name server's.
pub(crate) const COREDNS: &str = "localhost/coredns:1";

/// Writes the images that every cluster has; gives their archives.
pub(crate) fn write(programs: &Programs, directory: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut workload = Image::of(WORKLOAD, &programs.podkit, "/podkit");
    workload.arguments.push("pause".to_owned());
    let coredns = Image::of(COREDNS, &programs.peer("coredns")?, "/coredns");
    let mut archives = Vec::new();
    for (name, image) in [("podkit.tar", workload), ("coredns.tar", coredns)] {
        let archive = directory.join(name);
        image.write(&archive)?;
        archives.push(archive);
    }
    Ok(archives)
}
