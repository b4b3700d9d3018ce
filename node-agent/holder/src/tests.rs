#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{SockFlag, SockType, socketpair};
use node_agent_handover::{FromPredecessor, FromWorker, SPOKEN, ToWorker};

use crate::channel::{Channel, ChannelError, Received};
use crate::door::{Door, DoorError};
use crate::listeners::{ListenError, bind_plugin, bind_site};

#[test]
fn messages_and_descriptors_arrive_one_by_one() {
    let (mut ours, theirs) = Channel::pair(SPOKEN.max).unwrap();
    let mut theirs = Channel::new(theirs, SPOKEN.max);
    assert!(theirs.receive::<ToWorker>().unwrap().is_none());
    let (read, write) = std::io::pipe().unwrap();
    ours.send(&ToWorker::Door, vec![OwnedFd::from(read)])
        .unwrap();
    ours.send(&ToWorker::Ping, Vec::new()).unwrap();
    let Received { message, mut fds } = theirs.receive::<ToWorker>().unwrap().unwrap();
    assert_eq!((message, fds.len()), (ToWorker::Door, 1));
    File::from(OwnedFd::from(write)).write_all(b"x").unwrap();
    let mut byte = [0];
    File::from(fds.remove(0)).read_exact(&mut byte).unwrap();
    let next = theirs.receive::<ToWorker>().unwrap().unwrap();
    assert!(next.message == ToWorker::Ping && next.fds.is_empty());
    drop(ours);
    assert!(matches!(
        theirs.receive::<ToWorker>(),
        Err(ChannelError::Gone)
    ));
    let gone = theirs.send(&FromWorker::Pong, Vec::new());
    assert!(matches!(gone, Err(ChannelError::Gone)));
}

#[test]
fn a_large_message_arrives_whole_with_what_rides_along() {
    let (mut ours, theirs) = Channel::pair(SPOKEN.max).unwrap();
    let mut theirs = Channel::new(theirs, SPOKEN.max);
    let why = "x".repeat(1 << 20);
    let large = FromPredecessor::Refused { why };
    let (read, _write) = std::io::pipe().unwrap();
    ours.send(&large, vec![OwnedFd::from(read)]).unwrap();
    let received = theirs.receive::<FromPredecessor>().unwrap().unwrap();
    assert!(received.message == large && received.fds.len() == 1);
}

#[test]
fn who_does_not_listen_is_given_up_and_rubbish_is_no_message() {
    let (mut ours, theirs) = Channel::pair(SPOKEN.max).unwrap();
    let stuck = (0..100_000).find_map(|_| ours.send(&ToWorker::Ping, Vec::new()).err());
    assert!(matches!(stuck, Some(ChannelError::Stuck)));
    drop(theirs);

    let (one, other) = socketpair(
        nix::sys::socket::AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_NONBLOCK,
    )
    .unwrap();
    nix::unistd::write(&one, b"rubbish").unwrap();
    let mut other = Channel::new(other, SPOKEN.max);
    let answer = other.receive::<FromWorker>();
    assert!(matches!(answer, Err(ChannelError::Wire(_))));
}

#[test]
fn the_door_is_for_root_alone_and_a_successor_replaces_it_in_one_step() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run/holder.sock");
    assert!(Door::knock(&path).unwrap().is_none(), "no door");
    let first = Door::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let directory = std::fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(directory.mode() & 0o777, 0o700);
    let (_socket, peer) = Door::knock(&path).unwrap().unwrap();
    assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
    assert!(first.accept().unwrap().is_some());
    assert!(first.accept().unwrap().is_none(), "nobody else asked");
    let second = Door::bind(&path).unwrap();
    let _asking = Door::knock(&path).unwrap().unwrap();
    assert!(first.accept().unwrap().is_none());
    assert!(second.accept().unwrap().is_some());
    // A duplicate answers once the original is gone: this is how an orphaned worker is found.
    let duplicate = Door::from_listener(second.duplicate().unwrap());
    drop(second);
    let _asking = Door::knock(&path).unwrap().unwrap();
    assert!(duplicate.accept().unwrap().is_some());
    drop(duplicate);
    assert!(Door::knock(&path).unwrap().is_none(), "nobody is behind it");
}

#[test]
fn a_directory_others_can_write_is_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
    let error = Door::bind(&root.path().join("holder.sock")).unwrap_err();
    assert!(
        matches!(error, DoorError::OpenDirectory { mode: 0o777, .. }),
        "{error}"
    );
    let error = bind_plugin(&root.path().join("agent.sock")).unwrap_err();
    assert!(matches!(error, ListenError::Directory(_)), "{error}");
}

#[test]
fn a_stale_plugin_socket_is_replaced_and_a_live_one_is_not() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("agent.sock");
    drop(UnixListener::bind(&path).unwrap());
    let live = bind_plugin(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    UnixStream::connect(&path).unwrap();
    assert!(matches!(bind_plugin(&path), Err(ListenError::Taken(_))));
    drop(live);
    bind_plugin(&path).unwrap();
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn a_site_whose_address_is_taken_names_it() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let first = bind_site(any).unwrap();
    let taken = first.local_addr().unwrap();
    let error = bind_site(taken).unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
    // The unspecified IPv6 address takes IPv4, too.
    let both = bind_site("[::]:0".parse().unwrap()).unwrap();
    let port = both.local_addr().unwrap().port();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
}
