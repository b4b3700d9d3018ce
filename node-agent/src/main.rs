//! `ambient-agent`, the node agent: takes pods into the mesh when the runtime creates them, serves
//! their traffic through the tunnel, brings them back after its own restart and lets them go. It is
//! two processes: the holder, which has the privileges, and the worker, which has the keys.
//! It refuses to let a pod start whose traffic could leave in clear, to leave half of an enrolment
//! behind, and to decide anything about a connection: that is the tunnel's.
//! It owns the plugin socket, the pod table and its file, the admin endpoints and the order in
//! which everything starts and stops.

#![forbid(unsafe_code)]

mod activity;
mod agent;
mod certificates;
mod cli;
mod config_file;
mod dump;
mod explain;
mod file_watch;
mod hold;
mod install;
mod leave;
mod limits;
mod link;
mod logging;
mod membership;
mod occupants;
mod plugin;
mod pods;
mod probes;
mod repairs;
mod report;
mod restore;
mod roster_source;
mod running;
mod state;
mod status;
mod stop;
mod tunnel_port;
mod upkeep;
mod work;
mod world;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
