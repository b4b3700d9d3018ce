//! One attempt of each kind of call.

use crate::pattern::{read_and_hash, write_pattern};
use anyhow::{Context, Result, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Where to call and how long to wait for each step.
pub(crate) struct Target {
    /// Service or pod address.
    pub(crate) address: SocketAddr,
    /// For the connect and for each read and write.
    pub(crate) timeout: Duration,
}

impl Target {
    /// A new connection.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout).context("connect")?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// One GET with its JSON answer, which must repeat the path: no other server's answer passes.
pub(crate) fn get(stream: &mut (impl Read + Write), path: &str) -> Result<Value> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: podkit.test\r\n\r\n");
    stream.write_all(request.as_bytes()).context("send")?;
    stream.flush().context("send")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        if let Some(body) = whole_body(&answer)? {
            let value: Value = serde_json::from_slice(body).context("the body is not JSON")?;
            ensure!(
                value["path"] == path,
                "the answer is for another path: {value}"
            );
            return Ok(value);
        }
        let size = stream.read(&mut chunk).context("receive")?;
        ensure!(size > 0, "closed after {} bytes of answer", answer.len());
        answer.extend_from_slice(&chunk[..size]);
    }
}

fn whole_body(answer: &[u8]) -> Result<Option<&[u8]>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
    ensure!(
        head.starts_with("http/1.1 200 "),
        "answered {:?}",
        head.lines().next()
    );
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .context("no content-length")?
        .trim()
        .parse::<usize>()?;
    Ok(answer.get(end + 4..end + 4 + length))
}

/// The same inside TLS, closed in good order.
pub(crate) fn get_over_tls(
    target: &Target,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    path: &str,
) -> Result<Value> {
    let connection = ClientConnection::new(Arc::clone(config), name.clone())?;
    let mut tls = StreamOwned::new(connection, target.connect()?);
    let answer = get(&mut tls, path)?;
    tls.conn.send_close_notify();
    tls.flush()?;
    tls.sock.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    tls.read_to_end(&mut rest).context("the server's close")?;
    ensure!(rest.is_empty(), "{} bytes after the answer", rest.len());
    Ok(answer)
}

/// Waits for the greeting before saying anything.
pub(crate) fn banner(target: &Target, text: &str) -> Result<String> {
    let stream = target.connect()?;
    let (mut reader, mut writer) = (BufReader::new(&stream), &stream);
    let greeting = line(&mut reader).context("the greeting")?;
    ensure!(greeting.starts_with("220 "), "greeted with {greeting:?}");
    writer
        .write_all(format!("{text}\r\n").as_bytes())
        .context("send")?;
    let answer = line(&mut reader).context("the answer")?;
    ensure!(answer == format!("250 {text}"), "answered {answer:?}");
    Ok(greeting)
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut text = String::new();
    let size = reader.read_line(&mut text)?;
    ensure!(size > 0, "closed instead");
    Ok(text.trim_end().to_owned())
}

/// Sends the pattern, closes our half, and compares the server's count and hash.
pub(crate) fn upload(target: &Target, bytes: u64) -> Result<String> {
    let stream = target.connect()?;
    let mut writer = &stream;
    writer.write_all(b"UP\n").context("send")?;
    let hash = write_pattern(&mut writer, bytes, bytes).context("send")?;
    stream.shutdown(Shutdown::Write)?;
    let answer = line(&mut BufReader::new(&stream)).context("the server's hash")?;
    ensure!(
        answer == format!("{bytes} {hash}"),
        "sent {bytes} {hash}, arrived {answer}"
    );
    Ok(hash)
}

/// Receives the pattern to the end and compares it with one of our own making.
pub(crate) fn download(target: &Target, bytes: u64) -> Result<String> {
    let stream = target.connect()?;
    (&stream)
        .write_all(format!("DOWN {bytes} {bytes}\n").as_bytes())
        .context("send")?;
    let (count, hash) = read_and_hash(&mut &stream).context("receive")?;
    let expected = write_pattern(&mut std::io::sink(), bytes, bytes)?;
    ensure!(
        count == bytes && hash == expected,
        "received {count} {hash}, expected {bytes} {expected}"
    );
    Ok(hash)
}

/// Sends all, closes our half, and must still get all of it back, then the other half's close.
pub(crate) fn half_close(target: &Target, bytes: usize) -> Result<()> {
    let stream = target.connect()?;
    let sent: Vec<u8> = (0..bytes).map(|place| place.to_le_bytes()[0]).collect();
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            (&stream).write_all(&sent).context("send")?;
            stream.shutdown(Shutdown::Write).context("half-close")
        });
        let mut back = Vec::new();
        let read = (&stream)
            .read_to_end(&mut back)
            .context("receive after our half-close");
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        read?;
        ensure!(
            back == sent,
            "{} bytes back of {bytes}, or altered",
            back.len()
        );
        Ok(())
    })
}

/// Says nothing for a while; the connection must still carry bytes afterwards.
pub(crate) fn hold(target: &Target, silence: Duration) -> Result<()> {
    let stream = target.connect()?;
    thread::sleep(silence);
    exchange(&stream, b"still here")
}

fn exchange(mut stream: &TcpStream, message: &[u8]) -> Result<()> {
    stream.write_all(message).context("send")?;
    let mut back = vec![0; message.len()];
    stream.read_exact(&mut back).context("receive")?;
    ensure!(back == message, "came back altered");
    Ok(())
}

/// What a run of messages saw.
pub(crate) struct StreamRun {
    /// Messages answered.
    pub(crate) messages: u64,
    /// The slowest answer.
    pub(crate) longest_wait: Duration,
}

/// Small messages on one connection until the time is over.
pub(crate) fn stream(target: &Target, lasting: Duration, every: Duration) -> Result<StreamRun> {
    let stream = target.connect()?;
    let start = Instant::now();
    let mut run = StreamRun {
        messages: 0,
        longest_wait: Duration::ZERO,
    };
    while start.elapsed() < lasting {
        let sent = Instant::now();
        exchange(&stream, format!("message {}", run.messages).as_bytes())
            .with_context(|| format!("message {} after {:?}", run.messages, start.elapsed()))?;
        run.messages += 1;
        run.longest_wait = run.longest_wait.max(sent.elapsed());
        thread::sleep(every);
    }
    Ok(run)
}
