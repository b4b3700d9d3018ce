//! TEMPORARY until the namespace crate lands.
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
pub(crate) fn recv_with_fds(
    s: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let mut io = [IoSliceMut::new(buffer)];
    let m = recvmsg::<UnixAddr>(
        s.as_raw_fd(),
        &mut io,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for c in m.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = c {
            for r in raw {
                fds.push(OwnedFd::from(File::open(format!("/proc/self/fd/{r}"))?));
                nix::unistd::close(r)?;
            }
        }
    }
    Ok((m.bytes, fds))
}
