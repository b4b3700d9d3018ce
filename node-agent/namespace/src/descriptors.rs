//! Passes descriptors over Unix sockets, and says who is at the other end.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt};

/// At most this many descriptors ride with one message.
pub const MAX_DESCRIPTORS: usize = 64;

/// Who is at the other end of a socket, as the kernel noted when it was connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Who is at the other end.
///
/// # Errors
/// When the kernel does not say.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials {
        pid: peer.pid(),
        uid: peer.uid(),
        gid: peer.gid(),
    })
}

/// Sends `data`, the descriptors with its first byte. Says how many bytes went; if any did, so did
/// the descriptors, which must not be sent again with the rest.
///
/// # Errors
/// What the kernel says, `WouldBlock` among it; `InvalidInput` for more than [`MAX_DESCRIPTORS`]
/// and for descriptors without a byte to ride with.
pub fn send_with_fds(socket: impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_DESCRIPTORS || (data.is_empty() && !fds.is_empty()) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let raw: Vec<RawFd> = fds.iter().map(BorrowedFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let (fd, slice) = (socket.as_fd().as_raw_fd(), [IoSlice::new(data)]);
    loop {
        match sendmsg::<()>(fd, &slice, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::Error::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Receives what is there, and the descriptors that came with it, close-on-exec. Zero bytes means
/// that the peer has closed its end.
///
/// # Errors
/// What the kernel says, `WouldBlock` among it; `InvalidData` when descriptors were lost because
/// there were more than [`MAX_DESCRIPTORS`] or this process has no room: none is kept then. A caller
/// that agreed on fewer drops the ones it gets.
pub fn recv_with_fds(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let (count, fds, truncated) = receive(socket.as_fd(), buffer)?;
    if truncated {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors were lost: too many with one message, or no room for them here",
        ));
    }
    Ok((count, fds))
}

/// The same, but descriptors that were lost for want of room are simply not there: for conversations
/// in which a message without its descriptors is answered with an error, and goes on.
///
/// # Errors
/// What the kernel says, `WouldBlock` among it.
pub fn recv_with_fds_there_are(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let (count, fds, truncated) = receive(socket.as_fd(), buffer)?;
    Ok((count, if truncated { Vec::new() } else { fds }))
}

/// Lets processes started from now on inherit a descriptor. Meant for a connection whose end makes
/// the peer clean up: with it held by every tool we start, the peer sees the end only when none of
/// them can change anything any more, however we die.
///
/// # Errors
/// When it is no open descriptor.
pub fn keep_open_in_children(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Room for the descriptors of one message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 16 + MAX_DESCRIPTORS * 4]);

/// One `recvmsg`. Written out because descriptors that came with a truncated message are ours all
/// the same and have to be closed.
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>, bool)> {
    let mut control = Control([MaybeUninit::uninit(); 16 + MAX_DESCRIPTORS * 4]);
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    let count = loop {
        // SAFETY: the header points to one buffer and one control area that outlive the call, with
        // their true lengths.
        let result =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        if let Ok(count) = usize::try_from(result) {
            break count;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    // SAFETY: the kernel has just filled the header and its control area.
    let fds = unsafe { taken(&header) };
    Ok((count, fds, header.msg_flags & libc::MSG_CTRUNC != 0))
}

/// The descriptors in a received header.
///
/// # Safety
/// The header must be as `recvmsg` left it, its control area alive, and this called once: each
/// descriptor gets one owner.
unsafe fn taken(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the header is as the kernel left it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: the macros only return headers that lie wholly within the control area.
        let (level, kind, length) = unsafe {
            (
                (*message).cmsg_level,
                (*message).cmsg_type,
                (*message).cmsg_len,
            )
        };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: a computation on numbers.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = length.saturating_sub(head) / size_of::<RawFd>();
            // SAFETY: the data lies right behind the header, within the control area.
            let data = unsafe { libc::CMSG_DATA(message) };
            for index in 0..count {
                let mut raw = [0; size_of::<RawFd>()];
                // SAFETY: `count` descriptors lie within the message's length.
                unsafe {
                    data.add(index * raw.len())
                        .copy_to_nonoverlapping(raw.as_mut_ptr(), raw.len());
                }
                // SAFETY: the kernel made the descriptor for us alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(raw)) });
            }
        }
        // SAFETY: both come from the kernel's answer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    fds
}
