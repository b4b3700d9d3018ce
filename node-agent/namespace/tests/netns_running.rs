//! Capture begins and ends in a pod that runs: what it has open lives on, what it opens is
//! captured. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use node_agent_namespace::{
    CaptureError, Netns, apply, capture_running, check, connections, enter, spare_fewer, undo,
};
use node_agent_redirect::{Backend, MAX_SPARED, RedirectPlan, served};

const BACKENDS: [Backend; 2] = [Backend::Nft, Backend::Legacy];
const PATIENCE: Duration = Duration::from_secs(5);
const POD: [&str; 2] = ["10.7.0.2", "fd07::2"];
const PEER: [&str; 2] = ["10.7.0.1", "fd07::1"];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn run(ns: &Netns, line: &str) -> String {
    let output = enter(ns, || {
        Command::new("sh").args(["-c", line]).output().unwrap()
    })
    .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A pod that runs outside the mesh, and a peer, connected by a wire.
fn pod_and_peer() -> (Netns, Netns) {
    let (pod, peer) = (Netns::create().unwrap(), Netns::create().unwrap());
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&peer));
    let there = format!("/proc/{}/fd/{fd}", std::process::id());
    run(
        &pod,
        &format!(
            "ip link set lo up && ip link add eth0 type veth peer name eth1 netns {there} && \
             ip link set eth0 up && ip addr add 10.7.0.2/24 dev eth0 && \
             ip addr add fd07::2/64 dev eth0 nodad"
        ),
    );
    run(
        &peer,
        "ip link set lo up && ip link set eth1 up && ip addr add 10.7.0.1/24 dev eth1 && \
         ip addr add fd07::1/64 dev eth1 nodad",
    );
    (pod, peer)
}

/// A listener for both families, as most servers have it.
fn listen(ns: &Netns, port: u16) -> TcpListener {
    enter(ns, || TcpListener::bind(("::", port)).unwrap()).unwrap()
}

/// Answers every connection with the port, for as long as the process lives.
fn answer_at(ns: &Netns, port: u16) {
    let listener = listen(ns, port);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream.unwrap().write_all(port.to_string().as_bytes()));
        }
    });
}

fn dial(ns: &Netns, to: (&str, u16), from_port: u16) -> TcpStream {
    let to = SocketAddr::new(to.0.parse().unwrap(), to.1);
    enter(ns, || {
        let (family, any) = if to.is_ipv4() {
            (AddressFamily::Inet, "0.0.0.0")
        } else {
            (AddressFamily::Inet6, "::")
        };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
        let own = SocketAddr::new(any.parse().unwrap(), from_port);
        let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
        bind(raw, &SockaddrStorage::from(own)).unwrap();
        connect(raw, &SockaddrStorage::from(to)).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    })
    .unwrap()
}

/// Who answers a new connection.
fn answered_by(ns: &Netns, to: (&str, u16)) -> String {
    let mut text = String::new();
    dial(ns, to, 0).read_to_string(&mut text).unwrap();
    text
}

/// Both ends of a connection.
struct Pair {
    name: String,
    pod: TcpStream,
    peer: TcpStream,
}

impl Pair {
    fn new(from: &Netns, listener: &TcpListener, to: &str, pod_dials: bool) -> Self {
        let port = listener.local_addr().unwrap().port();
        let dialled = dial(from, (to, port), 0);
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_read_timeout(Some(PATIENCE)).unwrap();
        let (pod, peer) = if pod_dials {
            (dialled, accepted)
        } else {
            (accepted, dialled)
        };
        let name = format!("to {to}:{port}");
        Self { name, pod, peer }
    }

    /// Words go through, first from the pod or first from the peer, and the end is an end.
    fn lives(&mut self, pod_first: bool) {
        let name = &self.name;
        let say = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(b"words").unwrap();
            let mut heard = [0; 5];
            if let Err(error) = to.read_exact(&mut heard) {
                panic!("{name}, pod first {pod_first}: {error}");
            }
        };
        if pod_first {
            say(&mut self.pod, &mut self.peer);
        }
        say(&mut self.peer, &mut self.pod);
        say(&mut self.pod, &mut self.peer);
    }

    fn ends(mut self) {
        self.pod.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(self.peer.read(&mut [0; 1]).unwrap(), 0, "{}", self.name);
        self.peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(self.pod.read(&mut [0; 1]).unwrap(), 0, "{}", self.name);
    }
}

fn all_live(pairs: &mut [Pair], pod_first: bool) {
    for pair in pairs {
        pair.lives(pod_first);
    }
}

/// Connections of both directions and families between a pod and its peer.
fn pairs(pod: &Netns, peer: &Netns, listeners: (&TcpListener, &TcpListener)) -> Vec<Pair> {
    let (at_pod, at_peer) = listeners;
    let mut pairs = Vec::new();
    for family in 0..2 {
        pairs.push(Pair::new(pod, at_peer, PEER[family], true));
        pairs.push(Pair::new(peer, at_pod, POD[family], false));
    }
    pairs
}

#[test]
fn what_is_open_lives_on_and_what_is_opened_is_captured() {
    for backend in BACKENDS {
        let (pod, peer) = pod_and_peer();
        let listeners = (listen(&pod, 80), listen(&peer, 80));
        let listeners = (&listeners.0, &listeners.1);
        for port in [15001, 15006] {
            answer_at(&pod, port);
        }
        // Those that speak before capture, and those that are silent until after it, each with
        // the pod and with the peer speaking first then.
        let mut spoken = pairs(&pod, &peer, listeners);
        all_live(&mut spoken, true);
        let mut silent = pairs(&pod, &peer, listeners);
        let mut silent_too = pairs(&pod, &peer, listeners);

        let plan = RedirectPlan::new(backend);
        let full = capture_running(&pod, &plan, soon()).unwrap();
        assert_eq!(full.spared.len(), 12, "{:?}", full.spared);
        assert_eq!(check(&pod, &full, soon()).unwrap(), [], "{backend}");
        for to in PEER {
            assert_eq!(answered_by(&pod, (to, 80)), "15001", "{backend}");
        }
        for to in POD {
            assert_eq!(answered_by(&peer, (to, 80)), "15006", "{backend}");
        }
        for pair in spoken.iter_mut().chain(&mut silent) {
            pair.lives(true);
        }
        all_live(&mut silent_too, false);

        // Connections that end leave the list, the others stay on it and live.
        assert_eq!(spare_fewer(&pod, &full, soon()).unwrap(), None);
        spoken.into_iter().chain(silent).for_each(Pair::ends);
        let fewer = spare_fewer(&pod, &full, soon()).unwrap().unwrap();
        assert_eq!(fewer.spared.len(), 4);
        assert_eq!(check(&pod, &fewer, soon()).unwrap(), []);
        all_live(&mut silent_too, false);
        silent_too.into_iter().for_each(Pair::ends);
        let none = spare_fewer(&pod, &fewer, soon()).unwrap().unwrap();
        assert_eq!(none, plan);
        assert_eq!(check(&pod, &plan, soon()).unwrap(), []);
    }
}

/// What a packet that is no SYN meets if its connection is not on the list.
#[test]
fn without_the_list_silent_connections_would_be_cut() {
    for backend in BACKENDS {
        let (pod, peer) = pod_and_peer();
        let listeners = (listen(&pod, 80), listen(&peer, 80));
        let silent = pairs(&pod, &peer, (&listeners.0, &listeners.1));
        let plan = RedirectPlan::new(backend);
        apply(&pod, &plan, soon()).unwrap();
        for mut pair in silent {
            drop(pair.pod.write_all(b"words"));
            let cut = pair.peer.set_read_timeout(Some(Duration::from_millis(300)));
            cut.unwrap();
            assert!(pair.peer.read(&mut [0; 1]).is_err(), "{}", pair.name);
        }
    }
}

#[test]
fn connections_of_the_moment_between_live_on() {
    for backend in BACKENDS {
        let (pod, peer) = pod_and_peer();
        let listeners = (listen(&pod, 80), listen(&peer, 80));
        let listeners = (&listeners.0, &listeners.1);
        let plan = RedirectPlan::new(backend);
        apply(&pod, &plan.capturing_nothing_new(), soon()).unwrap();
        // Not on any list: tracking has seen them from the beginning.
        let mut between = pairs(&pod, &peer, listeners);
        let mut silent = pairs(&pod, &peer, listeners);
        all_live(&mut between, true);
        apply(&pod, &plan, soon()).unwrap();
        all_live(&mut between, false);
        all_live(&mut silent, false);
    }
}

/// Opened, but not to the end: the next packet of the handshake is no SYN either.
#[test]
fn connections_that_are_half_open_are_completed() {
    for backend in BACKENDS {
        for (family, tool) in ["iptables", "ip6tables"].into_iter().enumerate() {
            half_open(backend, family, &format!("{tool}-{backend}"));
        }
    }
}

fn half_open(backend: Backend, family: usize, tool: &str) {
    let (pod, peer) = pod_and_peer();
    let (at_pod, at_peer) = (listen(&pod, 80), listen(&peer, 80));
    // Neither the second nor the third packet of a handshake leaves the peer.
    let second = format!("{tool} -A OUTPUT -p tcp --sport 80 --tcp-flags SYN,ACK SYN,ACK -j DROP");
    let third = format!("{tool} -A OUTPUT -p tcp --dport 80 --tcp-flags SYN,ACK ACK -j DROP");
    run(&peer, &format!("{second} && {third}"));
    let mut answered = dial(&peer, (POD[family], 80), 0);
    let from = &pod;
    let mut dialled = std::thread::scope(|scope| {
        let dialling = scope.spawn(move || dial(from, (PEER[family], 80), 0));
        let begun = Instant::now();
        // One that each of them answered.
        for ns in [&pod, &peer] {
            let own = |local: SocketAddr| local.port() == 80;
            while !connections(ns).unwrap().iter().any(|c| own(c.local)) {
                assert!(begun.elapsed() < PATIENCE, "{:?}", connections(ns));
                std::thread::yield_now();
            }
        }
        // A SYN that is sent again would be captured, as one of a new connection.
        run(
            &pod,
            &format!("{tool} -A OUTPUT -p tcp --dport 80 --syn -j DROP"),
        );
        let full = capture_running(&pod, &RedirectPlan::new(backend), soon()).unwrap();
        for spared in &full.spared {
            assert_eq!(spared.local.ip(), POD[family].parse::<IpAddr>().unwrap());
            assert_eq!(spared.remote.ip(), PEER[family].parse::<IpAddr>().unwrap());
        }
        assert_eq!(full.spared.len(), 2);
        assert!(!dialling.is_finished(), "the answer came before capture");
        run(&peer, &second.replace("-A", "-D"));
        // The peer sends it again by itself.
        dialling.join().unwrap()
    });
    run(&peer, &third.replace("-A", "-D"));
    let (mut accepted, _) = at_peer.accept().unwrap();
    accepted.write_all(b"x").unwrap();
    dialled.read_exact(&mut [0; 1]).unwrap();
    answered.write_all(b"x").unwrap();
    let (mut accepted, _) = at_pod.accept().unwrap();
    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
    accepted.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn capture_ends_without_cutting_and_begins_again() {
    for backend in BACKENDS {
        let (pod, peer) = pod_and_peer();
        let at_tunnel = (listen(&pod, 15006), listen(&pod, 15001));
        let listeners = (listen(&pod, 80), listen(&peer, 80));
        let plan = RedirectPlan::new(backend);
        let full = capture_running(&pod, &plan, soon()).unwrap();
        // Captured: whoever dials port 80 is answered by the tunnel's ports.
        let captured = |dials: &Netns, to: &str, tunnel: &TcpListener| {
            let dialled = dial(dials, (to, 80), 0);
            let (accepted, _) = tunnel.accept().unwrap();
            dialled.set_read_timeout(Some(PATIENCE)).unwrap();
            accepted.set_read_timeout(Some(PATIENCE)).unwrap();
            Pair {
                name: format!("captured, to {to}"),
                pod: dialled,
                peer: accepted,
            }
        };
        let mut all = Vec::new();
        for family in 0..2 {
            all.push(captured(&pod, PEER[family], &at_tunnel.1));
            all.push(captured(&peer, POD[family], &at_tunnel.0));
        }
        let quiet = full.capturing_nothing_new();
        apply(&pod, &quiet, soon()).unwrap();
        assert_eq!(check(&pod, &quiet, soon()).unwrap(), []);
        all_live(&mut all, true);
        assert_eq!(served(&connections(&pod).unwrap()), 4);
        let mut past = pairs(&pod, &peer, (&listeners.0, &listeners.1));
        all_live(&mut past, true);

        // Taken in again before it was out: only what went past the tunnel is spared.
        let again = capture_running(&pod, &plan, soon()).unwrap();
        assert_eq!(again.spared.len(), 4, "{:?}", again.spared);
        all.push(captured(&pod, PEER[0], &at_tunnel.1));
        all_live(&mut all, false);
        all_live(&mut past, false);

        apply(&pod, &quiet, soon()).unwrap();
        all.into_iter().for_each(Pair::ends);
        undo(&pod, &quiet, soon()).unwrap();
        all_live(&mut past, true);
        let left = run(
            &pod,
            "iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; ip6tables-legacy-save; \
             ip rule; ip -6 rule; ip route show table all; ip -6 route show table all",
        );
        for ours in ["ISTIO", "0x111", "table 100", "spare", "15001"] {
            assert!(!left.contains(ours), "{backend}: {left}");
        }
    }
}

/// Tracking remembers a captured connection for minutes. An application that comes by the same
/// ports meanwhile must not be taken for it when capture begins again.
#[test]
fn an_earlier_time_in_the_mesh_is_forgotten() {
    for backend in BACKENDS {
        for (family, own) in POD.iter().enumerate() {
            let (pod, peer) = pod_and_peer();
            let tunnel = listen(&pod, 15001);
            let listener = listen(&peer, 80);
            let plan = RedirectPlan::new(backend);
            let full = capture_running(&pod, &plan, soon()).unwrap();
            let dialled = dial(&pod, (PEER[family], 80), 40_000);
            let (accepted, from) = tunnel.accept().unwrap();
            assert_eq!(from.ip().to_canonical(), own.parse::<IpAddr>().unwrap());
            // The tunnel's end closes first: the waiting for late packets is its, not the pod's.
            drop(accepted);
            assert_eq!((&dialled).read(&mut [0; 1]).unwrap(), 0);
            drop(dialled);
            undo(&pod, &full, soon()).unwrap();

            let dialled = dial(&pod, (PEER[family], 80), 40_000);
            let (accepted, _) = listener.accept().unwrap();
            accepted.set_read_timeout(Some(PATIENCE)).unwrap();
            let name = format!("{backend}, same ports");
            let mut pair = Pair {
                name,
                pod: dialled,
                peer: accepted,
            };
            pair.lives(true);
            capture_running(&pod, &plan, soon()).unwrap();
            pair.lives(true);
            pair.ends();
        }
    }
}

#[test]
fn too_many_connections_are_not_spared_by_halves() {
    let (pod, peer) = pod_and_peer();
    let at_peer = listen(&peer, 80);
    run(&peer, "sysctl -qw net.core.somaxconn=65535");
    let raise = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(raise).unwrap();
    nix::sys::resource::setrlimit(raise, hard, hard).unwrap();
    let mut open = Vec::new();
    for _ in 0..=MAX_SPARED {
        open.push((dial(&pod, (PEER[0], 80), 0), at_peer.accept().unwrap()));
    }
    for backend in BACKENDS {
        let plan = RedirectPlan::new(backend);
        let refused = capture_running(&pod, &plan, soon()).unwrap_err();
        assert!(matches!(refused, CaptureError::Apply(_)), "{refused}");
        assert!(
            refused.to_string().contains("4097 open connections"),
            "{refused}"
        );
        // The rules that capture nothing are what is left.
        assert_eq!(
            check(&pod, &plan.capturing_nothing_new(), soon()).unwrap(),
            []
        );
        undo(&pod, &plan, soon()).unwrap();
    }
    open.pop();
    let full = capture_running(&pod, &RedirectPlan::new(Backend::Nft), soon()).unwrap();
    assert_eq!(full.spared.len(), MAX_SPARED);
    assert_eq!(check(&pod, &full, soon()).unwrap(), []);
}
