//! What the server does with one connection of each kind.

use crate::measure::served;
use crate::pattern::{read_and_hash, write_pattern};
use anyhow::{Context, Result, bail};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

/// What a server says about itself.
#[derive(Clone)]
pub(crate) struct Server {
    /// Its host name: the pod's.
    pub(crate) host: String,
    /// Text in the greeting.
    pub(crate) banner: String,
}

/// A kind of service and what it needs.
#[derive(Clone)]
pub(crate) enum Kind {
    /// HTTP/1.1 with keep-alive.
    Http,
    /// Bytes back as they come, then our half closed too.
    Echo,
    /// Greets first, then answers one line.
    Banner,
    /// Takes or gives many bytes, with their hash.
    Bulk,
    /// HTTP inside the application's own TLS.
    Tls(Arc<ServerConfig>),
}

/// Serves one connection to its end.
pub(crate) fn serve(kind: &Kind, server: &Server, stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (peer, local) = (
        canonical(stream.peer_addr()?),
        canonical(stream.local_addr()?),
    );
    match kind {
        Kind::Http => http(&mut &stream, server, peer, local),
        Kind::Echo => echo(&stream),
        Kind::Banner => banner(&stream, server),
        Kind::Bulk => bulk(&stream),
        Kind::Tls(config) => {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, stream);
            http(&mut tls, server, peer, local)?;
            tls.conn.send_close_notify();
            tls.flush()?;
            Ok(())
        }
    }
}

/// IPv4 seen through an IPv6 socket, written as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn http(
    stream: &mut (impl Read + Write),
    server: &Server,
    peer: SocketAddr,
    local: SocketAddr,
) -> Result<()> {
    let mut head = Vec::new();
    while read_head(stream, &mut head)? {
        let request = String::from_utf8_lossy(&head);
        let path = request
            .split(' ')
            .nth(1)
            .context("no path in the request line")?;
        let body = serde_json::json!({
            "host": server.host, "peer": peer, "local": local, "path": path,
        })
        .to_string();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes())?;
        stream.flush()?;
    }
    Ok(())
}

/// One request head; `false` when the caller is done.
fn read_head(stream: &mut impl Read, head: &mut Vec<u8>) -> Result<bool> {
    head.clear();
    let mut chunk = [0; 2048];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 if head.is_empty() => return Ok(false),
            0 => bail!("the request ends in its head"),
            size => head.extend_from_slice(&chunk[..size]),
        }
        if head.len() > 16 * 1024 {
            bail!("the request head is too long");
        }
    }
    Ok(true)
}

fn echo(mut stream: &TcpStream) -> Result<()> {
    let mut chunk = vec![0; 32 * 1024];
    loop {
        match stream.read(&mut chunk)? {
            0 => break,
            size => stream.write_all(&chunk[..size])?,
        }
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

fn banner(mut stream: &TcpStream, server: &Server) -> Result<()> {
    stream.write_all(format!("220 {} {}\r\n", server.host, server.banner).as_bytes())?;
    let mut said = String::new();
    BufReader::new(stream).read_line(&mut said)?;
    stream.write_all(format!("250 {}\r\n", said.trim_end()).as_bytes())?;
    Ok(())
}

/// `UP` and bytes until the caller closes its half: answered with count and hash.
/// `DOWN seed count`: that many bytes of the pattern.
/// `SINK` and `SOURCE`: the same without hashes, for measurements.
fn bulk(stream: &TcpStream) -> Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let mut order = String::new();
    reader.read_line(&mut order)?;
    let words: Vec<&str> = order.split_whitespace().collect();
    match words.as_slice() {
        ["UP"] => {
            let (count, hash) = read_and_hash(&mut reader)?;
            writer.write_all(format!("{count} {hash}\n").as_bytes())?;
        }
        ["DOWN", seed, count] => {
            write_pattern(&mut writer, seed.parse()?, count.parse()?)?;
        }
        ["SINK"] => served::sink(&mut reader, &mut writer)?,
        ["SOURCE"] => served::source(&mut reader, &mut writer)?,
        _ => bail!("unknown order {order:?}"),
    }
    Ok(())
}
