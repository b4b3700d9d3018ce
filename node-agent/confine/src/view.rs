//! What the worker sees of the node's files: a list of mounts, made ready before the fork.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};

use crate::start::StartError;

/// One thing that is shown, at the place where the node has it.
pub(crate) struct Entry {
    /// The path, for messages.
    pub(crate) path: PathBuf,
    /// Where it is.
    pub(crate) source: CString,
    /// Directories to make first, from the outermost; below the new root.
    pub(crate) parents: Vec<CString>,
    /// The place; below the new root.
    pub(crate) target: CString,
    /// What the place has to be.
    pub(crate) kind: Kind,
    /// Restrictions of the mount.
    pub(crate) attributes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Who asks for something to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Libraries of a program that is not static.
    Program,
    /// To be read.
    Read,
    /// To be written as well.
    Write,
}

/// Shown to every worker, where the node has it: itself, how many processors it may use, what the
/// allocator asks, and the devices that the C library and the source of randomness open.
const ALWAYS: [&str; 8] = [
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/proc/self",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// What a program needs that is linked dynamically; the shipped one is not.
const LIBRARIES: [&str; 3] = ["/lib", "/lib64", "/usr/lib"];

/// Outermost first; of equals the one that may be written.
pub(crate) fn entries(
    readable: &[PathBuf],
    writable: &[PathBuf],
) -> Result<Vec<Entry>, StartError> {
    let mut wanted = straight(wanted(readable, writable)?);
    // Stable, so that of equal paths the one that is named last is mounted last, on top.
    wanted.sort_by_key(|(path, _)| path.components().count());
    let mut all: Vec<Entry> = Vec::new();
    for (path, purpose) in wanted {
        let entry = Entry::new(path, purpose)?;
        let covering = all
            .iter()
            .rfind(|outer| entry.path.starts_with(&outer.path));
        if !covering.is_some_and(|outer| outer.shows_the_same(&entry)) {
            all.push(entry);
        }
    }
    if all.len() > usize::from(u8::MAX) {
        return Err(StartError::TooMany(all.len()));
    }
    Ok(all)
}

/// What every worker needs, and what this one shall have.
fn wanted(readable: &[PathBuf], writable: &[PathBuf]) -> Result<Vec<(PathBuf, Use)>, StartError> {
    let libraries = if cfg!(target_feature = "crt-static") {
        &[][..]
    } else {
        &LIBRARIES
    };
    let ours = libraries.iter().map(|path| (*path, Use::Program));
    let ours = ours.chain(ALWAYS.iter().map(|path| (*path, Use::Read)));
    let ours = ours.map(|(path, purpose)| (PathBuf::from(path), purpose));
    let mut all: Vec<_> = ours.filter(|(path, _)| path.exists()).collect();
    let theirs = readable.iter().map(|path| (path, Use::Read));
    for (path, purpose) in theirs.chain(writable.iter().map(|path| (path, Use::Write))) {
        // The parent of a bare file name is an empty path.
        let whole = std::path::absolute(Path::new(".").join(path));
        all.push((whole.map_err(not_there(path))?, purpose));
    }
    Ok(all)
}

/// Where a link inside of one directory that is shown leads to another one, the mount must be at the
/// far end: in the worker's root the link is followed as ever, but not while that is being made.
fn straight(mut wanted: Vec<(PathBuf, Use)>) -> Vec<(PathBuf, Use)> {
    let outer: Vec<PathBuf> = wanted.iter().map(|(path, _)| path.clone()).collect();
    for (path, _) in &mut wanted {
        let leads_elsewhere = |outer: &&PathBuf| {
            let (inner, real) = (path.strip_prefix(outer), outer.canonicalize());
            let (Ok(inner), Ok(real)) = (inner, real) else {
                return false;
            };
            path.canonicalize()
                .is_ok_and(|path| path != real.join(inner))
        };
        if outer.iter().find(leads_elsewhere).is_some()
            && let Ok(end) = path.canonicalize()
        {
            *path = end;
        }
    }
    wanted
}

fn not_there(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    |source| StartError::NotThere { path, source }
}

impl Entry {
    fn new(path: PathBuf, purpose: Use) -> Result<Self, StartError> {
        let mut below_root = PathBuf::new();
        let mut parents = Vec::new();
        for component in path.components() {
            match component {
                Component::RootDir => continue,
                Component::Normal(name) => below_root.push(name),
                _ => return Err(StartError::NotAPath(path)),
            }
            parents.push(text(&path, &below_root)?);
        }
        let Some(target) = parents.pop() else {
            return Err(StartError::NotAPath(path));
        };
        let found = std::fs::metadata(&path).map_err(not_there(&path))?;
        let device = found.file_type().is_char_device();
        Ok(Self {
            source: text(&path, &path)?,
            path,
            parents,
            target,
            kind: if found.is_dir() {
                Kind::Directory
            } else {
                Kind::File
            },
            attributes: attributes(purpose, device),
        })
    }

    /// Whether `inner`, which lies in here, needs no mount of its own.
    fn shows_the_same(&self, inner: &Self) -> bool {
        self.attributes == inner.attributes
    }
}

fn attributes(purpose: Use, device: bool) -> u64 {
    let mut all = libc::MOUNT_ATTR_NOSUID;
    if !device {
        all |= libc::MOUNT_ATTR_NODEV;
    }
    if purpose != Use::Program {
        all |= libc::MOUNT_ATTR_NOEXEC;
    }
    if purpose != Use::Write {
        all |= libc::MOUNT_ATTR_RDONLY;
    }
    all
}

fn text(whole: &Path, part: &Path) -> Result<CString, StartError> {
    CString::new(part.as_os_str().as_bytes()).map_err(|_| StartError::NotAPath(whole.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn places(entries: &[Entry]) -> Vec<&str> {
        entries
            .iter()
            .map(|entry| entry.path.to_str().unwrap())
            .collect()
    }

    #[test]
    fn outer_directories_come_first_and_of_equals_the_writable_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let both = [inner.clone(), root.path().to_owned()];
        let all = entries(&both, &both[..1]).unwrap();
        let ours: Vec<_> = all
            .iter()
            .filter(|e| e.path.starts_with(root.path()))
            .collect();
        assert_eq!(ours[0].path, root.path());
        assert_ne!(ours[0].attributes & libc::MOUNT_ATTR_RDONLY, 0);
        assert_eq!(ours[1].path, inner);
        assert_eq!(ours[1].attributes & libc::MOUNT_ATTR_RDONLY, 0);
        assert_eq!(ours.len(), 2);
        assert!(places(&all).contains(&"/proc/self"));
    }

    #[test]
    fn what_is_shown_already_is_not_shown_twice() {
        let all = entries(&["/proc".into(), "/dev".into()], &[]).unwrap();
        assert!(!places(&all).contains(&"/proc/self"));
        // A device needs a mount that lets devices be opened.
        assert!(places(&all).contains(&"/dev/null"));
    }

    #[test]
    fn parents_are_made_from_the_outermost() {
        let entry = Entry::new("/dev/null".into(), Use::Read).unwrap();
        assert_eq!(entry.parents, [c"dev".to_owned()]);
        assert_eq!(entry.target, c"dev/null".to_owned());
        assert_eq!(entry.kind, Kind::File);
        assert_eq!(
            entry.attributes & libc::MOUNT_ATTR_NODEV,
            0,
            "it is a device"
        );
    }

    #[test]
    fn a_link_between_directories_is_followed_and_one_above_them_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let [outer, far, alias] = ["real/outer", "real/far", "alias"].map(|n| root.path().join(n));
        std::fs::create_dir_all(outer.join("plain")).unwrap();
        std::fs::create_dir(&far).unwrap();
        std::os::unix::fs::symlink(&far, outer.join("link")).unwrap();
        std::os::unix::fs::symlink(root.path().join("real"), &alias).unwrap();
        let outer = alias.join("outer");
        let writable = [outer.join("link"), outer.join("plain")];
        let all = entries(std::slice::from_ref(&outer), &writable).unwrap();
        let shown = places(&all);
        for path in [&outer, &far, &outer.join("plain")] {
            assert!(
                shown.contains(&path.to_str().unwrap()),
                "{path:?}: {shown:?}"
            );
        }
        assert!(!shown.contains(&outer.join("link").to_str().unwrap()));
    }

    #[test]
    fn paths_that_mean_nothing_or_everything_are_refused() {
        for path in ["/", "/var/../etc", "../x"] {
            let refused = Entry::new(path.into(), Use::Read);
            assert!(matches!(refused, Err(StartError::NotAPath(_))), "{path:?}");
        }
        let missing = Entry::new("/nowhere/at/all".into(), Use::Write);
        assert!(matches!(missing, Err(StartError::NotThere { .. })));
    }
}
