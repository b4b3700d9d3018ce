//! The threads of the data plane, and which of them serve a pod.
//!
//! A pod has threads that it shares with as few others as possible. What a quiet pod waits for while another is busy is
//! then decided by the kernel, which lets who has slept go first, and not by turns in an event loop of ours: in turns, a
//! quiet pod's call passes two nodes twice and waits at each for a greedy pod's bytes to be encrypted and sent.
//! Threads are started as pods come, up to a bound, and stay: one that sleeps costs some 100 KiB.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::probe::Tickets;
use crate::settings::{Parts, TunnelSettings};
use crate::shard::Shard;

/// What is waited for at the end.
pub(crate) type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// All threads; they end when this is gone.
#[derive(Debug)]
pub(crate) struct Crew {
    settings: TunnelSettings,
    parts: Parts,
    tickets: Tickets,
    at_work: Mutex<AtWork<Shard>>,
    threads: Threads,
}

/// Threads, each by the way to it, and whose they are.
#[derive(Debug)]
struct AtWork<S> {
    shards: Vec<S>,
    /// The threads of each pod.
    pods: HashMap<Arc<str>, Vec<usize>>,
}

impl Crew {
    /// Starts the threads of a first pod.
    ///
    /// # Errors
    /// The process cannot have as many.
    pub(crate) fn start(
        settings: TunnelSettings,
        parts: Parts,
        tickets: Tickets,
    ) -> io::Result<Self> {
        let crew = Self {
            settings,
            parts,
            tickets,
            at_work: Mutex::new(AtWork::new()),
            threads: Threads::default(),
        };
        let first = (0..crew.settings.threads.max(1)).map(|number| crew.start_one(number));
        let first = first.collect::<io::Result<Vec<_>>>()?;
        crew.at_work().shards = first;
        Ok(crew)
    }

    fn start_one(&self, number: usize) -> io::Result<Shard> {
        let (settings, parts) = (self.settings.clone(), self.parts.clone());
        let (shard, thread) = Shard::start(number, settings, parts, self.tickets.clone())?;
        locked(&self.threads).push(thread);
        Ok(shard)
    }

    /// The threads of a pod, which has them from now on. One that has some keeps them.
    pub(crate) fn assign(&self, pod: &Arc<str>) -> Vec<Shard> {
        let bounds = (self.settings.threads.max(1), self.settings.threads_in_all());
        let start = |number| self.start_one(number);
        self.at_work().assign(pod, bounds, start)
    }

    /// The threads of a pod.
    pub(crate) fn of(&self, pod: &str) -> Vec<Shard> {
        self.at_work().of(pod)
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, pod: &str) {
        self.at_work().pods.remove(pod);
    }

    /// Every thread.
    pub(crate) fn all(&self) -> Vec<Shard> {
        self.at_work().shards.clone()
    }

    /// What to wait for when all is over.
    pub(crate) fn threads(&self) -> Threads {
        Arc::clone(&self.threads)
    }

    fn at_work(&self) -> MutexGuard<'_, AtWork<Shard>> {
        locked(&self.at_work)
    }
}

impl<S: Clone> AtWork<S> {
    fn new() -> Self {
        Self {
            shards: Vec::new(),
            pods: HashMap::new(),
        }
    }

    /// Threads for a pod: so many, of at most so many in all; `start` starts the one of that number.
    fn assign(
        &mut self,
        pod: &Arc<str>,
        bounds: (usize, usize),
        start: impl FnMut(usize) -> io::Result<S>,
    ) -> Vec<S> {
        if !self.pods.contains_key(pod) {
            let chosen = self.choose(bounds, start);
            self.pods.insert(Arc::clone(pod), chosen);
        }
        self.of(pod)
    }

    fn choose(
        &mut self,
        (wanted, most): (usize, usize),
        mut start: impl FnMut(usize) -> io::Result<S>,
    ) -> Vec<usize> {
        let chosen = least_busy(&self.loads(), wanted, most);
        while chosen.iter().any(|one| *one >= self.shards.len()) {
            let threads = self.shards.len();
            match start(threads) {
                Ok(shard) => self.shards.push(shard),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        threads,
                        "cannot start another thread, pods share those there are: raise the agent's limit of processes (pids)"
                    );
                    return least_busy(&self.loads(), wanted, threads);
                }
            }
        }
        chosen
    }

    fn of(&self, pod: &str) -> Vec<S> {
        let chosen = self.pods.get(pod).into_iter().flatten();
        chosen.map(|one| self.shards[*one].clone()).collect()
    }

    /// How many pods each thread has.
    fn loads(&self) -> Vec<usize> {
        let mut loads = vec![0; self.shards.len()];
        for one in self.pods.values().flatten() {
            loads[*one] += 1;
        }
        loads
    }
}

/// What a thread that panicked left is as good as any: each change is made whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads for one more pod, by the number of pods that each has: first those without, then such as are not started yet
/// (numbers from `loads.len()` on), then those with the fewest.
fn least_busy(loads: &[usize], wanted: usize, most: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..most.max(loads.len())).collect();
    all.sort_by_key(|one| (loads.get(*one).copied().unwrap_or(0), *one));
    all.truncate(wanted);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(at_work: &mut AtWork<usize>, pod: &str, bounds: (usize, usize)) -> Vec<usize> {
        at_work.assign(&Arc::from(pod), bounds, Ok)
    }

    #[test]
    fn pods_have_threads_of_their_own_until_all_are_taken() {
        let mut at_work = AtWork::new();
        assert_eq!(assign(&mut at_work, "a", (1, 3)), [0]);
        assert_eq!(assign(&mut at_work, "b", (1, 3)), [1]);
        // One that has some keeps them.
        assert_eq!(assign(&mut at_work, "a", (1, 3)), [0]);
        assert_eq!(assign(&mut at_work, "c", (1, 3)), [2]);
        assert_eq!(assign(&mut at_work, "d", (1, 3)), [0]);
        at_work.pods.remove("b");
        assert_eq!(at_work.of("b"), [0; 0]);
        assert_eq!(assign(&mut at_work, "e", (1, 3)), [1]);
        assert_eq!(at_work.shards.len(), 3);
    }

    #[test]
    fn where_no_thread_can_be_started_pods_share_those_there_are() {
        let mut at_work = AtWork::new();
        assert_eq!(assign(&mut at_work, "a", (1, 3)), [0]);
        let refuse = |_| Err(io::Error::from(io::ErrorKind::WouldBlock));
        assert_eq!(at_work.assign(&Arc::from("b"), (1, 3), refuse), [0]);
        assert_eq!(assign(&mut at_work, "c", (1, 3)), [1]);
    }

    #[test]
    fn a_pod_gets_threads_without_pods_then_new_ones_then_those_with_the_fewest() {
        assert_eq!(least_busy(&[0], 1, 4), [0]);
        assert_eq!(least_busy(&[1], 1, 4), [1]);
        assert_eq!(least_busy(&[1, 0], 2, 4), [1, 2]);
        assert_eq!(least_busy(&[2, 1, 3, 1], 1, 4), [1]);
        assert_eq!(least_busy(&[2, 1, 3, 1], 2, 4), [1, 3]);
        assert_eq!(least_busy(&[2, 1, 3], 2, 3), [1, 0]);
        // All there are, where a pod is to have more.
        assert_eq!(least_busy(&[1, 1], 3, 2), [0, 1]);
        // A bound that came down takes nobody's threads away.
        assert_eq!(least_busy(&[1, 0, 0], 2, 1), [1, 2]);
    }
}
