//! The one static program inside every test pod: what the sandbox runs, what a server runs, and what a caller runs.
//! It refuses to know anything about the mesh: it sees sockets and answers as any application would.
//! It owns the workloads' wire behaviour, and one JSON line of result per call.

#![forbid(unsafe_code)]

mod args;
mod call;
mod clients;
mod limits;
mod load;
mod measure;
mod pattern;
mod pause;
mod result;
mod serve;
mod sessions;
mod tls;

use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "\
podkit: the workload inside the test pods

  podkit pause                    wait for SIGTERM, reaping children (a sandbox's first process)
  podkit serve [--KIND PORT]...   answer on IPv4 and IPv6; KIND is http, echo, banner, bulk or tls
  podkit call VERB --to HOST:PORT call a server once or more; prints one JSON line
  podkit load --to IP:PORT        new connections at a rate beside long-lived ones to an echo server, until SIGTERM or
                                  the end of standard input; prints a JSON line when it has begun and one at the end
  podkit measure VERB --to IP:PORT
                                  how fast a bulk or echo server is reached; prints one JSON line with figures

Verbs of `call`:
  http        GET over HTTP/1.1, a new connection each      [--count N] [--path P]
  latency     GETs with their times                         [--count N] [--warmup N] [--reconnect]
  banner      the server speaks first, then one exchange    [--count N] [--say TEXT]
  tls         HTTP inside TLS of our own, verified          [--count N] [--path P] [--name HOST]
  bulk        N bytes, checked by SHA-256 on both sides     [--bytes N] [--direction up|down]
  half-close  send, close our side, then read the answer    [--bytes N]
  hold        stay silent, then prove that the line lives   [--seconds N]
  stream      small messages for a while                    [--seconds N] [--interval-ms N]
All: [--timeout-ms N] (default 5000, per socket operation)

Options of `load`:
  [--marker TEXT]     is in everything that is sent
  [--rate N]          new connections a second (200), each with one message
  [--keep N]          long-lived connections (20); the last is silent until the end
  [--every-ms N]      between two messages of a long-lived connection (100)
  [--limit-ms N]      for one new connection (10000)
  [--seconds N]       at most (60)

Verbs of `measure`; times count from when something was due:
  bulk        as many bytes as go through                   [--connections N] [--direction up|down]
  requests    echoes on connections that stay               [--connections N] [--size BYTES] [--rate N]
  connects    a new connection for each echo of 128 bytes   [--in-flight N] [--rate N]
  idle        silent connections to the end of standard input; a line says when all are there  [--connections N]
All: [--seconds N] (default 3, not for idle) [--timeout-ms N] (default 5000, per socket operation)
--rate N: so many are due each second whether or not others are answered; without it each follows an answer

`serve` and `call tls` read PODKIT_TLS_CERT (PEM); `serve` also PODKIT_TLS_KEY and PODKIT_BANNER.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = match words.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match verb {
        "pause" => pause::run(),
        "serve" => serve::run(rest),
        "call" => call::run(rest),
        "load" => load::run(rest),
        "measure" => measure::run(rest),
        _ => {
            say(HELP.trim_end());
            return ExitCode::from(if verb == "help" || verb == "--help" {
                0
            } else {
                2
            });
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // The caller reads standard output; a JSON line there is the only answer it parses.
            say(&serde_json::json!({"ok": false, "error": format!("{error:#}")}).to_string());
            ExitCode::from(2)
        }
    }
}

/// One line on standard output; a closed pipe is the reader's choice, not our error.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
