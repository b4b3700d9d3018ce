//! The plugin's own file, from the image to the host.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::entry::PLUGIN;
use crate::error::InstallError;
use crate::file::Looks;
use crate::step::{Change, Expected, Step, replace};

/// The plugin as it came with us.
#[derive(Debug)]
pub(crate) struct Program {
    source: PathBuf,
    /// Copies that were compared with the source, so that each is read once.
    verified: Vec<Copy>,
}

/// A file, the source that it was compared with, and itself.
type Copy = (PathBuf, Fingerprint, Fingerprint);

/// Which file it was, and when it was last changed.
type Fingerprint = (u64, u64, u64, i64, i64, u32);

impl Program {
    pub(crate) fn new(source: PathBuf) -> Self {
        Self {
            source,
            verified: Vec::new(),
        }
    }

    /// What puts the plugin into each directory in which it is not yet, or not this one. Whoever
    /// executes the old one goes on doing so.
    pub(crate) fn steps(
        &mut self,
        directories: &[PathBuf],
        tag: u64,
    ) -> Result<Vec<Step>, InstallError> {
        let path = self.source.clone();
        let missing = |source| InstallError::NoProgram {
            path: path.clone(),
            source,
        };
        let source = fingerprint(&fs::metadata(&self.source).map_err(&missing)?);
        let mut bytes: Option<Arc<[u8]>> = None;
        let mut steps = Vec::new();
        for directory in directories {
            let path = directory.join(PLUGIN);
            let there = fs::symlink_metadata(&path).ok();
            let seen = there
                .as_ref()
                .map(|found| (path.clone(), source, fingerprint(found)));
            if seen
                .as_ref()
                .is_some_and(|seen| self.verified.contains(seen))
            {
                continue;
            }
            let bytes = match &bytes {
                Some(bytes) => bytes,
                None => bytes.insert(fs::read(&self.source).map_err(&missing)?.into()),
            };
            if there.is_some_and(|found| is_good(&path, &found, bytes)) {
                self.remember(&path, seen);
            } else {
                let what = seen.map_or(INSTALLED, |_| REPLACED);
                steps.extend(put(&path, bytes, what, tag));
            }
        }
        Ok(steps)
    }

    fn remember(&mut self, path: &Path, seen: Option<Copy>) {
        self.verified.retain(|(known, ..)| known != path);
        self.verified.extend(seen);
    }
}

fn put(path: &Path, bytes: &Arc<[u8]>, what: &'static str, tag: u64) -> Vec<Step> {
    let (bytes, looks) = (Arc::clone(bytes), Looks::PROGRAM);
    let mut steps = replace(path, bytes, looks, Expected::Anything, tag);
    steps.push(Step::Say(Change {
        what,
        path: path.to_owned(),
    }));
    steps
}

fn is_good(path: &Path, found: &Metadata, wanted: &[u8]) -> bool {
    found.is_file()
        && found.mode() & 0o7777 == Looks::PROGRAM.mode
        && found.len() == wanted.len() as u64
        && fs::read(path).is_ok_and(|bytes| bytes == wanted)
}

fn fingerprint(found: &Metadata) -> Fingerprint {
    (
        found.dev(),
        found.ino(),
        found.size(),
        found.ctime(),
        found.ctime_nsec(),
        found.mode(),
    )
}

const INSTALLED: &str = "the plugin is installed";
const REPLACED: &str = "the plugin was another one and is replaced";
