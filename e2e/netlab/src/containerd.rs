//! A node's own containerd: configuration, start, image.

use crate::cni::Cni;
use crate::command::{find_program, program, run};
use crate::cri::Cri;
use crate::image;
use crate::netns::Netns;
use crate::process::Daemon;
use crate::wait;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// Plugins that cost start-up time or complain here, and serve no pod of ours.
const UNUSED: [&str; 6] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
];

/// A running containerd.
#[derive(Debug)]
pub(crate) struct Containerd {
    pub(crate) socket: PathBuf,
    pub(crate) daemon: Daemon,
    pub(crate) cri: Cri,
}

/// Starts one in a node's network namespace, everything of it below `directory`, and waits for its answer.
pub(crate) fn start(
    netns: &Netns,
    directory: &Path,
    cni: &Cni,
    archive: &Path,
) -> Result<Containerd> {
    std::fs::create_dir_all(directory)?;
    let socket = directory.join("c.sock");
    let config = directory.join("config.toml");
    std::fs::write(&config, configuration(directory, cni)?)?;
    let mut command = netns.command(find_program("containerd")?);
    command.arg("--config").arg(&config);
    let daemon = Daemon::start(
        "containerd",
        &mut command,
        &directory.join("containerd.log"),
    )?;
    let cri = Cri::new(&socket)?;
    wait::until("containerd answers", PATIENCE, || {
        daemon.check()?;
        Ok(cri.version()?)
    })?;
    import(&socket, &cri, archive)?;
    Ok(Containerd {
        socket,
        daemon,
        cri,
    })
}

fn import(socket: &Path, cri: &Cri, archive: &Path) -> Result<()> {
    run(program(find_program("ctr")?)
        .args(["--address", path(socket)?, "--namespace", "k8s.io"])
        .args(["images", "import", "--snapshotter", "overlayfs"])
        .arg(archive))?;
    // The CRI side learns of the image from an event, a moment later.
    wait::until("the image is known to CRI", PATIENCE, || {
        ensure!(cri.has_image(image::NAME)?, "it is not");
        Ok(())
    })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

fn configuration(directory: &Path, cni: &Cni) -> Result<String> {
    let unused: Vec<String> = UNUSED.iter().map(|name| format!("{name:?}")).collect();
    let mut text = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [{}]\n",
        path(&directory.join("root"))?,
        path(&directory.join("state"))?,
        unused.join(", "),
    );
    for (table, file) in [("grpc", "c.sock"), ("ttrpc", "t.sock")] {
        write!(
            text,
            "[{table}]\naddress = {:?}\n",
            path(&directory.join(file))?
        )?;
    }
    write!(
        text,
        "[plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = {:?}\n\
         # No CAP_SYS_RESOURCE may be had in a virtual machine or container that runs tests.\n\
         restrict_oom_score_adj = true\n\
         # Pod namespaces are mounted below our own directory: removing it is removing them.\n\
         netns_mounts_under_state_dir = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"overlayfs\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nRoot = {:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {:?}\nconf_dir = {:?}\n",
        path(&directory.join("opt"))?,
        image::NAME,
        path(&directory.join("runc"))?,
        path(&cni.binaries)?,
        path(&cni.configuration)?,
    )?;
    Ok(text)
}
