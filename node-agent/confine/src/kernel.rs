//! System calls that the libraries do not have. None of them allocates: they are made between fork
//! and exec.

use std::ffi::{CStr, c_int, c_long, c_ulong};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A copy of a mount and of what is mounted below it, placed nowhere yet.
pub(crate) fn open_tree(path: &CStr) -> io::Result<OwnedFd> {
    let flags =
        libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = RawFd::try_from(done(fd)?).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Restricts a mount and all below it.
pub(crate) fn restrict(tree: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    set_attributes(tree, libc::AT_RECURSIVE, attributes)
}

/// Restricts a mount, and none below it.
pub(crate) fn restrict_one(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    set_attributes(mount, 0, attributes)
}

fn set_attributes(mount: BorrowedFd<'_>, depth: c_int, attributes: u64) -> io::Result<()> {
    let attributes = MountAttributes {
        set: attributes,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    // SAFETY: the structure is the kernel's, has the size that is said, and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    done(result).map(drop)
}

/// Puts a copy where it shall be.
pub(crate) fn place(tree: BorrowedFd<'_>, root: BorrowedFd<'_>, target: &CStr) -> io::Result<()> {
    // SAFETY: both paths are C strings that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            root.as_raw_fd(),
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    done(result).map(drop)
}

/// `prctl` with numbers only.
pub(crate) fn prctl(operation: c_int, first: c_ulong, second: c_ulong) -> io::Result<c_int> {
    // SAFETY: no operation used here takes a pointer, and the unused arguments are zero.
    let result = unsafe { libc::prctl(operation, first, second, 0 as c_ulong, 0 as c_ulong) };
    done(c_long::from(result))?;
    Ok(result)
}

/// Gives the process, which has one thread, its name.
pub(crate) fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: the name is a C string that outlives the call.
    done(c_long::from(unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr())
    }))
    .map(drop)
}

/// Permits nothing, effects nothing, passes nothing on.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    // Effective, permitted and inheritable, twice 32 of each.
    let nothing = [0_u32; 6];
    // SAFETY: header and data have the layout of version 3 and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), nothing.as_ptr()) };
    done(result).map(drop)
}

/// Marks every descriptor but the first three close-on-exec.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: the call takes numbers only and closes nothing now.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    done(result).map(drop)
}

/// Gives a descriptor a number under which the program inherits it.
pub(crate) fn hand_over(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the call takes numbers only. In the child nobody owns `number`: the caller reserved
    // it, or replaces what is there on purpose.
    done(c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

fn done(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
