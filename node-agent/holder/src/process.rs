//! Processes and raw descriptors: the crate's unsafe code.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Takes a descriptor that a system call has just made for us.
pub(crate) fn owned(number: RawFd) -> OwnedFd {
    // SAFETY: the callers pass what the kernel returned a moment ago, and keep no other copy.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// A process that is watched by a descriptor, so that its number cannot come to mean another.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) pid: i32,
    /// Readable once the process has ended.
    pub(crate) end: OwnedFd,
}

impl Watched {
    /// Watches a process that is known to live, or whose end has not been waited for.
    pub(crate) fn new(pid: i32) -> io::Result<Self> {
        // SAFETY: the call takes two integers and returns a new descriptor or an error.
        let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let number = RawFd::try_from(number).map_err(io::Error::other)?;
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            pid,
            end: owned(number),
        })
    }

    /// Watches by a descriptor that the process itself sent.
    pub(crate) fn sent(pid: i32, end: OwnedFd) -> Self {
        Self { pid, end }
    }

    /// Kills it; one that has ended already is not an error.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // SAFETY: an open descriptor, a signal, no extra information, no flags.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.end.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match result {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }
}

/// Which side of a fork this is.
pub(crate) enum Forked {
    Parent(i32),
    Child,
}

/// Forks. The child is a whole copy, which it is only because this process has one thread; it
/// refuses otherwise.
pub(crate) fn fork() -> io::Result<Forked> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!(
            "the holder has {threads} threads and must have one: report this as a defect"
        )));
    }
    // SAFETY: there is no other thread, so no lock can be held by one that the child lacks.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Forked::Parent(child.as_raw())),
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
    }
}

/// Ends this process now: nothing of the parent's, which a forked child has a copy of, is run.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: the call does not return.
    unsafe { libc::_exit(code) }
}

/// Takes the descriptor of this number, which whoever started this process left for it. Children
/// do not get it.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers and fails if there is no such descriptor.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, as the call above has shown, and this is called once, before anything
    // else could have taken the number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor by which others can watch this process.
///
/// # Errors
/// Descriptors have run out.
pub fn own_descriptor() -> io::Result<OwnedFd> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    Watched::new(own).map(|watched| watched.end)
}
