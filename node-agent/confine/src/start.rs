//! Starts the worker, confined.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use crate::child::Plan;
use crate::step::Step;
use crate::view;

/// What the worker keeps.
///
/// It runs as the same user, with no capability in any set. It outlives whoever started it: no
/// signal is tied to its parent's end.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// Files and directories that it sees at their places, from the working directory if relative, with everything below them, and cannot change. A link in
    /// them that leads elsewhere leads nowhere, unless that place is named too. A file that others
    /// replace is seen anew only if its directory is named. Mounts below them are those of this
    /// moment, and stay in use: do not name a directory of pods' namespaces, hand over descriptors.
    pub readable: Vec<PathBuf>,
    /// Directories in which it may write.
    pub writable: Vec<PathBuf>,
    /// The score by which the kernel chooses who dies when memory is short, from -1000 to 1000. Not
    /// below the caller's own; above it, the worker goes first.
    pub oom_score_adj: i32,
}

/// The worker was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A path to show has `..` in it, or is the root.
    #[error(
        "{} cannot be shown to the worker: a path below / is needed, without ..; \
         correct the setting it comes from", .0.display()
    )]
    NotAPath(PathBuf),
    /// A path to show does not exist.
    #[error(
        "{} cannot be shown to the worker: {source}; create it, or correct the setting it comes from",
        path.display()
    )]
    NotThere {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// More paths than this crate can tell apart.
    #[error(
        "{0} paths are too many to show to the worker, 255 is the most; this is a defect, please report it"
    )]
    TooMany(usize),
    /// A descriptor cannot have the number it shall get.
    #[error(
        "the worker cannot inherit a descriptor as number {0}; this is a defect, please report it"
    )]
    Number(RawFd),
    /// There are no descriptors left here.
    #[error(
        "the worker cannot be started: {0}; usually the agent's limit of open files, try again"
    )]
    Descriptors(#[source] io::Error),
    /// No process can be made, or the program cannot be executed.
    #[error("the worker cannot be started: {0}; out of processes or memory, try again")]
    Process(#[source] io::Error),
    /// The kernel refused a step. It was not started with less.
    #[error("the worker cannot be confined, so it was not started: cannot {step} {}: {source}; {}",
        path.as_ref().map_or_else(String::new, |path| path.display().to_string()), step.advice())]
    Step {
        /// Which.
        step: Step,
        /// About what.
        path: Option<PathBuf>,
        /// What the kernel said.
        source: io::Error,
    },
}

/// This very program, also when another one has been installed in its place meanwhile.
#[must_use]
pub fn own_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command
}

impl Confinement {
    /// Starts [`own_program`] (another one would have to be in what it may see, and may not be
    /// executed there) with standard streams and arguments as the command says, and each of `keep`
    /// under the number given, from 3 on. Nothing else is inherited.
    ///
    /// # Errors
    /// It is not confined as asked for, and then it does not run.
    pub fn start(
        &self,
        mut command: Command,
        keep: &[(BorrowedFd<'_>, RawFd)],
    ) -> Result<Child, StartError> {
        let entries = view::entries(&self.readable, &self.writable)?;
        let paths: Vec<PathBuf> = entries.iter().map(|entry| entry.path.clone()).collect();
        // Before any other descriptor is made: none may be where one is handed over.
        let numbers = Numbers::reserve(keep)?;
        let (mut told, report) = pipe2(OFlag::O_CLOEXEC)
            .map(|(read, write)| (File::from(read), write))
            .map_err(|errno| StartError::Descriptors(errno.into()))?;
        let mut plan = Plan {
            trees: entries.iter().map(|_| None).collect(),
            entries,
            oom_score_adj: self.oom_score_adj.to_string().into_bytes(),
            directory: working_directory(),
            descriptors: numbers.descriptors,
            report,
        };
        // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
        unsafe { command.pre_exec(move || plan.carry_out()) };
        let outcome = command.spawn();
        // With the closure our end of the pipe goes, and with the numbers what kept them free.
        drop(command);
        drop(numbers.reserved);
        outcome.map_err(|source| explain(source, &mut told, paths))
    }
}

/// Where relative paths begin; the root if that place has no name any more.
fn working_directory() -> CString {
    let directory = std::env::current_dir().unwrap_or_default();
    CString::new(directory.into_os_string().into_vec()).unwrap_or_default()
}

/// What the child told before it ended, or else it was made and executed nothing.
fn explain(source: io::Error, told: &mut File, mut paths: Vec<PathBuf>) -> StartError {
    let mut what = [0; 2];
    let heard = told.read_exact(&mut what).is_ok();
    let Some(step) = Step::from_number(what[0]).filter(|_| heard) else {
        return StartError::Process(source);
    };
    let about = usize::from(what[1]);
    StartError::Step {
        step,
        path: (about < paths.len()).then(|| paths.swap_remove(about)),
        source,
    }
}

/// Descriptors out of the way of the numbers they shall get, and placeholders at those numbers: the
/// library's own pipe to the child must not be where we put something else.
struct Numbers {
    descriptors: Vec<(OwnedFd, RawFd)>,
    reserved: Vec<OwnedFd>,
}

impl Numbers {
    fn reserve(keep: &[(BorrowedFd<'_>, RawFd)]) -> Result<Self, StartError> {
        let mut all = Self {
            descriptors: Vec::new(),
            reserved: Vec::new(),
        };
        let Some(highest) = keep.iter().map(|(_, number)| *number).max() else {
            return Ok(all);
        };
        for (at, (fd, number)) in keep.iter().enumerate() {
            let twice = keep[..at].iter().any(|(_, other)| other == number);
            if *number < FIRST || twice {
                return Err(StartError::Number(*number));
            }
            all.descriptors
                .push((duplicate(*fd, highest + 1)?, *number));
        }
        // What is open at one of the numbers stays so until the child has been made.
        loop {
            let next = duplicate(keep[0].0, FIRST)?;
            if next.as_raw_fd() > highest {
                return Ok(all);
            }
            all.reserved.push(next);
        }
    }
}

fn duplicate(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, StartError> {
    let made = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest))
        .map_err(|errno| StartError::Descriptors(errno.into()))?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Behind the standard streams.
const FIRST: RawFd = 3;
