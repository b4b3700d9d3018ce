//! Arguments with which an allowed system call is refused.

use libc::c_long;

/// Something about an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    /// It is none of these.
    NoneOf(&'static [u64]),
    /// It is not this process's number.
    NotSelf,
    /// It is neither zero nor this process's number.
    NeitherSelfNorZero,
    /// It has any of these bits; each alone.
    Has(u64),
    /// It lacks this bit.
    Lacks(u64),
}

/// A call that is allowed with some arguments only, and which argument makes it refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) call: c_long,
    pub(crate) argument: u8,
    pub(crate) test: Test,
}

const fn bound(call: c_long, argument: u8, test: Test) -> Bound {
    Bound {
        call,
        argument,
        test,
    }
}

/// What is refused although the call is allowed.
pub(crate) const BOUNDS: &[Bound] = &[
    // Threads, no processes.
    bound(libc::SYS_clone, 0, Test::Lacks(CLONE_THREAD)),
    // A signal to ourselves is how the C library aborts, a descriptor of ourselves is for others.
    bound(libc::SYS_tgkill, 0, Test::NotSelf),
    bound(libc::SYS_pidfd_open, 0, Test::NotSelf),
    // The limits of any process of the same user can be set with this.
    bound(libc::SYS_prlimit64, 0, Test::NeitherSelfNorZero),
    // Machine code that arrives as data stays data.
    bound(libc::SYS_mmap, 2, Test::Has(PROT_EXEC)),
    bound(libc::SYS_mprotect, 2, Test::Has(PROT_EXEC)),
    // Packet, netlink and the other families are where the kernel trusts its callers.
    bound(libc::SYS_socket, 0, Test::NoneOf(FAMILIES)),
    bound(libc::SYS_socket, 2, Test::NoneOf(PROTOCOLS)),
    bound(libc::SYS_socketpair, 0, Test::NoneOf(&[1])),
    // F_SETOWN and F_SETSIG together send any signal to any process of the same user.
    bound(libc::SYS_fcntl, 1, Test::NoneOf(FILE_CONTROLS)),
    // FIOSETOWN is the same, and TIOCSTI types into the terminal of who started the agent.
    bound(libc::SYS_ioctl, 1, Test::NoneOf(DEVICE_CONTROLS)),
    // Core dumps and being traced stay off.
    bound(libc::SYS_prctl, 0, Test::NoneOf(PROCESS_CONTROLS)),
];

const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;
const PROT_EXEC: u64 = libc::PROT_EXEC as u64;
/// `AF_UNIX`, `AF_INET`, `AF_INET6`.
const FAMILIES: &[u64] = &[1, 2, 10];
/// The family's own, TCP, UDP.
const PROTOCOLS: &[u64] = &[0, 6, 17];
/// `F_DUPFD`, `F_GETFD`, `F_SETFD`, `F_GETFL`, `F_SETFL`, `F_DUPFD_CLOEXEC`.
const FILE_CONTROLS: &[u64] = &[0, 1, 2, 3, 4, 1030];
/// `TCGETS` (is it a terminal?), `FIONREAD`, `FIONBIO`, `NS_GET_NSTYPE` (is what the plugin sent the
/// descriptor of a network namespace?).
const DEVICE_CONTROLS: &[u64] = &[0x5401, 0x541b, 0x5421, 0xb703];
/// `PR_SET_NAME`, `PR_GET_NAME`, `PR_SET_NO_NEW_PRIVS`, `PR_SET_VMA` (names of memory areas).
const PROCESS_CONTROLS: &[u64] = &[15, 16, 38, 0x5356_4d41];
