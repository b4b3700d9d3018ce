//! Passes descriptors over Unix sockets, and says who is at the other end.

use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt};

/// At most this many descriptors ride with one message.
pub const MAX_DESCRIPTORS: usize = 64;

/// Why descriptors were not passed.
#[derive(thiserror::Error, Debug)]
pub enum PassError {
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// There is nothing for the descriptors to ride with.
    #[error("descriptors cannot be sent without a byte of data: a defect of the caller")]
    NoData,
    /// More than fit one message.
    #[error("{0} descriptors do not fit one message (at most {MAX_DESCRIPTORS})")]
    TooMany(usize),
    /// The peer sent more descriptors than agreed; all were closed.
    #[error(
        "the peer sent more than the {0} descriptors agreed, or descriptors ran out here; all were closed"
    )]
    Truncated(usize),
}

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
pub fn peer_credentials(stream: &UnixStream) -> io::Result<PeerCredentials> {
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(PeerCredentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
}

/// Sends all of `data`, the descriptors with its first byte.
///
/// # Errors
/// When the socket fails; part of the data may have been sent then.
pub fn send_with_fds(
    stream: &UnixStream,
    data: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), PassError> {
    if data.is_empty() {
        return if fds.is_empty() { Ok(()) } else { Err(PassError::NoData) };
    }
    if fds.len() > MAX_DESCRIPTORS {
        return Err(PassError::TooMany(fds.len()));
    }
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let sent = loop {
        let slice = [IoSlice::new(data)];
        match sendmsg::<()>(stream.as_raw_fd(), &slice, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::Error::EINTR) => {}
            result => break result.map_err(io::Error::from)?,
        }
    };
    // Rust programs ignore SIGPIPE, so plain writes are safe for the rest.
    (&mut &*stream).write_all(&data[sent..])?;
    Ok(())
}

/// Receives what is there, and up to `at_most` descriptors, close-on-exec. Zero bytes means that
/// the peer has closed its end.
///
/// # Errors
/// When the socket fails, and when descriptors came that nobody agreed on or had room for: none is
/// kept then.
pub fn recv_with_fds(
    stream: &UnixStream,
    buffer: &mut [u8],
    at_most: usize,
) -> Result<(usize, Vec<OwnedFd>), PassError> {
    if at_most > MAX_DESCRIPTORS {
        return Err(PassError::TooMany(at_most));
    }
    let (count, fds, truncated) = receive(stream, buffer)?;
    if truncated || fds.len() > at_most {
        return Err(PassError::Truncated(at_most));
    }
    Ok((count, fds))
}

/// Room for the descriptors of one message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 16 + MAX_DESCRIPTORS * 4]);

/// One `recvmsg`. Written out because descriptors that came with a truncated message are ours all
/// the same and have to be closed.
fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>, bool)> {
    let mut control = Control([MaybeUninit::uninit(); 16 + MAX_DESCRIPTORS * 4]);
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    let count = loop {
        // SAFETY: the header points to one buffer and one control area that outlive the call, with
        // their true lengths.
        let result = unsafe {
            libc::recvmsg(stream.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC)
        };
        match usize::try_from(result) {
            Ok(count) => break count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
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
        let (level, kind, length) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: a computation on numbers.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (length as usize).saturating_sub(head) / size_of::<RawFd>();
            // SAFETY: the data lies right behind the header, within the control area.
            let data = unsafe { libc::CMSG_DATA(message) }.cast::<RawFd>();
            for index in 0..count {
                // SAFETY: within the message's length; the kernel made the descriptor for us alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(data.add(index).read_unaligned()) });
            }
        }
        // SAFETY: both come from the kernel's answer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    fds
}
