//! What a pod says to its peers before it goes.

use tokio::sync::watch;

/// Tells the tunnels from peers when to say goodbye, and when to end.
#[derive(Clone, Debug)]
pub(crate) struct Farewell(watch::Sender<Said>);

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// How often those present were asked to say goodbye.
    asked: u64,
    over: bool,
}

impl Default for Farewell {
    fn default() -> Self {
        Self(watch::channel(Said::default()).0)
    }
}

impl Farewell {
    /// Asks the tunnels that are there to say GOAWAY and to end with their last stream. Those that
    /// come later are not meant: their peers have not heard yet, and have nowhere else to go.
    pub(crate) fn ask(&self) {
        self.0.send_modify(|said| said.asked += 1);
    }

    /// Ends tunnels, also those that come later.
    pub(crate) fn end(&self) {
        self.0.send_modify(|said| said.over = true);
    }

    /// Completes when those who are there now have been asked.
    pub(crate) fn asked(&self) -> impl Future<Output = ()> + use<> {
        let before = self.0.borrow().asked;
        self.when(move |said| said.asked > before)
    }

    /// Completes when it is over.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + use<> {
        self.when(|said| said.over)
    }

    fn when<F: Fn(&Said) -> bool>(&self, is: F) -> impl Future<Output = ()> + use<F> {
        let mut said = self.0.subscribe();
        async move {
            if said.wait_for(|said| is(said)).await.is_err() {
                // The pod is gone without a word; whoever let it go ends its tunnels.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn who_comes_after_a_goodbye_is_not_meant_by_it() {
        let mut cx = Context::from_waker(Waker::noop());
        let farewell = Farewell::default();
        let mut present = pin!(farewell.asked());
        assert_eq!(present.as_mut().poll(&mut cx), Poll::Pending);
        farewell.ask();
        let mut late = pin!(farewell.asked());
        assert_eq!(present.as_mut().poll(&mut cx), Poll::Ready(()));
        assert_eq!(late.as_mut().poll(&mut cx), Poll::Pending);
        farewell.ask();
        assert_eq!(late.as_mut().poll(&mut cx), Poll::Ready(()));
        farewell.end();
        assert_eq!(pin!(farewell.over()).poll(&mut cx), Poll::Ready(()));
    }
}
