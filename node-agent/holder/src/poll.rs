//! Waits for descriptors or a point in time.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest<'a, T> {
    pub(crate) fd: BorrowedFd<'a>,
    /// Also until it can be written.
    pub(crate) write: bool,
    pub(crate) token: T,
}

/// The tokens of what is ready; empty at the point in time.
pub(crate) fn wait<T: Copy>(
    interests: &[Interest<'_, T>],
    until: Option<Instant>,
    now: Instant,
) -> io::Result<Vec<T>> {
    let mut polled: Vec<PollFd<'_>> = interests
        .iter()
        .map(|interest| {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, interest.write);
            PollFd::new(interest.fd, flags)
        })
        .collect();
    let timeout = until.map_or(PollTimeout::NONE, |until| {
        // Rounded up: a wait of less than a millisecond must not become a busy loop.
        let left = until.saturating_duration_since(now);
        let millis = left.as_millis() + u128::from(!left.is_zero());
        let millis = i32::try_from(millis).unwrap_or(i32::MAX);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut polled, timeout) {
        Ok(_) => {}
        Err(nix::Error::EINTR) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let ready = polled
        .iter()
        .zip(interests)
        .filter_map(|(polled, interest)| polled.any().unwrap_or(false).then_some(interest.token));
    Ok(ready.collect())
}
