//! `ambient-agent`, the node agent: takes pods into the mesh when the runtime creates them, serves
//! their traffic through the tunnel, brings them back after its own restart and lets them go.
//! It refuses to let a pod start whose traffic could leave in clear, to leave half of an enrolment
//! behind, and to decide anything about a connection: that is the tunnel's.
//! It owns the plugin socket, the pod table and its file, the admin endpoints and the order in
//! which everything starts and stops.

#![forbid(unsafe_code)]

mod agent;
mod cli;
mod config_file;
mod dump;
mod file_watch;
mod leave;
mod limits;
mod logging;
mod plugin;
mod pods;
mod restore;
mod roster_source;
mod run;
mod state;
mod status;
mod stop;
mod tunnel_port;
mod upkeep;
mod world;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
