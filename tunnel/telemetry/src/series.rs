//! Label sets and their counters, resolved once per connection.
//!
//! Two tables. The *route* table is keyed by the pointers of the parties and gives a connection
//! its label set and its log fields without rendering a byte. The *series* table is keyed by the
//! rendered label set and holds the counters, so that two pods of one deployment share a series.
//!
//! Neither grows without bound. A route keeps weak references to the parties, which pins the
//! pointer (it cannot be reused for somebody else) but not what it points to. When a shard of the
//! route table is full, routes without a live connection that were not used since the previous
//! sweep leave it. After each scrape, routes and series that have been idle for the configured
//! time and have no live connection are forgotten, so the last values of a series are always
//! scraped once. Past the hard bound on series, new label sets share one overflow series in which
//! everything but the reporter is `unknown`, and a counter says how often that happened.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tunnel_model::{Identity, Parties, Service, Workload};

use crate::LogFormat;
use crate::connection::{Direction, Security};
use crate::labels::{FLAGS, LogParts, Subject, TrafficLabels, log_parts, traffic_labels};

/// Bounds on what the metrics remember.
#[derive(Clone, Copy, Debug)]
pub struct SeriesBounds {
    /// Label sets at one time.
    pub series: usize,
    /// A label set without connections for this long is forgotten after the next scrape.
    pub idle: Duration,
}

impl Default for SeriesBounds {
    fn default() -> Self {
        Self {
            series: 20_000,
            idle: Duration::from_secs(3600),
        }
    }
}

/// The counters of one label set.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: TrafficLabels,
    pub(crate) opened: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) closed: [AtomicU64; FLAGS.len()],
    pub(crate) failed: [AtomicU64; FLAGS.len()],
    /// Seconds since the table was made.
    last_used: AtomicU32,
}

impl Series {
    fn new(labels: TrafficLabels) -> Arc<Self> {
        Arc::new(Self {
            labels,
            opened: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            closed: Default::default(),
            failed: Default::default(),
            last_used: AtomicU32::new(0),
        })
    }
}

/// What a connection holds on to: its counters and its log fields.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) series: Arc<Series>,
    pub(crate) log: LogParts,
    pub(crate) direction: Direction,
    last_used: AtomicU32,
}

#[derive(PartialEq, Eq, Hash)]
struct RouteKey {
    direction: Direction,
    security: Security,
    source: usize,
    destination: usize,
    service: usize,
    source_identity: Option<Identity>,
    destination_identity: Option<Identity>,
}

struct RouteEntry {
    route: Arc<Route>,
    /// Keep the allocations behind the pointers in the key from being reused.
    _source: Option<Weak<Workload>>,
    _destination: Option<Weak<Workload>>,
    _service: Option<Weak<Service>>,
}

const SHARDS: usize = 16;
const ROUTES_PER_SHARD: usize = 1024;

type Shard = HashMap<RouteKey, RouteEntry>;

pub(crate) struct SeriesTable {
    routes: [Mutex<Shard>; SHARDS],
    series: Mutex<HashMap<TrafficLabels, Arc<Series>>>,
    hasher: RandomState,
    bounds: SeriesBounds,
    format: LogFormat,
    born: Instant,
    overflowed: AtomicU64,
}

impl SeriesTable {
    pub(crate) fn new(bounds: SeriesBounds, format: LogFormat) -> Self {
        Self {
            routes: Default::default(),
            series: Mutex::default(),
            hasher: RandomState::new(),
            bounds,
            format,
            born: Instant::now(),
            overflowed: AtomicU64::new(0),
        }
    }

    /// The route of a connection with these parties. One hash, one short lock when it is known.
    pub(crate) fn resolve(&self, subject: &Subject<'_>, now: Instant) -> Arc<Route> {
        let key = RouteKey::of(subject);
        let shard_number = usize::try_from(self.hasher.hash_one(&key)).unwrap_or(0) % SHARDS;
        let seconds = self.seconds(now);
        let mut shard = lock(&self.routes[shard_number]);
        if let Some(entry) = shard.get(&key) {
            entry.route.touch(seconds);
            return entry.route.clone();
        }
        drop(shard);
        let route = self.make(subject, seconds);
        shard = lock(&self.routes[shard_number]);
        if shard.len() >= ROUTES_PER_SHARD {
            make_room(&mut shard, seconds);
        }
        if shard.len() < ROUTES_PER_SHARD {
            shard.insert(key, RouteEntry::new(route.clone(), subject.parties));
        }
        route
    }

    fn make(&self, subject: &Subject<'_>, seconds: u32) -> Arc<Route> {
        let series = self.series_for(traffic_labels(subject), subject, seconds);
        let log = log_parts(subject, self.format);
        let direction = subject.direction;
        Arc::new(Route {
            series,
            log,
            direction,
            last_used: AtomicU32::new(seconds),
        })
    }

    fn series_for(&self, labels: TrafficLabels, subject: &Subject<'_>, now: u32) -> Arc<Series> {
        let mut table = lock(&self.series);
        if let Some(series) = table.get(&labels) {
            series.last_used.store(now, Ordering::Relaxed);
            return series.clone();
        }
        let mut labels = labels;
        if table.len() >= self.bounds.series {
            let idle = self.idle_seconds();
            table.retain(|_, series| series.in_use(now, idle));
        }
        if table.len() >= self.bounds.series {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            labels = overflow_labels(subject.direction);
        }
        let series = table
            .entry(labels)
            .or_insert_with_key(|labels| Series::new(labels.clone()));
        series.last_used.store(now, Ordering::Relaxed);
        series.clone()
    }

    /// Every series, ordered by its labels so that two scrapes read alike.
    pub(crate) fn all(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<_> = lock(&self.series).values().cloned().collect();
        all.sort_by(|a, b| a.labels.before_flag.cmp(&b.labels.before_flag));
        all
    }

    /// Forgets what has been idle for long. Called after a scrape has seen it.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let (now, idle) = (self.seconds(now), self.idle_seconds());
        for shard in &self.routes {
            lock(shard).retain(|_, entry| entry.route_in_use(now, idle));
        }
        lock(&self.series).retain(|_, series| series.in_use(now, idle));
    }

    /// How often a label set was folded into the overflow series.
    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(crate) fn touch(&self, route: &Route, now: Instant) {
        let seconds = self.seconds(now);
        route.touch(seconds);
        route.series.last_used.store(seconds, Ordering::Relaxed);
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.born).as_secs()).unwrap_or(u32::MAX)
    }

    fn idle_seconds(&self) -> u32 {
        u32::try_from(self.bounds.idle.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Route {
    fn touch(&self, seconds: u32) {
        self.last_used.store(seconds, Ordering::Relaxed);
    }
}

impl Series {
    /// The table holds one reference and every route one more. The caller holds the table's lock,
    /// so nobody can take a new reference meanwhile.
    fn in_use(self: &Arc<Self>, now: u32, idle: u32) -> bool {
        let last = self.last_used.load(Ordering::Relaxed);
        Arc::strong_count(self) > 1 || now.saturating_sub(last) < idle
    }
}

impl RouteEntry {
    fn new(route: Arc<Route>, parties: &Parties) -> Self {
        Self {
            route,
            _source: parties.source.as_ref().map(Arc::downgrade),
            _destination: parties.destination.as_ref().map(Arc::downgrade),
            _service: parties.service.as_ref().map(Arc::downgrade),
        }
    }

    /// As [`Series::in_use`]: the second reference would be a live connection.
    fn route_in_use(&self, now: u32, idle: u32) -> bool {
        let last = self.route.last_used.load(Ordering::Relaxed);
        Arc::strong_count(&self.route) > 1 || now.saturating_sub(last) < idle
    }
}

impl RouteKey {
    fn of(subject: &Subject<'_>) -> Self {
        fn address<T>(of: Option<&Arc<T>>) -> usize {
            of.map_or(0, |it| Arc::as_ptr(it).addr())
        }
        Self {
            direction: subject.direction,
            security: subject.security,
            source: address(subject.parties.source.as_ref()),
            destination: address(subject.parties.destination.as_ref()),
            service: address(subject.parties.service.as_ref()),
            source_identity: subject.source_identity.cloned(),
            destination_identity: subject.destination_identity.cloned(),
        }
    }
}

/// Forgets unused routes, first those idle for a minute, then every one without a connection.
fn make_room(shard: &mut Shard, now: u32) {
    shard.retain(|_, entry| entry.route_in_use(now, 60));
    if shard.len() >= ROUTES_PER_SHARD {
        shard.retain(|_, entry| entry.route_in_use(now, 0));
    }
}

fn overflow_labels(direction: Direction) -> TrafficLabels {
    traffic_labels(&Subject {
        direction,
        security: Security::Unknown,
        parties: &Parties::default(),
        source_identity: None,
        destination_identity: None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing below panics while it holds a lock, and a counter table is never half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
