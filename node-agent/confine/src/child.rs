//! What the child does between fork and exec. Nothing here allocates, takes a lock or panics:
//! everything was made ready before, and what goes wrong is told through a pipe.

use std::ffi::{CString, c_ulong};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{chdir, fchdir, pivot_root, write};

use crate::kernel;
use crate::step::Step;
use crate::view::{Entry, Kind};

/// All that the child needs.
pub(crate) struct Plan {
    /// What it shall see.
    pub(crate) entries: Vec<Entry>,
    /// Room for the copies, as many as entries.
    pub(crate) trees: Vec<Option<OwnedFd>>,
    /// The text for `oom_score_adj`.
    pub(crate) oom_score_adj: Vec<u8>,
    /// The working directory.
    pub(crate) directory: CString,
    /// Descriptors and the numbers they get; no descriptor has a number that another one gets.
    pub(crate) descriptors: Vec<(OwnedFd, RawFd)>,
    /// Where to say what went wrong: the step and the entry.
    pub(crate) report: OwnedFd,
}

struct Failure {
    step: Step,
    entry: u8,
    error: io::Error,
}

trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step,
            entry: NO_ENTRY,
            error: error.into(),
        })
    }
}

impl Plan {
    /// Confines the calling process.
    pub(crate) fn carry_out(&mut self) -> io::Result<()> {
        self.steps().map_err(|failure| {
            // If even this fails, the error itself still arrives.
            let _written = write(&self.report, &[failure.step as u8, failure.entry]);
            failure.error
        })
    }

    fn steps(&mut self) -> Result<(), Failure> {
        self.die_first().at(Step::OutOfMemory)?;
        // Not zero: with a pipe in core_pattern only the limit 1 means "nothing".
        setrlimit(Resource::RLIMIT_CORE, 1, 1).at(Step::CoreDumps)?;
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        self.leave_the_files()?;
        kernel::close_all_on_exec().at(Step::Descriptors)?;
        for (fd, number) in &self.descriptors {
            kernel::hand_over(fd.as_fd(), *number).at(Step::Descriptors)?;
        }
        leave_the_privileges()
    }

    fn die_first(&self) -> nix::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = open(c"/proc/self/oom_score_adj", flags, Mode::empty())?;
        write(file, &self.oom_score_adj).map(drop)
    }

    fn leave_the_files(&mut self) -> Result<(), Failure> {
        // A mount that the node makes later must not appear here, writable; and with copies of its
        // mounts here, one that it removes would stay in use.
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(NONE, c"/", NONE, private, NONE).at(Step::Propagation)?;
        for ((entry, tree), number) in self.entries.iter().zip(&mut self.trees).zip(0..) {
            let about = |failure: Failure| Failure {
                entry: number,
                ..failure
            };
            let copy = kernel::open_tree(&entry.source)
                .at(Step::Copy)
                .map_err(about)?;
            let restricted = kernel::restrict(copy.as_fd(), entry.attributes);
            restricted.at(Step::Restrict).map_err(about)?;
            *tree = Some(copy);
        }
        let root = new_root().at(Step::NewRoot)?;
        for ((entry, tree), number) in self.entries.iter().zip(&mut self.trees).zip(0..) {
            let about = |failure: Failure| Failure {
                entry: number,
                ..failure
            };
            make_room(&root, entry).at(Step::Place).map_err(about)?;
            if let Some(copy) = tree.take() {
                let placed = kernel::place(copy.as_fd(), root.as_fd(), &entry.target);
                placed.at(Step::Place).map_err(about)?;
            }
        }
        switch_to(&root).at(Step::SwitchRoot)?;
        // It is there if something in it is shown, and only then a path relative to it means anything.
        chdir(self.directory.as_c_str()).unwrap_or_default();
        kernel::restrict_one(root.as_fd(), ROOT_ATTRIBUTES).at(Step::SealRoot)
    }
}

/// An empty directory. It is mounted over a directory that every system has and of which the copies
/// have been made already.
fn new_root() -> nix::Result<OwnedFd> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = Some(c"mode=0755,size=1m");
    mount(
        Some(c"ambient-worker"),
        c"/proc",
        Some(c"tmpfs"),
        flags,
        options,
    )?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(c"/proc", flags, Mode::empty())
}

fn make_room(root: &OwnedFd, entry: &Entry) -> nix::Result<()> {
    let there_is_fine = |outcome| match outcome {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    };
    let mode = Mode::from_bits_truncate(0o755);
    for parent in &entry.parents {
        there_is_fine(mkdirat(root, parent.as_c_str(), mode))?;
    }
    let target = entry.target.as_c_str();
    there_is_fine(match entry.kind {
        Kind::Directory => mkdirat(root, target, mode),
        Kind::File => mknodat(root, target, SFlag::S_IFREG, Mode::empty(), 0),
    })
}

/// The old root ends up on top of the new one, where it can be let go of without a name for it.
fn switch_to(root: &OwnedFd) -> nix::Result<()> {
    fchdir(root)?;
    pivot_root(c".", c".")?;
    umount2(c".", MntFlags::MNT_DETACH)?;
    chdir(c"/")
}

/// Where `CAP_SETPCAP` is not held, the bounding set and the secure bits stay as they are. They are
/// the second lock: with `no_new_privs` set and the permitted set empty, `exec` gives the user 0,
/// a set-user-ID file or file capabilities nothing that was not permitted before.
fn leave_the_privileges() -> Result<(), Failure> {
    empty_the_bounding_set().at(Step::BoundingSet)?;
    permitted(kernel::prctl(libc::PR_SET_SECUREBITS, ORDINARY_USER_0, 0)).at(Step::SecureBits)?;
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
    kernel::prctl(libc::PR_CAP_AMBIENT, clear, 0).at(Step::AmbientSet)?;
    kernel::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::NoNewPrivileges)?;
    kernel::drop_capabilities().at(Step::Capabilities)
}

fn empty_the_bounding_set() -> io::Result<()> {
    // The kernel has at most 64, and says by an error which is the first that it does not have.
    for capability in 0..64 {
        if kernel::prctl(libc::PR_CAPBSET_READ, capability, 0).is_err() {
            break;
        }
        permitted(kernel::prctl(libc::PR_CAPBSET_DROP, capability, 0))?;
    }
    Ok(())
}

fn permitted(outcome: io::Result<i32>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        other => other.map(drop),
    }
}

const NONE: Option<&std::ffi::CStr> = None;
/// A failure that is about none of the at most 255 entries.
const NO_ENTRY: u8 = u8::MAX;

const ROOT_ATTRIBUTES: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC;

/// The user 0 gets no capabilities by its number, nor by changing it, and none can be kept or made
/// ambient; each locked.
const ORDINARY_USER_0: c_ulong = (libc::SECBIT_NOROOT
    | libc::SECBIT_NOROOT_LOCKED
    | libc::SECBIT_NO_SETUID_FIXUP
    | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
    | libc::SECBIT_KEEP_CAPS_LOCKED
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED) as c_ulong;
