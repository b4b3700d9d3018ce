//! The server against a scripted plugin over a real socket, in a scripted world.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod adding;
mod asking;
mod bench;
mod leaving;
mod rubbish;
