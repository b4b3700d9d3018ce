//! Passing descriptors. Needs no privilege.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use node_agent_namespace::{
    MAX_DESCRIPTORS, keep_open_in_children, peer_credentials, recv_with_fds, send_with_fds,
};

/// Tests that count descriptors must not run beside others that open some.
static ALONE: Mutex<()> = Mutex::new(());

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_descriptor_arrives_with_the_first_byte() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut end, other) = UnixStream::pair().unwrap();
    send_with_fds(&ours, b"hello", &[other.as_fd()]).unwrap();
    drop(other);
    let mut buffer = [0; 2];
    let (count, fds) = recv_with_fds(&theirs, &mut buffer).unwrap();
    assert_eq!((&buffer[..count], fds.len()), (&b"he"[..], 1));
    let flags = fs::read_to_string(format!("/proc/self/fdinfo/{}", fds[0].as_raw_fd())).unwrap();
    let flags = flags
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap()
        .trim();
    assert_ne!(
        u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000,
        0,
        "close-on-exec"
    );
    let mut rest = [0; 8];
    let (count, none) = recv_with_fds(&theirs, &mut rest).unwrap();
    assert_eq!((&rest[..count], none.len()), (&b"llo"[..], 0));

    File::from(fds.into_iter().next().unwrap())
        .write_all(b"x")
        .unwrap();
    end.read_exact(&mut buffer[..1]).unwrap();
    assert_eq!(buffer[0], b'x');

    drop(ours);
    assert_eq!(recv_with_fds(&theirs, &mut rest).unwrap().0, 0);
}

/// A message that does not fit our control area: the kernel cuts it, and says so.
#[test]
fn a_truncated_message_is_an_error_and_none_is_kept() {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let file: OwnedFd = File::open("/dev/null").unwrap().into();
    let before = open_descriptors();
    let many = vec![file.as_raw_fd(); MAX_DESCRIPTORS + 7];
    let slice = [std::io::IoSlice::new(b"x")];
    let rights = [ControlMessage::ScmRights(&many)];
    sendmsg::<()>(ours.as_raw_fd(), &slice, &rights, MsgFlags::empty(), None).unwrap();
    let error = recv_with_fds(&theirs, &mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    assert_eq!(open_descriptors(), before);

    // As many as fit do arrive.
    let fds = vec![file.as_fd(); MAX_DESCRIPTORS];
    assert_eq!(send_with_fds(&ours, b"xy", &fds).unwrap(), 2);
    let (count, arrived) = recv_with_fds(&theirs, &mut [0; 8]).unwrap();
    assert_eq!((count, arrived.len()), (2, MAX_DESCRIPTORS));
    drop(arrived);
    assert_eq!(open_descriptors(), before);
}

#[test]
fn misuse_is_refused() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fds = vec![ours.as_fd(); MAX_DESCRIPTORS + 1];
    let kind = |result: std::io::Result<usize>| result.unwrap_err().kind();
    assert_eq!(
        kind(send_with_fds(&ours, b"", &fds[..1])),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(send_with_fds(&ours, b"x", &fds)),
        ErrorKind::InvalidInput
    );
    theirs.set_nonblocking(true).unwrap();
    let nothing = recv_with_fds(&theirs, &mut [0; 1]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    drop(theirs);
    assert_eq!(kind(send_with_fds(&ours, b"x", &[])), ErrorKind::BrokenPipe);
}

#[test]
fn a_connection_kept_open_ends_with_the_last_child() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (ours, theirs) = UnixStream::pair().unwrap();
    keep_open_in_children(&ours).unwrap();
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(ours);
    theirs.set_nonblocking(true).unwrap();
    let open = recv_with_fds(&theirs, &mut [0; 1]).unwrap_err();
    assert_eq!(
        open.kind(),
        ErrorKind::WouldBlock,
        "the child holds the connection"
    );
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(recv_with_fds(&theirs, &mut [0; 1]).unwrap().0, 0);
}

#[test]
fn the_peer_is_who_connected() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let peer = peer_credentials(&ours).unwrap();
    assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
    assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
    assert_eq!(peer.gid, nix::unistd::getgid().as_raw());
}
