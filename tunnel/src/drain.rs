//! Serving what is there to its end.
//!
//! *A process* that drains stops accepting: whoever comes next waits in the listeners' queues for
//! its successor. *A pod* that drains, because it leaves the mesh and stays, goes on accepting
//! until it is released, for nobody succeeds it: a peer that has not heard yet, or a connection
//! that was captured before the rules went, would be refused, and can be served instead. It is not
//! work that lasts: rules and mesh no longer lead here.
//!
//! Either way peers are told to open no more streams on the tunnels they have (GOAWAY), and the
//! pod's own tunnels are out of use. A tunnel that a peer makes later, for want of news, is told
//! once it carries nothing.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::pod::Pod;

/// How often a drain looks whether the last connection has ended.
const STEP: Duration = Duration::from_millis(50);

/// Drains all pods of a thread; answers how many connections are left at the deadline.
pub(crate) async fn process(pods: &[Rc<Pod>], deadline: Instant) -> usize {
    for pod in pods {
        pod.stop_accepting();
    }
    drain(pods, deadline).await
}

/// Drains one pod, which goes on accepting; answers how many connections are left at the deadline.
pub(crate) async fn pod(pod: Rc<Pod>, deadline: Instant) -> usize {
    drain(&[pod], deadline).await
}

/// Waits until nothing is left or the time is up. Tunnels are waited for too, from peers and to
/// them: they may still hold bytes of connections that have ended.
async fn drain(pods: &[Rc<Pod>], deadline: Instant) -> usize {
    for pod in pods {
        pod.farewell.ask();
    }
    loop {
        let (mut left, mut tunnels) = (0, 0);
        for pod in pods {
            // Each time: a connection that was being set up may have made one more.
            pod.pool.retire();
            left += pod.live.connections();
            tunnels += pod.live.tunnels.count() + pod.tunnels.count();
            if pod.live.connections() == 0 && pod.live.tunnels.count() > 0 {
                pod.farewell.ask();
            }
        }
        let now = Instant::now();
        if left + tunnels == 0 || now >= deadline {
            return left;
        }
        sleep_until(deadline.min(now + STEP)).await;
    }
}
