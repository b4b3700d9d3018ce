//! Skeleton.
#![allow(dead_code, unused_imports, reason = "being put together")]
mod agent;
mod config_file;
mod descriptors;
mod file_watch;
mod leave;
mod limits;
mod plugin;
mod pods;
mod restore;
mod roster_source;
mod state;
mod upkeep;
mod world;
fn main() {}
