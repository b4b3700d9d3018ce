#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "tests"
)]

mod answers;
mod development;
mod handshake;
mod istiod;
mod remembering;
mod roots;
mod rotation;
mod scripted;
mod secrecy;
mod sessions;
mod watching;

use tunnel_model::Identity;

fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", "shop", account).unwrap()
}
