//! The owner of namespaces in real network namespaces. Needs root; fails without.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{getsockopt, sockopt};
use tunnel_sockets::{Family, Namespaces, PACKET_MARK, Port, SocketKind, Sockets, SocketsError};

const PATIENCE: Duration = Duration::from_secs(10);

/// The owner on a thread of its own, as it is a process of its own in what ships. It ends when the
/// last handle is gone.
fn start() -> (thread::JoinHandle<()>, Sockets) {
    let (sockets, inbox) = Sockets::channel();
    let owner = thread::spawn(move || Namespaces::new().unwrap().serve(inbox));
    (owner, sockets)
}

/// Runs `work` in a fresh network namespace with loopback up.
fn in_fresh_netns<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
                let up = Command::new("ip")
                    .args(["link", "set", "lo", "up"])
                    .status()
                    .unwrap();
                assert!(up.success());
                work()
            })
            .join()
            .unwrap()
    })
}

fn own_netns() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// How many threads of this process are where the caller is, itself included.
fn threads_in_own_netns() -> usize {
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread of another test may end meanwhile.
    let places = threads.filter_map(|t| std::fs::read_link(t.ok()?.path().join("ns/net")).ok());
    places.filter(|place| *place == own).count()
}

/// Waits until nobody listens. A child that another test starts has a copy of every descriptor until
/// it executes its program.
fn wait_until_refused(port: u16) {
    let began = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            outcome => assert!(began.elapsed() < PATIENCE, "{port}: {outcome:?}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn open(
    sockets: &Sockets,
    pod: &str,
    netns: OwnedFd,
) -> Result<tunnel_sockets::ListenerSet, SocketsError> {
    block_on(sockets.open(Arc::from(pod), netns, true))
}

#[test]
fn listeners_live_in_the_pod_and_are_handed_out_again() {
    let (owner, sockets) = start();
    in_fresh_netns(|| {
        let first = open(&sockets, "a", own_netns()).unwrap();
        assert!(!first.reused);
        assert_eq!(first.listeners.len(), 3);
        for (port, _) in &first.listeners {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).unwrap();
        }
        drop(first);
        // The owner holds the originals: connections wait in their queues.
        TcpStream::connect((Ipv4Addr::LOCALHOST, Port::Outbound.number())).unwrap();
        assert!(open(&sockets, "a", own_netns()).unwrap().reused);
        assert!(block_on(sockets.close(Arc::from("a"))));
        assert!(!block_on(sockets.close(Arc::from("a"))));
        wait_until_refused(Port::Outbound.number());
    });
    let outside = TcpStream::connect((Ipv4Addr::LOCALHOST, Port::InboundHbone.number()));
    assert!(
        outside.is_err(),
        "a pod's listener is reachable in the agent's namespace"
    );
    drop(sockets);
    owner.join().unwrap();
}

#[test]
fn a_port_in_use_is_named_and_nothing_stays_open() {
    let (_owner, sockets) = start();
    in_fresh_netns(|| {
        let taken = TcpListener::bind(("::", 15008)).unwrap();
        let error = open(&sockets, "a", own_netns()).unwrap_err();
        assert!(
            matches!(&error, SocketsError::Listen { port: 15008, .. }),
            "{error}"
        );
        wait_until_refused(15001);
        assert_eq!(threads_in_own_netns(), 1, "the owner stays inside");
        drop(taken);
        open(&sockets, "a", own_netns()).unwrap();
        assert_eq!(threads_in_own_netns(), 1, "the owner stays inside");
    });
}

#[test]
fn sockets_are_marked_and_transparent_ones_take_a_foreign_source() {
    let (_owner, sockets) = start();
    in_fresh_netns(|| {
        open(&sockets, "a", own_netns()).unwrap();
        for (family, source, to) in [
            (Family::V4, "203.0.113.7:0", "127.0.0.1:0"),
            (Family::V6, "[2001:db8::7]:0", "[::1]:0"),
        ] {
            let server = TcpListener::bind(to).unwrap();
            let made = sockets.make(Arc::from("a"), family, SocketKind::Transparent, 1);
            let fd = block_on(made).unwrap().pop().unwrap();
            assert_eq!(getsockopt(&fd, sockopt::Mark).unwrap(), PACKET_MARK);
            let socket = socket2::Socket::from(fd);
            let source: SocketAddr = source.parse().unwrap();
            socket.bind(&source.into()).unwrap();
            // Answers to a foreign address come back over loopback by the pod's routing rule,
            // which is not this crate's; that the bind is allowed is.
            assert_eq!(
                socket.local_addr().unwrap().as_socket().unwrap().ip(),
                source.ip()
            );
            drop(server);
        }
        let made = sockets.make(Arc::from("a"), Family::V4, SocketKind::Captured, 1);
        let plain = block_on(made).unwrap().pop().unwrap();
        assert_eq!(getsockopt(&plain, sockopt::Mark).unwrap(), 0);
    });
    let unknown = block_on(sockets.make(Arc::from("b"), Family::V4, SocketKind::Outbound, 1));
    assert!(matches!(unknown.unwrap_err(), SocketsError::UnknownPod(_)));
}

#[test]
fn a_socket_connects_inside_its_pod() {
    let (_owner, sockets) = start();
    in_fresh_netns(|| {
        open(&sockets, "a", own_netns()).unwrap();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let made = sockets.make(Arc::from("a"), Family::V4, SocketKind::Outbound, 3);
        for fd in block_on(made).unwrap() {
            let socket = socket2::Socket::from(fd);
            socket.set_nonblocking(false).unwrap();
            socket.connect(&to.into()).unwrap();
            TcpStream::from(socket).write_all(b"x").unwrap();
            let mut byte = [0];
            server.accept().unwrap().0.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x");
        }
    });
}

#[test]
fn a_successor_takes_over_without_closing_a_listener() {
    in_fresh_netns(|| {
        let mut first = Namespaces::new().unwrap();
        first.open(&Arc::from("a"), own_netns(), true).unwrap();
        let waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, Port::Outbound.number())).unwrap();
        let mut second = Namespaces::new().unwrap();
        for kept in first.kept() {
            let netns = kept.netns.try_clone().unwrap();
            let listeners = kept.listeners.iter();
            let listeners = listeners.map(|l| l.try_clone().unwrap().into()).collect();
            second.adopt(kept.pod, netns, listeners, kept.ipv6).unwrap();
        }
        drop(first);
        let again = second.open(&Arc::from("a"), own_netns(), true).unwrap();
        assert!(again.reused && again.ipv6);
        let (port, listener) = &again.listeners[0];
        assert_eq!(*port, Port::Outbound);
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.port(), waiting.local_addr().unwrap().port());
        let incomplete = second.adopt(&Arc::from("b"), own_netns(), Vec::new(), true);
        assert_eq!(incomplete.unwrap_err().kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn what_leads_to_applications_is_armed_and_tunnels_are_not() {
    let (_owner, sockets) = start();
    in_fresh_netns(|| {
        let opened = open(&sockets, "a", own_netns()).unwrap();
        for (port, listener) in &opened.listeners {
            let mut peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).unwrap();
            let accepted = listener.accept().unwrap().0;
            let armed = socket2::SockRef::from(&accepted).linger().unwrap();
            drop(accepted);
            let end = peer.read(&mut [0]);
            if *port == Port::InboundHbone {
                assert_eq!(armed, None);
                assert_eq!(end.unwrap(), 0);
            } else {
                assert_eq!(armed, Some(Duration::ZERO), "{port:?} is not inherited");
                assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            }
        }
        for (kind, armed) in [
            (SocketKind::Outbound, Some(Duration::ZERO)),
            (SocketKind::Transparent, Some(Duration::ZERO)),
            (SocketKind::Captured, None),
        ] {
            let made = sockets.make(Arc::from("a"), Family::V4, kind, 1);
            let fd = block_on(made).unwrap().pop().unwrap();
            assert_eq!(socket2::SockRef::from(&fd).linger().unwrap(), armed);
        }
    });
}
