//! Compares a node with what is wanted, and closes the gap.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use node_agent_settings::{CniMode, Settings};

use crate::entry::{Entry, PLUGIN};
use crate::error::InstallError;
use crate::file::Looks;
use crate::host::{Host, Seen, clear_temporaries};
use crate::plan::{Act, Plan, Wanted, Why, plan};
use crate::program::Program;
use crate::record::{Kept, Record};
use crate::refusal::Refusal;
use crate::step::{self, Change, Expected, Step, replace};

/// Installs the plugin on one node.
#[derive(Debug)]
pub struct Installer {
    host: Host,
    conf_dir: PathBuf,
    bin_dirs: Vec<PathBuf>,
    mode: CniMode,
    own: String,
    primary: Option<String>,
    entry: Entry,
    program: Program,
    store: Store,
    generation: u64,
    /// Directories without leftovers of interrupted installers.
    cleared: Vec<PathBuf>,
}

/// What a pass found and did.
#[derive(Debug)]
pub struct Pass {
    /// What came about; each was said.
    pub changes: Vec<Change>,
    /// Files that the runtime would have taken, were they any use.
    pub passed_over: Vec<(String, String)>,
}

/// Everything to do, in order, and why it is not all.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) steps: Vec<Step>,
    pub(crate) passed_over: Vec<(String, String)>,
    refusal: Option<Refusal>,
}

impl Installer {
    /// The installer of these settings. `beside` is where the plugin is unless they say otherwise.
    ///
    /// # Errors
    /// The directory for the record cannot be used.
    pub fn open(settings: &Settings, beside: &Path) -> Result<Self, InstallError> {
        let store = Store::open(&settings.cni_state_dir, FlockArg::LockSharedNonblock)?;
        let generation = store.load()?.generation + 1;
        let source = settings.cni_plugin_program.clone();
        Ok(Self {
            host: Host::new(&settings.cni_host_root),
            conf_dir: settings.cni_conf_dir_in_force().to_owned(),
            bin_dirs: settings.cni_bin_dirs_in_force(),
            mode: settings.cni_mode_in_force(),
            own: settings.cni_conflist_name_in_force().to_owned(),
            primary: settings.cni_primary_name.clone(),
            entry: Entry::new(settings),
            program: Program::new(source.unwrap_or_else(|| beside.join(PLUGIN))),
            store,
            generation,
            cleared: Vec::new(),
        })
    }

    /// Closes the gap between what is and what is wanted, if there is one.
    ///
    /// # Errors
    /// It could not be closed wholly. Whatever was done is whole, and the next pass goes on.
    pub fn pass(&mut self) -> Result<Pass, InstallError> {
        let prepared = self.prepare()?;
        let changes = step::take(&prepared.steps)?;
        match prepared.refusal {
            Some(refusal) => Err(refusal.into()),
            None => Ok(Pass {
                changes,
                passed_over: prepared.passed_over,
            }),
        }
    }

    /// Directories in which a change by others calls for another pass; of those that are there.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let found = self
            .bin_dirs
            .iter()
            .filter_map(|dir| self.host.find(dir).ok());
        let looked_at = self.host.look(&self.conf_dir);
        let conf = looked_at.map(|seen| seen.directories()).unwrap_or_default();
        conf.into_iter().chain(found).collect()
    }

    /// The plugin comes before any configuration that names it, and the record before both.
    pub(crate) fn prepare(&mut self) -> Result<Prepared, InstallError> {
        let record = self.store.load()?;
        if record.generation > self.generation {
            return Err(InstallError::Superseded);
        }
        let mut bins = Vec::new();
        for dir in &self.bin_dirs {
            bins.push(self.host.directory(dir, "cniBinDir")?);
        }
        let seen = self.host.look(&self.conf_dir)?;
        self.clear(bins.iter().chain(&seen.directories()))?;
        let plan = plan(&self.wanted(), &seen.files, &record);
        let first = self.record(&record, &plan.first);
        let last = self.record(&record, &plan.last);
        let mut steps = Vec::new();
        if first != record {
            steps.extend(self.store.steps(&first, self.generation));
        }
        steps.extend(self.program.steps(&bins, self.generation)?);
        steps.extend(steps_of(&plan, &seen, self.generation));
        if last != first {
            steps.extend(self.store.steps(&last, self.generation));
        }
        Ok(Prepared {
            steps,
            passed_over: plan.passed_over,
            refusal: plan.refusal,
        })
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            mode: self.mode,
            directory: &self.conf_dir,
            own: &self.own,
            primary: self.primary.as_deref(),
            entry: &self.entry,
        }
    }

    fn record(&self, before: &Record, files: &[Kept]) -> Record {
        let mut after = before.clone();
        after.generation = self.generation;
        after.files = files.to_vec();
        for dir in &self.bin_dirs {
            if !after.bin_dirs.contains(dir) {
                after.bin_dirs.push(dir.clone());
            }
        }
        after
    }

    fn clear<'a>(
        &mut self,
        directories: impl Iterator<Item = &'a PathBuf>,
    ) -> Result<(), InstallError> {
        for directory in directories {
            if !self.cleared.contains(directory) {
                clear_temporaries(directory)?;
                self.cleared.push(directory.clone());
            }
        }
        Ok(())
    }
}

fn steps_of(plan: &Plan, seen: &Seen, tag: u64) -> Vec<Step> {
    plan.acts
        .iter()
        .flat_map(|act| act_steps(act, seen, tag))
        .collect()
}

/// The steps of one change.
pub(crate) fn act_steps(act: &Act, seen: &Seen, tag: u64) -> Vec<Step> {
    let content = |text: &String| Expected::Content(text.as_bytes().into());
    let (path, mut steps, why) = match act {
        Act::Put {
            name,
            text,
            looks,
            instead_of,
            why,
        } => {
            let path = seen.place(name);
            let expected = instead_of.as_ref().map_or(Expected::Absent, content);
            let steps = replace(&path, text.as_bytes(), *looks, expected, tag);
            (path, steps, why)
        }
        Act::Drop { name, was, why } => {
            let path = seen.name(name);
            let steps = step::remove(&path, content(was));
            (path, steps, why)
        }
    };
    let what = match (act, why) {
        (Act::Put { .. }, Why::Joins) => "the plugin joined the primary plugin's list",
        (Act::Put { .. }, Why::Wraps) => "the primary plugin's configuration became a list",
        (Act::Put { .. }, Why::Follows) => "our own configuration is written",
        (Act::Put { .. }, Why::Restores) => "the plugin left the configuration",
        (Act::Drop { .. }, Why::Wraps) => "the list takes the place of the configuration",
        (Act::Drop { .. }, _) => "our own configuration is removed",
    };
    steps.push(Step::Say(Change { what, path }));
    steps
}

/// The directory with the record.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// Shared by installers, held alone by an uninstall; nobody waits for it.
    _lock: Flock<File>,
}

impl Store {
    pub(crate) fn open(directory: &Path, lock: FlockArg) -> Result<Self, InstallError> {
        let failed = |doing| move |source| InstallError::failed(doing, directory, source);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create"))?;
        let opened = File::open(directory).map_err(failed("open"))?;
        let lock = Flock::lock(opened, lock).map_err(|_| InstallError::Busy)?;
        clear_temporaries(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// The record; an empty one if there is none, or none that can be read.
    pub(crate) fn load(&self) -> Result<Record, InstallError> {
        let path = self.path();
        let bytes = step::read(&path).map_err(|e| InstallError::failed("read", &path, e))?;
        let Some(bytes) = bytes else {
            return Ok(Record::default());
        };
        Record::decode(&bytes).or_else(|why| {
            let aside = path.with_extension("json.damaged");
            std::fs::rename(&path, &aside)
                .map_err(|error| InstallError::failed("set aside", &path, error))?;
            tracing::error!(
                why,
                set_aside = %aside.display(),
                "the record of what was installed is damaged; an uninstall will take out our \
                 entries, and cannot tell how single configurations were called"
            );
            Ok(Record::default())
        })
    }

    fn steps(&self, record: &Record, tag: u64) -> Vec<Step> {
        replace(
            &self.path(),
            record.encode(),
            Looks::PRIVATE,
            Expected::Anything,
            tag,
        )
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(RECORD)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

const RECORD: &str = "installed.json";

#[cfg(test)]
mod tests;
