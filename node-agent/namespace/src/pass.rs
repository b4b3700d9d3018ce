//! Descriptors from one process to another, and who the other is.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt};

/// As many descriptors as one message may carry here.
pub const MAX_DESCRIPTORS: usize = 16;

/// The process at the other end when the connection was made, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Who is at the other end of a Unix socket.
///
/// # Errors
/// If it is no such socket.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let found = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials {
        pid: found.pid(),
        uid: found.uid(),
        gid: found.gid(),
    })
}

/// Sends bytes and, with the first of them, descriptors. Returns how many bytes went; the
/// descriptors went if any did.
///
/// # Errors
/// What the kernel says; `WouldBlock` on a non-blocking socket that is full. Descriptors need at
/// least one byte to ride with.
pub fn send_with_fds(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if descriptors.len() > MAX_DESCRIPTORS || (bytes.is_empty() && !descriptors.is_empty()) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights };
    let bytes = [IoSlice::new(bytes)];
    loop {
        match sendmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &bytes,
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::Error::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Space for the descriptors of one message, aligned as the kernel's headers need it.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 128]);

/// Receives bytes and the descriptors that ride with them; none of them is inherited by processes
/// started later. No bytes means that the other end closed the connection.
///
/// # Errors
/// What the kernel says; `InvalidData` if descriptors were lost because the message carried more
/// than [`MAX_DESCRIPTORS`] or this process has none free. What did arrive is closed then.
pub fn recv_with_fds(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    // SAFETY: computes a size from a size.
    let room = unsafe { libc::CMSG_SPACE(u32::try_from(MAX_DESCRIPTORS * 4).unwrap_or(0)) };
    let mut control = Control([MaybeUninit::uninit(); 128]);
    debug_assert!(room as usize <= control.0.len());
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a message header of zeroes is valid: it points to nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = room as _;
    let fd = socket.as_fd().as_raw_fd();
    let count = loop {
        // SAFETY: the header names one buffer and one control area, both alive and of the lengths
        // given; the descriptor is borrowed.
        let count = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(count) {
            Ok(count) => break count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    // Taken before anything is judged, so that every descriptor that arrived is closed on error.
    let descriptors = take(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors were lost on the way: too many in one message, or none free here",
        ));
    }
    Ok((count, descriptors))
}

fn take(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel filled in the control area that the header names and set its length; the
    // macros walk within it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it is a whole header within the control area.
        let (level, kind, length) =
            unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: computes a size from a size.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (length as usize).saturating_sub(head) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the kernel wrote `count` descriptors after the header; they are new and
                // belong to nobody else. The data may be unaligned.
                let owned = unsafe {
                    let at = libc::CMSG_DATA(header).cast::<RawFd>().add(index);
                    OwnedFd::from_raw_fd(at.read_unaligned())
                };
                descriptors.push(owned);
            }
        }
        // SAFETY: as for the first.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    descriptors
}

/// Lets the processes that this one starts inherit the descriptor. The plugin does so with its
/// connection to the agent: should the plugin be killed while `iptables-restore` runs, the agent
/// sees the connection end only when that process too is gone, and its clean-up cannot come before
/// the last change.
///
/// # Errors
/// If the descriptor is not open.
pub fn keep_open_in_children(descriptor: impl AsFd) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
