//! A connection once it is set up: bytes both ways, then the line that tells its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tunnel_hbone::{Meter, Pump, Pumped, Relay, StreamError};
use tunnel_model::ResponseFlag;
use tunnel_telemetry::{Connection, Outcome};

use crate::standing::Watched;

/// What is left of a connection to a pod after its decision has been carried out.
pub(crate) enum Flow<M: Meter> {
    /// Between a peer's stream and the application.
    Tunnel(Pump<M>),
    /// Between two plain connections.
    Plain(Relay<M>),
}

// A future of its own rather than an async function: that would keep a copy of the pump for every
// hand it passes through, in each live connection.
impl<M: Counted> Future for Flow<M> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (meter, outcome) = match self.get_mut() {
            Self::Tunnel(pump) => {
                match ready!(Pin::new(&mut *pump).poll(cx)) {
                    Pumped::Over { meter, result } => (meter, streamed(result)),
                    // Only said of streams that we opened.
                    Pumped::Unanswered(error) => match pump.give_up() {
                        Some(meter) => (meter, streamed(Err(error.into()))),
                        None => return Poll::Pending,
                    },
                }
            }
            Self::Plain(relay) => {
                let (meter, result) = ready!(Pin::new(relay).poll(cx));
                (meter, relayed(result))
            }
        };
        meter.finish(&outcome);
        Poll::Ready(())
    }
}

/// A meter that counts for log and metrics.
pub(crate) trait Counted: Meter {
    /// Ends the connection it counted for.
    fn finish(self, outcome: &Outcome);
}

/// Counts a connection whose application (or first connection) is downstream.
pub(crate) struct Outward(pub Connection);

impl Meter for Outward {
    fn sent_by_app(&self, bytes: u64) {
        self.0.add_received(bytes);
    }

    fn given_to_app(&self, bytes: u64) {
        self.0.add_sent(bytes);
    }
}

impl Counted for Outward {
    fn finish(self, outcome: &Outcome) {
        self.0.finish(Instant::now(), outcome);
    }
}

/// Counts a stream of a peer's: its application is upstream.
pub(crate) struct Inward(pub Watched);

impl Meter for Inward {
    fn sent_by_app(&self, bytes: u64) {
        self.0.count(|connection| connection.add_sent(bytes));
    }

    fn given_to_app(&self, bytes: u64) {
        self.0.count(|connection| connection.add_received(bytes));
    }
}

impl Counted for Inward {
    fn finish(self, outcome: &Outcome) {
        self.0.finish(outcome);
    }
}

/// Counts a connection to a pod in clear, where the client is the first of the two.
pub(crate) struct InClear(pub Watched);

impl Meter for InClear {
    fn sent_by_app(&self, bytes: u64) {
        self.0.count(|connection| connection.add_received(bytes));
    }

    fn given_to_app(&self, bytes: u64) {
        self.0.count(|connection| connection.add_sent(bytes));
    }
}

impl Counted for InClear {
    fn finish(self, outcome: &Outcome) {
        self.0.finish(outcome);
    }
}

pub(crate) fn streamed(result: Result<(), StreamError>) -> Outcome {
    let Err(error) = result else {
        return Outcome::Done;
    };
    let flag = match &error {
        StreamError::Status(status) if status.as_u16() == 401 => ResponseFlag::Deny,
        _ => ResponseFlag::Connect,
    };
    let error = error.to_string();
    Outcome::Failed { flag, error }
}

pub(crate) fn relayed(result: std::io::Result<()>) -> Outcome {
    result.map_or_else(
        |error| {
            let (flag, error) = (ResponseFlag::Connect, error.to_string());
            Outcome::Failed { flag, error }
        },
        |()| Outcome::Done,
    )
}
