//! Changes of files in steps of which the kernel takes each wholly or not at all.
//!
//! A file is made under another name, brought to the disk, and renamed over the one that it
//! replaces, so whoever opens that, at any instant and after any crash, finds a whole file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::InstallError;
use crate::file::Looks;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// An empty file under a name that nobody looks at.
    Begin(PathBuf),
    /// Its content. The only step that can be taken by half.
    Fill(PathBuf, Arc<[u8]>),
    /// Its owner and permissions.
    Dress(PathBuf, Looks),
    /// Its content to the disk.
    Flush(PathBuf),
    /// Nothing, if the file is still what the decision was made upon.
    Expect(PathBuf, Expected),
    /// Its final name.
    Swap { temp: PathBuf, path: PathBuf },
    /// A file's end.
    Remove(PathBuf),
    /// A directory's names to the disk.
    Settle(PathBuf),
    /// A word to the operator: this has come about.
    Say(Change),
}

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whatever it is.
    Anything,
    /// Not there.
    Absent,
    /// This.
    Content(Arc<[u8]>),
}

/// What came about, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// The steps that put a file in place. `tag` tells apart two who do so at the same time.
pub(crate) fn replace(
    path: &Path,
    bytes: impl Into<Arc<[u8]>>,
    looks: Looks,
    expected: Expected,
    tag: u64,
) -> Vec<Step> {
    let temp = temporary(path, tag);
    vec![
        Step::Begin(temp.clone()),
        Step::Fill(temp.clone(), bytes.into()),
        Step::Dress(temp.clone(), looks),
        Step::Flush(temp.clone()),
        Step::Expect(path.to_owned(), expected),
        Step::Swap {
            temp,
            path: path.to_owned(),
        },
        Step::Settle(directory(path)),
    ]
}

/// The steps that remove a file.
pub(crate) fn remove(path: &Path, expected: Expected) -> Vec<Step> {
    vec![
        Step::Expect(path.to_owned(), expected),
        Step::Remove(path.to_owned()),
        Step::Settle(directory(path)),
    ]
}

/// Takes all steps. At the first that fails, what was begun and has no name yet is removed.
pub(crate) fn take(steps: &[Step]) -> Result<Vec<Change>, InstallError> {
    let mut changes = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if let Err(error) = step.take() {
            abandon(&steps[..at]);
            return Err(error);
        }
        if let Step::Say(change) = step {
            changes.push(change.clone());
        }
    }
    Ok(changes)
}

/// Whether a file of this name is one that was begun and not finished.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.contains(MARK)
}

impl Step {
    /// Takes the step.
    pub(crate) fn take(&self) -> Result<(), InstallError> {
        let (doing, path, outcome) = match self {
            Self::Begin(temp) => ("create", temp, begin(temp)),
            Self::Fill(temp, bytes) => ("write", temp, fill(temp, bytes)),
            Self::Dress(temp, looks) => ("set the permissions of", temp, dress(temp, *looks)),
            Self::Flush(path) | Self::Settle(path) => ("flush", path, flush(path)),
            Self::Expect(path, expected) => return expect(path, expected),
            Self::Swap { temp, path } => ("replace", path, std::fs::rename(temp, path)),
            Self::Remove(path) => ("remove", path, absent_is_fine(std::fs::remove_file(path))),
            Self::Say(change) => {
                tracing::info!(path = %change.path.display(), "{}", change.what);
                return Ok(());
            }
        };
        outcome.map_err(|source| InstallError::failed(doing, path, source))
    }
}

fn begin(temp: &Path) -> io::Result<()> {
    absent_is_fine(std::fs::remove_file(temp))?;
    let options = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temp);
    options.map(drop)
}

fn fill(temp: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(temp)?.write_all(bytes)
}

fn dress(temp: &Path, looks: Looks) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let file = File::open(temp)?;
    let found = file.metadata()?;
    if let Some((uid, gid)) = looks.owner
        && (uid, gid) != (found.uid(), found.gid())
    {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(looks.mode))
}

fn flush(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn expect(path: &Path, expected: &Expected) -> Result<(), InstallError> {
    let found = match expected {
        Expected::Anything => return Ok(()),
        Expected::Absent | Expected::Content(_) => read(path),
    };
    let found = found.map_err(|source| InstallError::failed("read", path, source))?;
    let as_expected = match (expected, found) {
        (Expected::Content(bytes), Some(found)) => found == **bytes,
        (Expected::Content(_), None) => false,
        (_, found) => found.is_none(),
    };
    if as_expected {
        Ok(())
    } else {
        Err(InstallError::Changed {
            path: path.to_owned(),
        })
    }
}

/// What is in a file, if it is there.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn abandon(taken: &[Step]) {
    for step in taken {
        if let Step::Begin(temp) = step {
            // What cannot be removed now is removed at the next start.
            let _stays = std::fs::remove_file(temp);
        }
    }
}

pub(crate) fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// No runtime looks at a name with this ending, and none executes it.
fn temporary(path: &Path, tag: u64) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory(path).join(format!(".{name}{MARK}{tag}"))
}

fn directory(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

const MARK: &str = ".ambient-tmp-";
