//! `ambient-agent install` and `ambient-agent uninstall`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use node_agent_installer::Installer;
use node_agent_namespace::Wanted;
use node_agent_redirect::{Backend, CHAIN_NODE, Exemption};
use node_agent_settings::Settings;
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
    text.push_str(&forget_the_node(&settings));
    if text.is_empty() {
        text.push_str("nothing was installed\n");
    }
    Ok(text)
}

/// Takes out what an agent that ran here has left in the node's own namespace. One that runs puts it
/// back; where this program may not look, nothing that captures is left behind.
fn forget_the_node(settings: &Settings) -> String {
    let nothing = Exemption::default();
    let wanted = Wanted {
        exemption: &nothing,
        before: Some(&nothing),
        backend: None,
        otherwise: Backend::Nft,
    };
    match node_agent_namespace::exempt(&settings.proc_dir, &wanted, Instant::now() + NODE) {
        Ok(done) if done.changed.is_empty() => String::new(),
        Ok(_) => format!("the node's packet rules: removed the chain {CHAIN_NODE}\n"),
        Err(error) => {
            tracing::debug!(%error, "the node's own rules cannot be looked at");
            String::new()
        }
    }
}

/// The node's rules are looked through within this time.
const NODE: Duration = Duration::from_secs(10);

/// The image has the plugin next to this program.
fn beside() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
}
