//! `ambient-agent install` and `ambient-agent uninstall`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use node_agent_installer::Installer;
use tokio::signal::unix::{SignalKind, signal};

use crate::config_file::read_settings;
use crate::hold::log;

/// How long to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until all is installed.
    Done,
    /// Until a signal.
    Stopped,
}

/// Installs the plugin, and keeps it so.
pub(crate) fn install(config: &Path, until: Until) -> anyhow::Result<()> {
    let settings = read_settings(config)?;
    log::start(&settings)?;
    let installer = Installer::open(&settings, &beside()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match until {
            Until::Done => node_agent_installer::once(installer)
                .await
                .map(drop)
                .map_err(anyhow::Error::from),
            Until::Stopped => {
                let mut terminate = signal(SignalKind::terminate())?;
                let mut interrupt = signal(SignalKind::interrupt())?;
                let stop = async move {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                };
                node_agent_installer::keep(installer, stop)
                    .await
                    .context("cannot watch the runtime's directories")?;
                tracing::info!("stopped; what is installed stays");
                Ok(())
            }
        }
    })
}

/// Takes the plugin off the node; says what was done.
pub(crate) fn uninstall(config: &Path) -> anyhow::Result<String> {
    let settings = read_settings(config)?;
    let mut text = String::new();
    for change in node_agent_installer::uninstall(&settings)? {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {}", change.path.display(), change.what);
    }
    if text.is_empty() {
        text.push_str("nothing was installed\n");
    }
    Ok(text)
}

/// The image has the plugin next to this program.
fn beside() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
}
