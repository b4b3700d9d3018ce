//! What a worker does all day, in small.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// The link to who started this, which is inherited as descriptor 3.
pub(crate) fn link() -> UnixStream {
    // SAFETY: it is ours alone from the start of the program on.
    UnixStream::from(unsafe { OwnedFd::from_raw_fd(3) })
}

/// Says that it is there, and answers each byte until the other end is closed.
pub(crate) fn wait() {
    let mut link = link();
    link.write_all(b"!").unwrap();
    let mut byte = [0];
    while link.read(&mut byte).unwrap() == 1 {
        link.write_all(&byte).unwrap();
    }
}

/// Tells for each path whether it can be opened.
pub(crate) fn look(paths: &[&str]) {
    for path in paths {
        match std::fs::File::open(path) {
            Ok(_) => println!("seen"),
            Err(error) => println!("{:?}", error.kind()),
        }
    }
}

pub(crate) fn work(directory: &Path, config: &Path) {
    files(directory, config);
    notices(config);
    threads();
    processors();
    tls();
    resolver();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(runtime());
    println!("worked");
}

/// How the C library asks a name server for the addresses of both families: with one call.
fn resolver() {
    let [server, client] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    client.connect(server.local_addr().unwrap()).unwrap();
    let mut bytes = *b"4";
    let mut piece = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: all zeroes is a message without address, data and control data.
    let mut messages: [libc::mmsghdr; 2] = unsafe { std::mem::zeroed() };
    for message in &mut messages {
        message.msg_hdr.msg_iov = &raw mut piece;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the two messages point to one piece, which outlives the call.
    let sent = unsafe { libc::sendmmsg(client.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
    assert_eq!(sent, 2, "{}", std::io::Error::last_os_error());
    for _ in 0..2 {
        let mut answer = [0];
        assert_eq!(server.recv(&mut answer).unwrap(), 1);
        assert_eq!(answer, *b"4");
    }
}

/// The state is written as the agent writes it, the configuration only read.
fn files(directory: &Path, config: &Path) {
    let inner = directory.join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    let [new, current, previous] = ["new", "current", "previous"].map(|name| inner.join(name));
    for round in ["one", "two"] {
        std::fs::write(&new, round).unwrap();
        drop(std::fs::remove_file(&previous));
        drop(std::fs::hard_link(&current, &previous));
        std::fs::rename(&new, &current).unwrap();
        std::fs::File::open(&current).unwrap().sync_all().unwrap();
        std::fs::File::open(&inner).unwrap().sync_all().unwrap();
    }
    assert_eq!(std::fs::read_to_string(&current).unwrap(), "two");
    assert_eq!(std::fs::read_to_string(&previous).unwrap(), "one");
    assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 2);
    std::fs::remove_dir_all(&inner).unwrap();
    assert_eq!(
        std::fs::read_to_string(config.join("config")).unwrap(),
        "configured"
    );
    assert!(
        std::fs::read_to_string("/proc/self/limits")
            .unwrap()
            .contains("Max open files")
    );
    assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() > 3);
    let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
    // SAFETY: the call takes numbers only.
    let kind = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&namespace), 0xb703) };
    assert_eq!(kind, libc::CLONE_NEWNET);
    // SAFETY: the call takes numbers only.
    let own = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    assert!(own > 2);
}

/// Who started this replaces the file when asked.
fn notices(config: &Path) {
    use inotify::{Inotify, WatchMask};
    let mut watch = Inotify::init().unwrap();
    watch.watches().add(config, WatchMask::MOVED_TO).unwrap();
    let mut link = link();
    link.write_all(b"r").unwrap();
    link.read_exact(&mut [0]).unwrap();
    let mut buffer = [0; 1024];
    let events = watch.read_events(&mut buffer).unwrap();
    assert!(
        events
            .into_iter()
            .any(|event| event.name == Some("config".as_ref()))
    );
}

fn threads() {
    let all: Vec<_> = (0..16_usize)
        .map(|number| {
            let named = std::thread::Builder::new().name(format!("worker-{number}"));
            named
                .spawn(move || vec![number; 1 << 16].iter().sum::<usize>())
                .unwrap()
        })
        .collect();
    for (number, thread) in all.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), number << 16);
    }
}

/// The number comes from the affinity and, in a control group, from its quota.
fn processors() {
    println!(
        "processors {}",
        std::thread::available_parallelism().unwrap()
    );
}

/// A handshake over loopback between threads, with fresh keys.
fn tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let session = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, listener.accept().unwrap().0);
        let mut text = [0; 5];
        stream.read_exact(&mut text).unwrap();
        stream.write_all(&text).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(address).unwrap());
    stream.write_all(b"hello").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    serving.join().unwrap();
}

/// Sockets of both families, time, blocking work and signals under tokio.
async fn runtime() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = [0; 5];
            stream.read_exact(&mut text).await.unwrap();
            stream.write_all(&text).await.unwrap();
        });
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"hello");
        serving.await.unwrap();
    }
    let blocking = tokio::task::spawn_blocking(|| std::fs::metadata("/proc/self/status").is_ok());
    assert!(blocking.await.unwrap());
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let waiting = tokio::spawn(async move { terminate.recv().await });
    // A signal to ourselves; what another process sends arrives the same way.
    // SAFETY: the call takes numbers only.
    assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
    waiting.await.unwrap().unwrap();
}
