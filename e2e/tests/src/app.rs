//! Applications in pods, as threads of the test whose sockets are in the pod's namespace.

use crate::world::Pod;
use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// For each read and write of a client.
const LIMIT: Duration = Duration::from_secs(20);
const PIECE: usize = 64 * 1024;

/// What a server does with each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends back what comes, ends when the client does.
    Echo,
    /// Greets, then answers a line; says nothing after that.
    Greet,
    /// Reads to the end, then answers with count and hash: only possible with half-close.
    Hash,
    /// Reads a number, then sends as many bytes of the pattern and closes.
    Send,
    /// The same, but closes only after the client has.
    SendAndWait,
    /// Accepts and never reads.
    Stall,
    /// Says who called, and closes.
    Peer,
}

/// A server on all addresses of a pod; ends when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    netns: std::path::PathBuf,
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(pod: &Pod, port: u16, kind: Kind) -> Result<Self> {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = pod.netns.run(|| TcpListener::bind(any))??;
        let stop = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&connections));
        thread::spawn(move || accept(&listener, kind, &stopped, &counted));
        Ok(Self {
            address: SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
            netns: pod.netns.path().to_owned(),
            stop,
            connections,
        })
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then closes the port.
        let (netns, address) = (&self.netns, self.address);
        drop(e2e_netlab::inside(netns, || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1))
        }));
    }
}

fn accept(listener: &TcpListener, kind: Kind, stop: &AtomicBool, count: &AtomicUsize) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        count.fetch_add(1, Ordering::SeqCst);
        if let Ok(stream) = stream {
            // What goes wrong shows at the client's end.
            thread::spawn(move || serve(kind, &stream).ok());
        }
    }
}

fn serve(kind: Kind, stream: &TcpStream) -> Result<()> {
    let (mut reader, mut writer) = (stream, stream);
    match kind {
        Kind::Echo => {
            std::io::copy(&mut reader, &mut writer)?;
        }
        Kind::Greet => {
            writer.write_all(b"220 welcome\n")?;
            let mut line = String::new();
            BufReader::new(reader).read_line(&mut line)?;
            writer.write_all(format!("250 {line}").as_bytes())?;
        }
        Kind::Hash => {
            let (count, hash) = read_and_hash(&mut reader)?;
            writer.write_all(format!("{count} {hash}\n").as_bytes())?;
        }
        Kind::Send | Kind::SendAndWait => {
            let mut line = String::new();
            BufReader::new(reader).read_line(&mut line)?;
            write_pattern(&mut writer, line.trim().parse()?)?;
            if kind == Kind::SendAndWait {
                std::io::copy(&mut reader, &mut std::io::sink())?;
            }
        }
        Kind::Stall => {
            stream.set_read_timeout(None)?;
            thread::sleep(Duration::from_secs(600));
        }
        Kind::Peer => {
            let peer = stream.peer_addr()?;
            writer.write_all(peer.ip().to_canonical().to_string().as_bytes())?;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

/// Connects from a pod.
///
/// # Errors
/// Refused, or no answer in time.
pub fn connect(from: &Pod, to: SocketAddr) -> Result<TcpStream> {
    let stream = from
        .netns
        .run(|| TcpStream::connect_timeout(&to, LIMIT))?
        .with_context(|| format!("connecting to {to}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One message there and back on a new connection.
///
/// # Errors
/// It does not come back.
pub fn echo(from: &Pod, to: SocketAddr, message: &str) -> Result<()> {
    let stream = connect(from, to)?;
    exchange(&stream, message.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    (&stream)
        .read_to_end(&mut rest)
        .context("the server's end")?;
    ensure!(rest.is_empty(), "{} bytes too many", rest.len());
    Ok(())
}

/// One message there and back on a connection that an echoing server has at its other end.
///
/// # Errors
/// It does not come back.
pub fn exchange(mut stream: &TcpStream, message: &[u8]) -> Result<()> {
    stream.write_all(message).context("send")?;
    let mut back = vec![0; message.len()];
    stream.read_exact(&mut back).context("receive")?;
    ensure!(back == message, "came back altered");
    Ok(())
}

/// Waits for the greeting before saying anything.
///
/// # Errors
/// No greeting, or a wrong answer.
pub fn greeted(from: &Pod, to: SocketAddr) -> Result<()> {
    let stream = connect(from, to)?;
    let (mut reader, mut writer) = (BufReader::new(&stream), &stream);
    let mut line = String::new();
    reader.read_line(&mut line).context("the greeting")?;
    ensure!(line == "220 welcome\n", "greeted with {line:?}");
    writer.write_all(b"hello\n")?;
    line.clear();
    reader.read_line(&mut line).context("the answer")?;
    ensure!(line == "250 hello\n", "answered {line:?}");
    Ok(())
}

/// Who the server says called.
///
/// # Errors
/// It does not say.
pub fn seen_as(from: &Pod, to: SocketAddr) -> Result<String> {
    let mut text = String::new();
    connect(from, to)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Sends the pattern, closes this half, and compares the server's count and hash.
///
/// # Errors
/// They differ.
pub fn upload(from: &Pod, to: SocketAddr, bytes: u64) -> Result<()> {
    let stream = connect(from, to)?;
    let hash = write_pattern(&mut &stream, bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    (&stream)
        .read_to_string(&mut answer)
        .context("the server's hash")?;
    ensure!(
        answer == format!("{bytes} {hash}\n"),
        "sent {bytes} {hash}, arrived {answer}"
    );
    Ok(())
}

/// Receives the pattern to its end and compares it with one of our own making.
///
/// # Errors
/// They differ.
pub fn download(from: &Pod, to: SocketAddr, bytes: u64) -> Result<()> {
    let stream = connect(from, to)?;
    (&stream).write_all(format!("{bytes}\n").as_bytes())?;
    same(&read_and_hash(&mut &stream)?, bytes)
}

/// The same, but closes first, when it has all of it.
///
/// # Errors
/// They differ, or more comes.
pub fn download_and_close(from: &Pod, to: SocketAddr, bytes: u64) -> Result<()> {
    let stream = connect(from, to)?;
    (&stream).write_all(format!("{bytes}\n").as_bytes())?;
    same(&read_and_hash(&mut (&stream).take(bytes))?, bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    (&stream)
        .read_to_end(&mut rest)
        .context("the server's end")?;
    ensure!(rest.is_empty(), "{} bytes too many", rest.len());
    Ok(())
}

fn same(got: &(u64, String), bytes: u64) -> Result<()> {
    let expected = (bytes, write_pattern(&mut std::io::sink(), bytes)?);
    ensure!(*got == expected, "received {got:?}, expected {expected:?}");
    Ok(())
}

/// A connection must be refused: no byte comes back, and the end comes soon.
///
/// # Errors
/// Something came back, or nothing happened at all.
pub fn refused(from: &Pod, to: SocketAddr, message: &str) -> Result<()> {
    let Ok(stream) = connect(from, to) else {
        return Ok(());
    };
    // The other side may have closed already.
    (&stream).write_all(message.as_bytes()).ok();
    let mut byte = [0];
    match (&stream).read(&mut byte) {
        Ok(0) => Ok(()),
        Ok(_) => bail!("{to} answered"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("{to} neither answers nor refuses")
        }
        Err(_) => Ok(()),
    }
}

fn read_and_hash(reader: &mut impl Read) -> Result<(u64, String)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut piece, mut count) = (vec![0; PIECE], 0);
    loop {
        let size = reader.read(&mut piece).context("receive")?;
        if size == 0 {
            return Ok((count, hex(context.finish().as_ref())));
        }
        context.update(&piece[..size]);
        count += size as u64;
    }
}

/// Bytes that repeat with no power of two, so that a lost or doubled piece shows.
fn write_pattern(writer: &mut impl Write, bytes: u64) -> Result<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut state, mut left) = (0x9e37_79b9_7f4a_7c15_u64, bytes);
    let mut piece = vec![0; PIECE];
    while left > 0 {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        writer.write_all(&piece[..size]).context("send")?;
        context.update(&piece[..size]);
        left -= size as u64;
    }
    Ok(hex(context.finish().as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
