//! `podkit serve`: one thread per listener and per connection, on both address families.

use crate::args::Args;
use crate::limits;
use crate::pause::{block_signals, wait_for_end};
use crate::sessions::{Kind, Server, serve};
use crate::tls;
use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;

const KINDS: [&str; 5] = ["http", "echo", "banner", "bulk", "tls"];
const STACK: usize = 256 * 1024;

/// Listens on everything asked for, then waits to be ended.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let mut args = Args::parse(words, &[])?;
    let signals = block_signals()?;
    limits::raise_descriptors()?;
    let server = Server {
        host: std::fs::read_to_string("/proc/sys/kernel/hostname")?
            .trim()
            .to_owned(),
        banner: std::env::var("PODKIT_BANNER").unwrap_or_else(|_| "ready".to_owned()),
    };
    let mut count = 0;
    for name in KINDS {
        let port: u16 = args.take(name, 0)?;
        if port == 0 {
            continue;
        }
        let kind = kind(name)?;
        let listener = listen(port).with_context(|| format!("listening for {name} on {port}"))?;
        let server = server.clone();
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || accept(&listener, &kind, &server))?;
        count += 1;
    }
    args.finish()?;
    if count == 0 {
        bail!("nothing to serve; see podkit help");
    }
    // The starter waits for this line: every listener exists by now.
    crate::say(&serde_json::json!({"ok": true, "listeners": count}).to_string());
    wait_for_end(&signals)?;
    Ok(ExitCode::SUCCESS)
}

fn kind(name: &str) -> Result<Kind> {
    Ok(match name {
        "http" => Kind::Http,
        "echo" => Kind::Echo,
        "banner" => Kind::Banner,
        "bulk" => Kind::Bulk,
        _ => Kind::Tls(tls::server()?),
    })
}

/// One socket for both families.
fn listen(port: u16) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, kind: &Kind, server: &Server) {
    loop {
        let outcome = listener
            .accept()
            .map_err(anyhow::Error::from)
            .and_then(|(stream, peer)| {
                let (kind, server) = (kind.clone(), server.clone());
                thread::Builder::new().stack_size(STACK).spawn(move || {
                    if let Err(error) = serve(&kind, &server, stream) {
                        complain(&format!("connection from {peer}: {error:#}"));
                    }
                })?;
                Ok(())
            });
        if let Err(error) = outcome {
            complain(&format!("accept: {error:#}"));
            // Out of descriptors or threads: let connections in progress end before asking again.
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
