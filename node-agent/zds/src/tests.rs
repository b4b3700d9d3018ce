#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use prost::Message;

use crate::message::{
    AddWorkload, DelWorkload, KeepWorkload, Payload, SnapshotSent, WorkloadInfo, WorkloadRequest,
    WorkloadResponse, ZdsHello,
};
use crate::session::session;
use crate::wire::Packets;
use crate::{AddedPod, Pods, ZdsError};

#[derive(Default)]
struct Recorder(RefCell<Vec<String>>);

impl Pods for Recorder {
    async fn add(&self, pod: AddedPod) -> Result<(), String> {
        let mut content = String::new();
        std::fs::File::from(pod.netns)
            .read_to_string(&mut content)
            .unwrap();
        let AddedPod {
            uid,
            name,
            namespace,
            service_account,
            ..
        } = pod;
        self.0.borrow_mut().push(format!(
            "add {uid} {namespace}/{name} {service_account} {content}"
        ));
        if uid == "bad" {
            Err("cannot".into())
        } else {
            Ok(())
        }
    }

    async fn delete(&self, uid: &str) {
        self.0.borrow_mut().push(format!("delete {uid}"));
    }

    fn synced(&self, synced: bool) {
        self.0.borrow_mut().push(format!("synced {synced}"));
    }
}

/// Something to send as a descriptor that can be told apart on the other side.
fn marked(text: &str) -> OwnedFd {
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(text.as_bytes()).unwrap();
    read.into()
}

fn ask(agent: &OwnedFd, payload: Payload, fd: Option<&OwnedFd>) -> Option<String> {
    let bytes = WorkloadRequest {
        payload: Some(payload),
    }
    .encode_to_vec();
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        agent.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        control,
        flags,
        None,
    )
    .unwrap();
    let mut answer = [0; 1024];
    let n = recv(agent.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    (n > 0).then(|| {
        WorkloadResponse::decode(&answer[..n])
            .unwrap()
            .ack
            .unwrap()
            .error
    })
}

fn add(uid: &str) -> Payload {
    let info = WorkloadInfo {
        name: "n".into(),
        namespace: "ns".into(),
        service_account: "sa".into(),
    };
    Payload::Add(AddWorkload {
        uid: uid.into(),
        workload_info: Some(info),
    })
}

fn with_session(
    served: &mut HashSet<String>,
    agent: impl FnOnce(&OwnedFd) + Send + 'static,
) -> (Vec<String>, Result<(), ZdsError>) {
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    );
    let (ours, theirs) = pair.unwrap();
    let script = thread::spawn(move || {
        let mut hello = [0; 64];
        let n = recv(theirs.as_raw_fd(), &mut hello, MsgFlags::empty()).unwrap();
        assert_eq!(ZdsHello::decode(&hello[..n]).unwrap().version, 1);
        agent(&theirs);
    });
    let recorder = Recorder::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        nix::fcntl::fcntl(
            ours.as_fd(),
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .unwrap();
        session(&Packets::new(ours).unwrap(), &recorder, served).await
    });
    script.join().unwrap();
    (recorder.0.into_inner(), result)
}

#[test]
fn a_session_adds_deletes_and_reports_errors() {
    let mut served = HashSet::new();
    let (said, result) = with_session(&mut served, |agent| {
        assert_eq!(ask(agent, add("a"), Some(&marked("A"))).unwrap(), "");
        assert_eq!(
            ask(agent, add("bad"), Some(&marked("B"))).unwrap(),
            "cannot"
        );
        assert_eq!(
            ask(agent, Payload::SnapshotSent(SnapshotSent {}), None).unwrap(),
            ""
        );
        let del = Payload::Del(DelWorkload { uid: "a".into() });
        assert_eq!(ask(agent, del, None).unwrap(), "");
    });
    result.unwrap();
    assert_eq!(
        said,
        [
            "add a ns/n sa A",
            "add bad ns/n sa B",
            "synced true",
            "delete a"
        ]
    );
    assert!(served.is_empty());
}

#[test]
fn a_snapshot_removes_what_it_neither_adds_nor_keeps() {
    let mut served = HashSet::from(["kept".to_owned(), "gone".to_owned()]);
    let (said, result) = with_session(&mut served, |agent| {
        let keep = Payload::Keep(KeepWorkload { uid: "kept".into() });
        assert_eq!(ask(agent, keep, None).unwrap(), "");
        assert_eq!(
            ask(agent, Payload::SnapshotSent(SnapshotSent {}), None).unwrap(),
            ""
        );
    });
    result.unwrap();
    assert_eq!(said, ["delete gone", "synced true"]);
    assert_eq!(served, HashSet::from(["kept".to_owned()]));
}

#[test]
fn an_add_without_a_descriptor_ends_the_session() {
    let mut served = HashSet::new();
    let (said, result) = with_session(&mut served, |agent| {
        assert_eq!(ask(agent, add("a"), None), None);
    });
    assert!(matches!(result, Err(ZdsError::Protocol(_))));
    assert!(said.is_empty());
}
