//! An agent that follows a script: it does on demand what a real one does not.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use cni_plugin_handoff::{
    CertificateState, Decoder, Frame, Reply, Report, Request, SPOKEN, encode, read_report,
    read_request,
};
use node_agent_namespace::recv_with_fds;
use node_agent_redirect::{Backend, RedirectPlan};
use tempfile::TempDir;

/// Serves a socket with one script for every connection, one after the other.
pub(crate) struct ScriptedAgent {
    directory: TempDir,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Request>>>,
    server: Option<JoinHandle<()>>,
}

/// One connection.
pub(crate) struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
    seen: Arc<Mutex<Vec<Request>>>,
    pub(crate) descriptors: usize,
}

impl ScriptedAgent {
    pub(crate) fn new(script: impl Fn(&mut Conversation) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&seen));
        let server = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                script(&mut Conversation {
                    stream: stream.unwrap(),
                    decoder: Decoder::new(),
                    seen: Arc::clone(&noted),
                    descriptors: 0,
                });
            }
        });
        Self {
            directory,
            stop,
            seen,
            server: Some(server),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for ScriptedAgent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(self.socket()));
        let ended = self.server.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(
                ended.is_some_and(|ended| ended.is_ok()),
                "the script panicked"
            );
        }
    }
}

impl Conversation {
    /// The next frame, and how many descriptors came with it; `None` at the end.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let mut buffer = vec![0; self.decoder.wanted()];
            let (count, descriptors) = match recv_with_fds(&self.stream, &mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            };
            self.descriptors += descriptors.len();
            if count == 0 {
                return None;
            }
            self.decoder.push(&buffer[..count]).unwrap();
        }
    }

    pub(crate) fn request(&mut self) -> Option<Request> {
        let request = read_request(&self.frame()?, SPOKEN).unwrap();
        self.seen.lock().unwrap().push(request.clone());
        Some(request)
    }

    pub(crate) fn report(&mut self) -> Option<Report> {
        Some(read_report(&self.frame()?, SPOKEN).unwrap())
    }

    pub(crate) fn say(&mut self, reply: &Reply) {
        self.say_in(SPOKEN.max, reply);
    }

    /// Says it in another version of the protocol.
    pub(crate) fn say_in(&mut self, version: u16, reply: &Reply) {
        self.raw(&encode(version, reply).unwrap());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        // The plugin may have gone away; that is what some scripts are about.
        drop(self.stream.write_all(bytes));
    }

    /// Says nothing more until the plugin is gone.
    pub(crate) fn hang(&mut self) {
        let mut rest = Vec::new();
        drop(self.stream.read_to_end(&mut rest));
    }
}

pub(crate) fn plan() -> RedirectPlan {
    RedirectPlan::new(Backend::Nft)
}

/// Brings an ADD to the point where its rules are installed.
pub(crate) fn install(conversation: &mut Conversation) {
    assert!(matches!(conversation.request(), Some(Request::Add(_))));
    conversation.say(&Reply::Install { plan: plan() });
    let report = conversation.report();
    assert!(
        matches!(report, Some(Report::Installed { .. })),
        "{report:?}"
    );
}

/// An agent for which no pod is in the mesh.
pub(crate) fn oblige(conversation: &mut Conversation) {
    let outside = Reply::NotInMesh {
        reason: "nobody is".to_owned(),
    };
    match conversation.request() {
        Some(Request::Add(_) | Request::Check(_)) => conversation.say(&outside),
        Some(Request::Del(_) | Request::Gc(_)) => {
            conversation.say(&Reply::Done {
                was_enrolled: false,
                plan: None,
            });
        }
        Some(Request::Status) => conversation.say(&Reply::Ready),
        None => {}
    }
}

/// An agent for which every pod is in the mesh.
pub(crate) fn serve(conversation: &mut Conversation) {
    match conversation.request() {
        Some(Request::Add(_)) => {
            assert_eq!(
                conversation.descriptors, 1,
                "the namespace rides with the request"
            );
            conversation.say(&Reply::Install { plan: plan() });
            let report = conversation.report();
            assert!(
                matches!(report, Some(Report::Installed { .. })),
                "{report:?}"
            );
            conversation.say(&Reply::Admitted {
                certificate: CertificateState::Ready,
            });
        }
        Some(Request::Check(_)) => {
            assert_eq!(
                conversation.descriptors, 1,
                "the namespace rides with the request"
            );
            conversation.say(&Reply::Checked {
                plan: Some(plan()),
                problems: Vec::new(),
            });
        }
        Some(Request::Del(_) | Request::Gc(_)) => {
            conversation.say(&Reply::Done {
                was_enrolled: true,
                plan: Some(plan()),
            });
        }
        Some(Request::Status) => conversation.say(&Reply::Ready),
        None => {}
    }
}

/// A listener that accepts nothing and whose queue is full, as a stopped agent's is after a while.
/// It stays so while the result is held.
pub(crate) fn fill_queue(path: &Path) -> (std::os::fd::OwnedFd, Vec<std::os::fd::OwnedFd>) {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };
    let new = |flags| socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let address = UnixAddr::new(path).unwrap();
    let listener = new(SockFlag::SOCK_CLOEXEC);
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = new(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
        match connect(client.as_raw_fd(), &address) {
            Ok(()) => waiting.push(client),
            Err(nix::errno::Errno::EAGAIN) => return (listener, waiting),
            Err(error) => panic!("{error}"),
        }
    }
}
