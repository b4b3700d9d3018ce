//! Takes from the worker, the part of the agent that speaks to strangers and holds the keys,
//! everything it can do without: capabilities, the sight of the node's files and processes, and
//! most of the kernel. The holder calls [`Confinement::start`], the worker [`seal_worker`] before
//! anything else, and [`facts()`] says what holds.
//!
//! Of memory, both give back what only their start needed: [`forget_program`].
//!
//! It refuses to start a worker that is less confined than asked for: each step that the kernel
//! refuses is an error with the step's name, never a warning. It refuses to know what the worker
//! is for. It owns the list of system calls that the worker may make, and the few mounts it sees;
//! its `unsafe` is what runs between `fork` and `exec`, and what looks at the program's own segments.
//!
//! Without capabilities the user 0 is still the owner of most of a node's files and of its sockets,
//! the container runtime's among them, and reading them is as good as being root. So the worker
//! gets a root directory of its own with nothing in it but what is named, rather than the node's
//! with a read-only flag: such a flag does not stop a call on a socket, nor does it reach mounts
//! that come later. For the same reason it sees no process in `/proc` but itself.
//!
//! The filter is compiled by the `seccompiler` crate: it depends on `libc` only, leaves the tables
//! to us, knows both architectures, and kills a process that switches to the other ABI. It knows
//! two answers per filter, so there are three filters; see `calls.rs` for who is answered how. What
//! the worker does all day is decided without looking at arguments, which the kernel remembers per
//! call (since 5.11): the filters are not even run then.

mod bounds;
mod calls;
mod child;
mod facts;
mod kernel;
mod pages;
mod seal;
mod start;
mod step;
mod view;

pub use facts::{Facts, FactsError, facts};
pub use pages::{SETTLED, forget_program};
pub use seal::{SealError, seal_worker};
pub use start::{Confinement, StartError, own_program};
pub use step::Step;
