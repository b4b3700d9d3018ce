use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Key and certificate files are a few hundred bytes.
const LARGEST: u64 = 64 * 1024;

/// Why a key or certificate file was not read or made.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner can read the key.
    #[error(
        "{path} holds a private key and has mode {mode:03o}: others than its owner could read or replace it; run chmod 600 on it",
        path = .path.display()
    )]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a directory, a device or of absurd size.
    #[error("{path} is not a key or certificate file: it is no regular file or too large", path = .path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It is there already.
    #[error("{path} exists and is not overwritten; remove it if it is no longer needed", path = .path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads a file everybody may see.
pub(crate) fn read_public(path: &Path) -> Result<String, FileError> {
    read(path, |_mode| false).map(|mut text| std::mem::take(&mut *text))
}

/// Reads a file only its owner may see; the text is wiped when it goes.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, FileError> {
    read(path, |mode| mode & 0o077 != 0)
}

fn read(path: &Path, too_open: impl Fn(u32) -> bool) -> Result<Zeroizing<String>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    // The open file is asked, not the path: what is checked is what is read. A FIFO must not hang.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() || facts.len() > LARGEST {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mode = facts.permissions().mode() & 0o777;
    if too_open(mode) {
        return Err(FileError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    // Room for all of it, so that growing does not leave copies behind.
    let room = usize::try_from(facts.len()).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// From the kernel's interface; the same on every architecture we build for.
const O_NONBLOCK: i32 = 0o4000;

/// Makes a file that either is there whole or not at all, and never replaces one.
pub(crate) fn create(path: &Path, text: &str, mode: u32) -> Result<(), FileError> {
    let failed = |source| FileError::Write {
        path: path.to_owned(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let mut draft_name = std::ffi::OsString::from(".");
    draft_name.push(name);
    let random = getrandom::u64().map_err(|why| failed(io::Error::other(why.to_string())))?;
    draft_name.push(format!(".{random:016x}"));
    let draft = Draft(folder.join(draft_name));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft.0)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    // Unlike a rename, a link fails when the name is taken.
    std::fs::hard_link(&draft.0, path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists {
            path: path.to_owned(),
        },
        _ => failed(source),
    })?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// A file under a passing name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there if it could not be made; otherwise a leftover with mode 0600 harms nobody.
        let _absent = std::fs::remove_file(&self.0);
    }
}
