//! Pure crates reach no clock, socket, file, environment or source of randomness.

use crate::finding::{Findings, Place};
use crate::graph::{Colour, Graph};
use crate::source::Source;
use crate::tree::{Role, SourceTree};

const TAKE_IT_AS_ARGUMENT: &str =
    "a pure crate is given facts and the time; move the call to the io crate that asks it";

/// Names that by themselves mean the outside world.
const FORBIDDEN: [&str; 17] = [
    "Instant::now",
    "SystemTime::now",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "env::var",
    "tokio",
    "getrandom",
    "rand::",
];

/// Modules of `std` that may not be imported in a group such as `std::{fs, io}`.
const FORBIDDEN_MODULES: [&str; 4] = ["fs", "env", "process", "thread"];

/// Crates that have no other purpose than what is forbidden here.
const FORBIDDEN_CRATES: [&str; 11] = [
    "tokio",
    "mio",
    "nix",
    "libc",
    "socket2",
    "rustix",
    "rand",
    "getrandom",
    "inotify",
    "hyper",
    "tracing-subscriber",
];

pub(crate) fn check(tree: &SourceTree, graph: &Graph, findings: &mut Findings) {
    let pure = tree
        .files
        .iter()
        .filter(|f| f.colour == Colour::Pure && f.role == Role::Production);
    for file in pure {
        for (line, name) in impurities(&file.source) {
            let what = format!("pure crate {} uses `{name}`", file.package);
            findings.fail(Place::line(&file.path, line), what, TAKE_IT_AS_ARGUMENT);
        }
    }
    for member in graph
        .members()
        .filter(|member| member.colour == Colour::Pure)
    {
        for dependency in graph.direct(member) {
            if FORBIDDEN_CRATES.contains(&dependency.name.as_str()) {
                let what = format!("pure crate {} depends on {}", member.name, dependency.name);
                findings.fail(Place::file(&member.manifest), what, TAKE_IT_AS_ARGUMENT);
            }
        }
    }
}

fn impurities(source: &Source) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for name in FORBIDDEN {
        found.extend(source.find(name).into_iter().map(|at| (at, name)));
    }
    for at in source.find("std::{") {
        found.extend(
            grouped(&source.code[at + "std::{".len()..]).map(|(off, name)| (at + off, name)),
        );
    }
    let mut found: Vec<_> = found
        .into_iter()
        .map(|(at, name)| (source.line_of(at), name))
        .filter(|(line, _)| !source.is_test_line(*line))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Forbidden modules in the outermost level of a use group, with their offset from its brace.
fn grouped(group: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let mut depth = 0_usize;
    let mut entries = vec![0];
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => entries.push(at + 1),
            _ => {}
        }
    }
    entries.into_iter().filter_map(|at| {
        let first: String = group[at..]
            .trim_start()
            .chars()
            .take_while(|character| crate::source::is_word(*character))
            .collect();
        let name = FORBIDDEN_MODULES
            .into_iter()
            .find(|module| *module == first)?;
        Some((at + "std::{".len(), name))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn names(text: &str) -> Vec<(usize, &'static str)> {
        impurities(&Source::new(text))
    }

    #[test]
    fn the_outside_world_is_found() {
        let cases: [(&str, &[(usize, &str)]); 8] = [
            ("use std::net::{IpAddr, SocketAddr};", &[]),
            ("\nlet t = Instant::now();", &[(2, "Instant::now")]),
            ("use std::net::{IpAddr, TcpStream};", &[(1, "TcpStream")]),
            ("use std::{fmt, fs, io::{self, env}};", &[(1, "fs")]),
            ("// Instant::now\nlet s = \"std::fs\";", &[]),
            ("let v = env!(\"CARGO_PKG_VERSION\"); my_tokio();", &[]),
            ("std::env::var(x)", &[(1, "env::var"), (1, "std::env")]),
            ("#[cfg(test)]\nmod tests {\n use std::fs;\n}", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(names(text), expected, "{text}");
        }
    }
}
