//! Gives a node back as it was.

use std::path::{Path, PathBuf};

use nix::fcntl::FlockArg;
use node_agent_settings::{OWNED_CONFLIST, Settings};

use crate::entry::PLUGIN;
use crate::error::InstallError;
use crate::host::{Host, clear_temporaries};
use crate::installer::{Store, act_steps};
use crate::record::Record;
use crate::step::{self, Change, Expected, Step};
use crate::undo;

/// Takes the plugin out of the runtime's configuration, then off the node. May be repeated, and
/// begun anew after it was interrupted.
///
/// # Errors
/// An installer runs, or the node does not let us; the plugin stays as long as a configuration may
/// name it.
pub fn uninstall(settings: &Settings) -> Result<Vec<Change>, InstallError> {
    let store = Store::open(&settings.cni_state_dir, FlockArg::LockExclusiveNonblock)?;
    let changes = step::take(&prepare(settings, &store)?)?;
    // Whatever else is there is not ours.
    let _not_empty = std::fs::remove_dir(store.directory());
    Ok(changes)
}

/// Everything to do, in order.
pub(crate) fn prepare(settings: &Settings, store: &Store) -> Result<Vec<Step>, InstallError> {
    let host = Host::new(&settings.cni_host_root);
    let record = store.load()?;
    let mut steps = Vec::new();
    for directory in conf_dirs(settings, &record) {
        steps.extend(given_back(&host, &directory, settings, &record)?);
    }
    for directory in bin_dirs(settings, &record) {
        let Some(found) = there(&host, &directory, "cniBinDir")? else {
            continue;
        };
        clear_temporaries(&found)?;
        let path = found.join(PLUGIN);
        if path.symlink_metadata().is_ok() {
            steps.extend(step::remove(&path, Expected::Anything));
            let what = "the plugin is removed";
            steps.push(Step::Say(Change { what, path }));
        }
    }
    steps.extend(step::remove(&store.path(), Expected::Anything));
    Ok(steps)
}

fn given_back(
    host: &Host,
    directory: &Path,
    settings: &Settings,
    record: &Record,
) -> Result<Vec<Step>, InstallError> {
    if there(host, directory, "cniConfDir")?.is_none() {
        return Ok(Vec::new());
    }
    let seen = host.look(directory)?;
    for place in seen.directories() {
        clear_temporaries(&place)?;
    }
    let own = [settings.cni_conflist_name_in_force(), OWNED_CONFLIST];
    let acts = undo::uninstall(directory, &own, &seen.files, record);
    let tag = record.generation + 1;
    Ok(acts
        .iter()
        .flat_map(|act| act_steps(act, &seen, tag))
        .collect())
}

/// A directory that is not there holds nothing of ours; but one that is not mounted may.
fn there(
    host: &Host,
    directory: &Path,
    setting: &'static str,
) -> Result<Option<PathBuf>, InstallError> {
    match host.directory(directory, setting) {
        Ok(found) => Ok(Some(found)),
        Err(InstallError::Missing { .. }) if host.is_here() => Ok(None),
        Err(error) => Err(error),
    }
}

fn conf_dirs(settings: &Settings, record: &Record) -> Vec<PathBuf> {
    let recorded = record.files.iter().map(|kept| kept.directory.clone());
    distinct(recorded.chain([settings.cni_conf_dir_in_force().to_owned()]))
}

fn bin_dirs(settings: &Settings, record: &Record) -> Vec<PathBuf> {
    distinct(
        record
            .bin_dirs
            .iter()
            .cloned()
            .chain(settings.cni_bin_dirs_in_force()),
    )
}

fn distinct(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    paths.dedup();
    paths
}
