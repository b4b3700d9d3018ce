//! Who has taken over the worker and tries what comes next.

use std::ffi::{c_int, c_long, c_ulong};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use node_agent_confine::own_program;

use crate::outside::{Place, Worker};

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The process with it.
    Killed,
    /// With this error.
    Error(c_int),
}

use End::{Error, Killed};

/// What is tried, how it ends, and whether it works for root without confinement on any machine.
const ATTEMPTS: &[(&str, End, bool)] = &[
    // Processes.
    ("kill", Killed, true),
    ("tgkill", Error(libc::EPERM), true),
    ("pidfd_open", Error(libc::EPERM), true),
    ("fcntl-setown", Error(libc::EPERM), true),
    ("ioctl-setown", Error(libc::EPERM), true),
    ("prlimit", Error(libc::EPERM), true),
    ("ptrace", Killed, true),
    ("process_vm_readv", Killed, true),
    ("parent-memory", Error(libc::ENOENT), true),
    ("fork", Error(libc::EPERM), true),
    ("clone3", Error(libc::ENOSYS), true),
    ("execve", Killed, true),
    // Namespaces, mounts, files.
    ("setns", Killed, true),
    ("unshare", Killed, true),
    ("mount", Killed, true),
    ("chroot", Killed, true),
    ("open_by_handle_at", Killed, false),
    ("mknod", Killed, true),
    ("write-root", Error(libc::EROFS), true),
    ("write-config", Error(libc::EROFS), true),
    ("write-own-code", Error(libc::EROFS), true),
    ("call-hidden-socket", Error(libc::ENOENT), true),
    // Sockets.
    ("transparent", Error(libc::EPERM), true),
    ("mark", Error(libc::EPERM), true),
    ("raw", Error(libc::EPERM), true),
    ("packet", Error(libc::EPERM), true),
    ("netlink", Error(libc::EPERM), true),
    // Rights.
    ("setuid", Killed, true),
    ("capset", Killed, true),
    ("securebits", Error(libc::EPERM), true),
    ("dumpable", Error(libc::EPERM), true),
    ("seccomp", Killed, false),
    ("core-limit", Error(libc::EPERM), true),
    // The kernel.
    ("code", Error(libc::EPERM), true),
    ("code-later", Error(libc::EPERM), true),
    ("bpf", Killed, false),
    ("io_uring", Killed, false),
    ("userfaultfd", Killed, false),
    ("keyctl", Killed, false),
    ("personality", Killed, true),
    ("other-abi", Killed, false),
    ("memfd", Error(libc::ENOSYS), true),
];

struct Target {
    place: Place,
    _socket: UnixListener,
}

impl Target {
    fn new() -> Self {
        let place = Place::new();
        let socket = UnixListener::bind(place.path("hidden/socket")).unwrap();
        Self {
            place,
            _socket: socket,
        }
    }

    fn role<'a>(seal: &'a str, name: &'a str, directory: &'a str) -> [&'a str; 4] {
        [seal, "attempt", name, directory]
    }
}

pub(crate) fn every_attempt_of_an_intruder_fails() {
    let target = Target::new();
    let root = target.place.path("");
    for (name, expected, _) in ATTEMPTS {
        let role = Target::role("sealed", name, root.to_str().unwrap());
        let mut worker = Worker::start(&target.place.confinement(), &role).unwrap();
        let status = worker.child.wait().unwrap();
        let end = match (status.signal(), status.code()) {
            (Some(libc::SIGSYS), _) => Killed,
            (None, Some(code)) => Error(code),
            _ => panic!("{name}: {status}"),
        };
        assert_eq!(end, *expected, "{name}");
        println!("  {name}: {end:?}");
    }
}

/// The control: an attempt that fails everywhere would show nothing.
pub(crate) fn the_same_attempts_succeed_without_confinement() {
    let target = Target::new();
    let root = target.place.path("");
    for (name, _, everywhere) in ATTEMPTS {
        if !everywhere {
            continue;
        }
        let role = Target::role("unsealed", name, root.to_str().unwrap());
        let mut command = own_program();
        let status = command
            .arg("role")
            .args(role)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{name}: {status}");
    }
}

/// Tries one thing; the exit code is the error's number, or 0 if it worked.
pub(crate) fn attempt(name: &str, arguments: &[&str]) {
    let code = match act(name, arguments[0].trim_end_matches('/')) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(255),
    };
    std::process::exit(code);
}

fn act(name: &str, directory: &str) -> io::Result<()> {
    // SAFETY: getppid always succeeds.
    let parent = unsafe { libc::getppid() };
    match name {
        "parent-memory" => open(&format!("/proc/{parent}/mem"), false),
        "write-root" => open("/ambient-confine-test", true),
        "write-config" => open(&format!("{directory}/config/new"), true),
        "write-own-code" => std::fs::OpenOptions::new()
            .write(true)
            .open("/proc/self/mem")
            .map(drop),
        "call-hidden-socket" => {
            std::os::unix::net::UnixStream::connect(format!("{directory}/hidden/socket")).map(drop)
        }
        "setns" | "unshare" | "mount" | "chroot" | "mknod" => namespaces(name, directory),
        "transparent" | "mark" | "raw" | "packet" | "netlink" => sockets(name),
        "code" | "code-later" => code(name),
        "other-abi" => other_abi(),
        "setuid" | "capset" | "securebits" | "dumpable" | "seccomp" | "core-limit" => rights(name),
        _ => others(name, parent),
    }
}

fn open(path: &str, write: bool) -> io::Result<()> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(write)
        .create(write)
        .open(path);
    if write {
        drop(std::fs::remove_file(path));
    }
    opened.map(drop)
}

fn done(result: impl Into<c_long>) -> io::Result<()> {
    if result.into() < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn namespaces(name: &str, directory: &str) -> io::Result<()> {
    let namespace = std::fs::File::open("/proc/self/ns/net")?;
    let inner = std::ffi::CString::new(format!("{directory}/state")).unwrap();
    let node = std::ffi::CString::new(format!("{directory}/state/node")).unwrap();
    // SAFETY: numbers, and C strings that outlive the calls.
    unsafe {
        match name {
            "setns" => done(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET)),
            "unshare" => done(libc::unshare(libc::CLONE_NEWNS)),
            "mount" => {
                let (kind, none) = (c"tmpfs".as_ptr(), std::ptr::null());
                done(libc::mount(kind, inner.as_ptr(), kind, 0, none))?;
                done(libc::umount2(inner.as_ptr(), 0))
            }
            "chroot" => done(libc::chroot(inner.as_ptr())),
            _ => {
                done(libc::mknod(node.as_ptr(), libc::S_IFIFO, 0))?;
                done(libc::unlink(node.as_ptr()))
            }
        }
    }
}

fn sockets(name: &str) -> io::Result<()> {
    // SAFETY: numbers, and a number's address with its size.
    unsafe {
        match name {
            "raw" => done(libc::socket(
                libc::AF_INET,
                libc::SOCK_RAW,
                libc::IPPROTO_ICMP,
            )),
            "packet" => done(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
            "netlink" => done(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
            _ => {
                let (level, option) = match name {
                    "mark" => (libc::SOL_SOCKET, libc::SO_MARK),
                    _ => (libc::SOL_IP, libc::IP_TRANSPARENT),
                };
                let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
                done(socket)?;
                let one: c_int = 1;
                done(libc::setsockopt(
                    socket,
                    level,
                    option,
                    (&raw const one).cast(),
                    4,
                ))
            }
        }
    }
}

fn code(name: &str) -> io::Result<()> {
    let (data, both) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::PROT_READ | libc::PROT_EXEC,
    );
    let first = if name == "code" { both } else { data };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: fresh memory that nobody uses.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 4096, first, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        done(libc::mprotect(page, 4096, both))
    }
}

/// Calls by the numbers of 32-bit programs would pass any filter that only looks at numbers.
#[cfg(target_arch = "x86_64")]
fn other_abi() -> io::Result<()> {
    // SAFETY: getpid by the old way changes one register; rbx holds no argument of it.
    unsafe { std::arch::asm!("int 0x80", inout("eax") 20_i32 => _) };
    // Where there are no 32-bit programs, the kernel ends the process before the filter does.
    Err(io::Error::from_raw_os_error(0))
}

#[cfg(not(target_arch = "x86_64"))]
fn other_abi() -> io::Result<()> {
    // There is no such call; the process ends as it would have.
    // SAFETY: the call takes a number.
    done(unsafe { libc::raise(libc::SIGSYS) })
}

fn rights(name: &str) -> io::Result<()> {
    let zero: c_ulong = 0;
    let header = [0x2008_0522_u32, 0];
    let nothing = [0_u32; 6];
    let limit = libc::rlimit {
        rlim_cur: 1 << 20,
        rlim_max: 1 << 20,
    };
    // SAFETY: numbers, and structures of the kernel's layout that outlive the calls.
    unsafe {
        match name {
            "setuid" => done(libc::syscall(libc::SYS_setuid, 65_534)),
            "capset" => done(libc::syscall(
                libc::SYS_capset,
                header.as_ptr(),
                nothing.as_ptr(),
            )),
            "securebits" => done(libc::prctl(libc::PR_SET_SECUREBITS, zero, zero, zero, zero)),
            "dumpable" => done(libc::prctl(
                libc::PR_SET_DUMPABLE,
                1 as c_ulong,
                zero,
                zero,
                zero,
            )),
            "core-limit" => done(libc::setrlimit(libc::RLIMIT_CORE, &raw const limit)),
            _ => done(libc::syscall(libc::SYS_seccomp, 0, 0, 0)),
        }
    }
}

fn others(name: &str, parent: libc::pid_t) -> io::Result<()> {
    let limit = std::ptr::null::<libc::rlimit>();
    let mut word = 0_u64;
    let place = libc::iovec {
        iov_base: (&raw mut word).cast(),
        iov_len: 8,
    };
    // SAFETY: numbers, null where nothing is wanted, and local structures that outlive the calls.
    unsafe {
        match name {
            "kill" => done(libc::kill(parent, 0)),
            "tgkill" => done(libc::syscall(libc::SYS_tgkill, parent, parent, 0)),
            "pidfd_open" => done(libc::syscall(libc::SYS_pidfd_open, parent, 0)),
            "fcntl-setown" => done(libc::fcntl(1, libc::F_SETOWN, parent)),
            "ioctl-setown" => set_owner(parent),
            "prlimit" => done(libc::syscall(
                libc::SYS_prlimit64,
                parent,
                libc::RLIMIT_NOFILE,
                limit,
                limit,
            )),
            "ptrace" => done(libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0)),
            "process_vm_readv" => {
                // Both run the same program at different addresses; that the call is let in is enough.
                let result =
                    libc::process_vm_readv(parent, &raw const place, 1, &raw const place, 1, 0);
                let error = io::Error::last_os_error();
                if result < 0 && error.raw_os_error() != Some(libc::EFAULT) {
                    Err(error)
                } else {
                    Ok(())
                }
            }
            "fork" => match libc::fork() {
                0 => libc::_exit(0),
                child => done(child),
            },
            // Without arguments it says EINVAL where it is there.
            "clone3" => there(libc::syscall(libc::SYS_clone3, 0, 0)),
            "execve" => Err(std::os::unix::process::CommandExt::exec(
                std::process::Command::new("/proc/self/exe").args(["role", "unsealed", "look"]),
            )),
            "open_by_handle_at" => done(libc::syscall(libc::SYS_open_by_handle_at, -1, 0, 0)),
            "bpf" => done(libc::syscall(libc::SYS_bpf, 0, 0, 0)),
            "io_uring" => done(libc::syscall(libc::SYS_io_uring_setup, 0, 0)),
            "userfaultfd" => done(libc::syscall(libc::SYS_userfaultfd, 0)),
            "keyctl" => done(libc::syscall(libc::SYS_keyctl, 0, 0, 0)),
            "personality" => done(libc::personality(0xffff_ffff)),
            "memfd" => done(libc::memfd_create(c"x".as_ptr(), 0)),
            _ => panic!("{name}"),
        }
    }
}

/// A socket has an owner to be told of what happens to it.
fn set_owner(parent: libc::pid_t) -> io::Result<()> {
    const FIOSETOWN: c_ulong = 0x8901;
    // SAFETY: numbers, and a number's address.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        done(socket)?;
        done(libc::ioctl(socket, FIOSETOWN, &raw const parent))
    }
}

fn there(result: c_long) -> io::Result<()> {
    let error = io::Error::last_os_error();
    if result < 0 && error.raw_os_error() == Some(libc::ENOSYS) {
        Err(error)
    } else {
        Ok(())
    }
}
