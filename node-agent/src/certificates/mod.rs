//! What is public of certificates survives the process: keys do not, they go with the worker that
//! made them. So an operator sees, and the next worker says, what there was.

mod keep;
mod record;

#[cfg(test)]
mod tests;

pub(crate) use keep::{Former, Keeper};
pub(crate) use record::Known;
