//! The host's directories, as they are seen from a container.

use std::fs::{self, File as Opened};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::choose::is_candidate;
use crate::error::InstallError;
use crate::file::{Age, Content, File, FileKind, Looks};
use crate::step::is_temporary;

/// Where the host's root directory is.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    root: PathBuf,
}

/// A configuration directory.
#[derive(Debug)]
pub(crate) struct Seen {
    /// In the order in which a runtime takes them.
    pub(crate) files: Vec<File>,
    directory: PathBuf,
    /// Where links lead to.
    links: Vec<(String, PathBuf)>,
}

impl Host {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Whether we see what the host sees.
    pub(crate) fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where something of the host is for us, links followed as the host would.
    pub(crate) fn find(&self, path: &Path) -> io::Result<PathBuf> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let root = Opened::open(&self.root)?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        match openat2(&root, relative, how) {
            Ok(found) => fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())),
            // An old kernel, or a sandbox that does not know the call.
            Err(Errno::ENOSYS | Errno::EPERM) => fs::canonicalize(self.root.join(relative)),
            Err(error) => Err(error.into()),
        }
    }

    /// A directory that a setting names.
    pub(crate) fn directory(
        &self,
        path: &Path,
        setting: &'static str,
    ) -> Result<PathBuf, InstallError> {
        let there = self.root.join(path.strip_prefix("/").unwrap_or(path));
        match self.find(path) {
            Ok(found) if found.is_dir() => Ok(found),
            Ok(path) => Err(InstallError::Missing { path, setting }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(InstallError::Missing {
                path: there,
                setting,
            }),
            Err(error) => Err(InstallError::failed("find", &there, error)),
        }
    }

    /// Reads a configuration directory.
    pub(crate) fn look(&self, path: &Path) -> Result<Seen, InstallError> {
        let directory = self.directory(path, "cniConfDir")?;
        let mut names = names_in(&directory)?;
        names.retain(|name| is_candidate(name));
        names.sort();
        let mut seen = Seen {
            files: Vec::new(),
            directory,
            links: Vec::new(),
        };
        for name in names {
            if let Some(file) = self.file(path, &name, &mut seen) {
                seen.files.push(file);
            }
        }
        Ok(seen)
    }

    /// One file; none if it is a directory, or gone.
    fn file(&self, directory: &Path, name: &str, seen: &mut Seen) -> Option<File> {
        let path = seen.directory.join(name);
        let entry = fs::symlink_metadata(&path).ok()?;
        let mut kind = FileKind::Regular;
        let mut target = Ok(path);
        if entry.is_symlink() {
            kind = FileKind::Link;
            target = self.find(&directory.join(name));
        } else if !entry.is_file() {
            return None;
        }
        let read = target.and_then(|target| {
            if kind == FileKind::Link {
                seen.links.push((name.to_owned(), target.clone()));
            }
            let found = fs::metadata(&target)?;
            Ok((content(&target)?, found))
        });
        let (content, found) = match read {
            Ok((content, found)) => (content, found),
            // Gone since its name was read.
            Err(error) if kind == FileKind::Regular && error.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            Err(error) => (Content::Unreadable(error.to_string()), entry),
        };
        Some(File {
            name: name.to_owned(),
            content,
            looks: Looks {
                mode: found.mode() & 0o7777,
                owner: Some((found.uid(), found.gid())),
            },
            kind,
            age: age(&found),
        })
    }
}

impl Seen {
    /// Where the name itself is.
    pub(crate) fn name(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where a file is written: what a link leads to, not the link.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        let link = self.links.iter().find(|(link, _)| link == name);
        link.map_or_else(|| self.directory.join(name), |(_, target)| target.clone())
    }

    /// Every directory in which something may be written, or change.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let links = self.links.iter().filter_map(|(_, target)| target.parent());
        std::iter::once(self.directory.as_path())
            .chain(links)
            .map(Path::to_owned)
            .collect()
    }
}

/// Removes what was begun there and not finished.
pub(crate) fn clear_temporaries(directory: &Path) -> Result<(), InstallError> {
    for name in names_in(directory)?.iter().filter(|n| is_temporary(n)) {
        let path = directory.join(name);
        crate::step::absent_is_fine(fs::remove_file(&path))
            .map_err(|error| InstallError::failed("remove", &path, error))?;
        tracing::info!(path = %path.display(), "removed what an interrupted installer had begun");
    }
    Ok(())
}

fn names_in(directory: &Path) -> Result<Vec<String>, InstallError> {
    let names = fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
    });
    names.map_err(|error| InstallError::failed("read", directory, error))
}

fn content(path: &Path) -> io::Result<Content> {
    let mut bytes = Vec::new();
    Opened::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Ok(Content::Unreadable("it is larger than 4 MiB".to_owned()));
    }
    Ok(String::from_utf8(bytes).map_or(Content::NotText, Content::Text))
}

fn age(found: &fs::Metadata) -> Age {
    let since = found
        .modified()
        .map(|written| SystemTime::now().duration_since(written));
    match since {
        Ok(Ok(since)) if since < UNFINISHED => Age::Fresh,
        // A time in the future says nothing.
        _ => Age::Settled,
    }
}

const LARGEST: u64 = 4 << 20;
/// Whoever writes a file takes no longer between two writes.
const UNFINISHED: std::time::Duration = std::time::Duration::from_millis(400);
