//! Skeleton.
#![allow(dead_code, unused_imports, reason = "being put together")]
mod agent;
mod config_file;
mod descriptors;
mod leave;
mod plugin;
mod pods;
mod restore;
mod state;
mod upkeep;
mod world;
fn main() {}
