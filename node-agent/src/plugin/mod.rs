//! The server side of the plugin protocol: one connection per run of the plugin.

mod add;
mod failure;
mod link;
mod others;
mod server;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use others::del;
pub(crate) use server::serve;
