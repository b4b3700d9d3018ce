//! Typed handles to single counters and gauges.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its present value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The pods a tunnel serves, counted under upstream's `workload_manager_*` names.
#[derive(Debug, Default)]
pub struct PodGauges {
    /// Pods with listeners.
    pub active: Gauge,
    /// Pods waiting for listeners.
    pub pending: Gauge,
    /// Pods that got listeners.
    pub started: Counter,
    /// Pods that lost them.
    pub stopped: Counter,
}

/// Early refusals by reporter and reason. Both are literals, which bounds the map.
pub(crate) type Early = BTreeMap<(&'static str, &'static str), u64>;

/// A label and its value: literals, which bounds the table.
pub(crate) type Label = (&'static str, &'static str);

/// A handle given out by name.
pub(crate) struct Registered {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) label: Option<Label>,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Counter(Counter),
    Gauge(Gauge),
}

/// A handle that belongs to a name.
pub(crate) trait Handle: Clone + Default {
    fn of(value: &Value) -> Option<&Self>;
    fn into_value(self) -> Value;
}

impl Handle for Counter {
    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Counter(counter) => Some(counter),
            Value::Gauge(_) => None,
        }
    }

    fn into_value(self) -> Value {
        Value::Counter(self)
    }
}

impl Handle for Gauge {
    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Gauge(gauge) => Some(gauge),
            Value::Counter(_) => None,
        }
    }

    fn into_value(self) -> Value {
        Value::Gauge(self)
    }
}

/// The handle of a name and label: the one given out before, or a new one. Those of one name stay
/// together.
pub(crate) fn register<H: Handle>(
    table: &Mutex<Vec<Registered>>,
    name: &'static str,
    help: &'static str,
    label: Option<Label>,
) -> H {
    let mut table = lock(table);
    let known = table
        .iter()
        .find(|registered| registered.name == name && registered.label == label);
    if let Some(handle) = known.and_then(|registered| H::of(&registered.value)) {
        return handle.clone();
    }
    let handle = H::default();
    let registered = Registered {
        name,
        help,
        label,
        value: handle.clone().into_value(),
    };
    let after = table.iter().rposition(|other| other.name == name);
    let place = after.map_or(table.len(), |last| last + 1);
    table.insert(place, registered);
    handle
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters are never half-changed, so a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
