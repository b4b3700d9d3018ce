//! Which system calls the worker makes, and how the others are answered.
//!
//! - What is in [`ALLOWED`] is answered by the kernel, as long as [`BOUNDS`](crate::bounds::BOUNDS) has nothing against
//!   its arguments: then `EPERM`, which is what a caller expects who has no right to something.
//! - What is in [`FORBIDDEN`] ends the process. No code that is linked makes these calls, whatever
//!   it is sent, so who makes one is an intruder at work; it has no second attempt, the kernel's
//!   log has a line, and the holder starts a clean worker.
//! - Everything else answers `ENOSYS`, as a kernel does that does not have the call. Libraries ask
//!   for new calls and fall back to the old ones at this answer, and at no other: `clone3`, whose
//!   flags a filter cannot see, is left out for this reason, and `clone` is made instead.
//!
//! An entry too many is an attack that is possible, an entry too few a connection that fails. The
//! list was made from a trace of the agent under the tests of the mesh, and each group says who
//! needs it.

use libc::c_long;

/// What the worker may do, by who needs it.
pub(crate) const ALLOWED: &[&[c_long]] = &[
    // The allocator, and the stacks of threads.
    &[
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
    ],
    // Threads, locks and signals: the standard library and the C library. And the descriptor by which
    // the next holder watches this worker.
    &[
        libc::SYS_clone,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_pidfd_open,
        libc::SYS_prctl,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        libc::SYS_tgkill,
    ],
    // Time, where the kernel does not tell it without a call, and waiting for it.
    &[
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_gettimeofday,
        libc::SYS_nanosleep,
    ],
    // Event loops: mio, and the standard library's waits.
    &[
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_eventfd2,
        libc::SYS_pipe2,
        libc::SYS_ppoll,
    ],
    // Connections, and the link to the holder with the descriptors it sends. The C library asks for
    // a name's addresses of both families with one `sendmmsg`.
    &[
        libc::SYS_accept4,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getsockopt,
        libc::SYS_listen,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_sendmmsg,
        libc::SYS_sendmsg,
        libc::SYS_sendto,
        libc::SYS_setsockopt,
        libc::SYS_shutdown,
        libc::SYS_socket,
        libc::SYS_socketpair,
    ],
    // Descriptors of any kind.
    &[
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        libc::SYS_lseek,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
    ],
    // The mesh's files, certificates, what the kernel says of this process.
    &[
        libc::SYS_faccessat,
        libc::SYS_fstat,
        libc::SYS_fstatfs,
        libc::SYS_getcwd,
        libc::SYS_getdents64,
        libc::SYS_newfstatat,
        libc::SYS_openat,
        libc::SYS_readlinkat,
        libc::SYS_statx,
    ],
    // Noticing that one of them changed.
    &[
        libc::SYS_inotify_add_watch,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_rm_watch,
    ],
    // The state directory: written, linked, renamed, flushed.
    &[
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fdatasync,
        libc::SYS_flock,
        libc::SYS_fsync,
        libc::SYS_ftruncate,
        libc::SYS_linkat,
        libc::SYS_mkdirat,
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
    ],
    // Keys: the source of randomness.
    &[libc::SYS_getrandom],
    // Who and where we are: limits of descriptors, checks for root, memory for metrics.
    &[
        libc::SYS_getegid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getppid,
        libc::SYS_getrusage,
        libc::SYS_getuid,
        libc::SYS_prlimit64,
        libc::SYS_sysinfo,
        libc::SYS_uname,
    ],
    OLD,
];

/// The C library's way to some of the above, where the architecture has it.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_epoll_wait,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_rmdir,
    libc::SYS_unlink,
];
/// `renameat`, for which the `libc` crate has no name here.
#[cfg(target_arch = "aarch64")]
const OLD: &[c_long] = &[38];

/// What ends the process.
pub(crate) const FORBIDDEN: &[&[c_long]] = &[
    // Other processes: their memory, their descriptors, their end. Capabilities are not asked for
    // when the other one has none either.
    &[
        libc::SYS_kcmp,
        libc::SYS_kill,
        libc::SYS_perf_event_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_process_madvise,
        libc::SYS_process_mrelease,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_tkill,
    ],
    // Other programs.
    &[libc::SYS_execve, libc::SYS_execveat],
    // Namespaces and mounts, files without their path, devices.
    &[
        libc::SYS_chroot,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_mknodat,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_pivot_root,
        libc::SYS_quotactl,
        libc::SYS_setns,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_umount2,
        libc::SYS_unshare,
    ],
    // Rights: those of users, capabilities, keys of the kernel, and these filters.
    &[
        libc::SYS_add_key,
        libc::SYS_capset,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_keyctl,
        libc::SYS_request_key,
        libc::SYS_seccomp,
        libc::SYS_setfsgid,
        libc::SYS_setfsuid,
        libc::SYS_setgid,
        libc::SYS_setgroups,
        libc::SYS_setregid,
        libc::SYS_setresgid,
        libc::SYS_setresuid,
        libc::SYS_setreuid,
        libc::SYS_setuid,
    ],
    // The machine.
    &[
        libc::SYS_acct,
        libc::SYS_adjtimex,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_finit_module,
        libc::SYS_init_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_settimeofday,
        libc::SYS_syslog,
        libc::SYS_vhangup,
    ],
    // Large and often broken parts of the kernel. `io_uring` would also go round these filters.
    &[
        libc::SYS_bpf,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_personality,
        libc::SYS_userfaultfd,
    ],
    OLD_FORBIDDEN,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLD_FORBIDDEN: &[c_long] = &[
    libc::SYS_chown,
    libc::SYS_fork,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_lchown,
    libc::SYS_mknod,
    libc::SYS_modify_ldt,
    libc::SYS_vfork,
];
#[cfg(target_arch = "aarch64")]
const OLD_FORBIDDEN: &[c_long] = &[];

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]
    use std::collections::BTreeSet;

    use super::*;
    use crate::bounds::BOUNDS;

    fn flat(groups: &[&[c_long]]) -> Vec<c_long> {
        groups.concat()
    }

    #[test]
    fn no_call_is_in_two_places_and_what_is_bounded_is_allowed() {
        let all = [flat(ALLOWED), flat(FORBIDDEN)].concat();
        let different: BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        for bound in BOUNDS {
            assert!(flat(ALLOWED).contains(&bound.call), "{bound:?}");
        }
    }
}
