//! The exposition: `OpenMetrics` text with upstream's names.
//!
//! Written by hand because the families live in tables that can forget series, which the usual
//! registries do not offer. A family without samples is left out altogether.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::runtime::RuntimeMetrics;

use crate::Shared;
use crate::connection::Direction;
use crate::counters::{Registered, Value, lock};
use crate::labels::FLAGS;
use crate::process;
use crate::series::Series;
use crate::text::push_label_value;

pub(crate) fn encode(shared: &Shared) -> String {
    let mut out = Exposition {
        text: String::with_capacity(16 << 10),
    };
    out.build(shared);
    out.traffic(&shared.series.all());
    out.process();
    out.runtimes(shared);
    out.pods(shared);
    out.own(shared);
    out.text.push_str("# EOF\n");
    out.text
}

struct Exposition {
    text: String,
}

/// A family of the traffic set: its name, its help and its counter in a series.
struct Traffic<T: ?Sized + 'static> {
    name: &'static str,
    help: &'static str,
    pick: for<'a> fn(&'a Series) -> &'a T,
}

/// Families that never carry a flag other than `-`.
const UNFLAGGED: [Traffic<AtomicU64>; 3] = [
    Traffic {
        name: "istio_tcp_connections_opened",
        help: "The total number of TCP connections opened",
        pick: |series| &series.opened,
    },
    Traffic {
        name: "istio_tcp_received_bytes",
        help: "The size of total bytes received during request in case of a TCP connection",
        pick: |series| &series.received,
    },
    Traffic {
        name: "istio_tcp_sent_bytes",
        help: "The size of total bytes sent during response in case of a TCP connection",
        pick: |series| &series.sent,
    },
];

/// Families counted under the flag a connection ended with.
const FLAGGED: [Traffic<[AtomicU64; FLAGS.len()]>; 2] = [
    Traffic {
        name: "istio_tcp_connections_closed",
        help: "The total number of TCP connections closed",
        pick: |series| &series.closed,
    },
    Traffic {
        name: "istio_tcp_connections_failed",
        help: "The total number of TCP connections that ended with an error (unstable)",
        pick: |series| &series.failed,
    },
];

impl Exposition {
    fn build(&mut self, shared: &Shared) {
        self.family("istio_build", "gauge", "Istio component build info");
        self.text.push_str("istio_build{component=\"");
        push_label_value(&mut self.text, &shared.build.component);
        self.text.push_str("\",tag=\"");
        push_label_value(&mut self.text, &shared.build.tag);
        self.text.push_str("\"} 1\n");
    }

    fn traffic(&mut self, all: &[Arc<Series>]) {
        for Traffic { name, help, pick } in UNFLAGGED {
            let mut header = Some(help);
            for series in all {
                self.sample(
                    &mut header,
                    name,
                    series,
                    "-",
                    pick(series).load(Ordering::Relaxed),
                );
            }
        }
        for Traffic { name, help, pick } in FLAGGED {
            let mut header = Some(help);
            for series in all {
                for (flag, count) in FLAGS.iter().zip(pick(series)) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        self.sample(&mut header, name, series, flag.as_str(), count);
                    }
                }
            }
        }
    }

    /// One traffic counter; the family's header goes before its first sample.
    fn sample(
        &mut self,
        header: &mut Option<&str>,
        name: &str,
        series: &Series,
        flag: &str,
        count: u64,
    ) {
        if let Some(help) = header.take() {
            self.family(name, "counter", help);
        }
        let labels = &series.labels;
        self.line(format_args!(
            "{name}_total{{{},response_flags=\"{flag}\",{}}} {count}",
            labels.before_flag, labels.after_flag
        ));
    }

    fn process(&mut self) {
        let values = [
            (
                "process_open_fds",
                "Number of open file descriptors",
                process::open_fds(),
            ),
            (
                "process_max_fds",
                "Maximum number of file descriptors",
                process::max_fds(),
            ),
        ];
        for (name, help, value) in values {
            if let Some(value) = value {
                self.gauge(name, help, value);
            }
        }
    }

    fn runtimes(&mut self, shared: &Shared) {
        let metrics: Vec<_> = lock(&shared.runtimes)
            .iter()
            .map(tokio::runtime::Handle::metrics)
            .collect();
        if metrics.is_empty() {
            return;
        }
        let sum = |pick: fn(&RuntimeMetrics) -> usize| -> usize { metrics.iter().map(pick).sum() };
        let workers = sum(RuntimeMetrics::num_workers);
        let depth = sum(RuntimeMetrics::global_queue_depth);
        let tasks = sum(RuntimeMetrics::num_alive_tasks);
        self.gauge(
            "tokio_num_workers",
            "Number of worker threads of the runtimes",
            workers,
        );
        self.gauge(
            "tokio_global_queue_depth",
            "Tasks waiting in the global queues",
            depth,
        );
        self.gauge("tokio_num_alive_tasks", "Tasks that have not ended", tasks);
        self.workers(&metrics);
    }

    fn workers(&mut self, metrics: &[RuntimeMetrics]) {
        self.per_worker(
            "tokio_worker_total_busy_duration_seconds",
            "Time workers were busy",
            metrics,
            |m, worker| m.worker_total_busy_duration(worker).as_secs_f64(),
        );
        self.per_worker(
            "tokio_worker_park_count",
            "Times workers went to sleep",
            metrics,
            RuntimeMetrics::worker_park_count,
        );
        self.per_worker(
            "tokio_worker_park_unpark_count",
            "Times workers slept or woke",
            metrics,
            RuntimeMetrics::worker_park_unpark_count,
        );
    }

    /// A counter per worker thread, numbered across the runtimes.
    fn per_worker<T: Display>(
        &mut self,
        name: &str,
        help: &str,
        runtimes: &[RuntimeMetrics],
        pick: impl Fn(&RuntimeMetrics, usize) -> T,
    ) {
        self.family(name, "counter", help);
        let workers = runtimes
            .iter()
            .flat_map(|m| (0..m.num_workers()).map(move |w| (m, w)));
        for (number, (metrics, worker)) in workers.enumerate() {
            let value = pick(metrics, worker);
            self.line(format_args!("{name}_total{{worker=\"{number}\"}} {value}"));
        }
    }

    fn pods(&mut self, shared: &Shared) {
        let pods = &shared.pods;
        self.gauge(
            "workload_manager_active_proxy_count",
            "The number of pods with listeners (unstable)",
            pods.active.value(),
        );
        self.gauge(
            "workload_manager_pending_proxy_count",
            "The number of pods waiting for listeners (unstable)",
            pods.pending.value(),
        );
        self.counter(
            "workload_manager_proxies_started",
            "The total number of pods that got listeners (unstable)",
            pods.started.value(),
        );
        self.counter(
            "workload_manager_proxies_stopped",
            "The total number of pods that lost their listeners (unstable)",
            pods.stopped.value(),
        );
    }

    fn own(&mut self, shared: &Shared) {
        self.connections(shared);
        self.counter(
            "ambient_log_lines_dropped",
            "Log lines lost because the writer could not keep up (unstable)",
            shared.queue.dropped(),
        );
        self.counter(
            "ambient_metric_series_overflow",
            "Label sets folded into the overflow series for want of room (unstable)",
            shared.series.overflowed(),
        );
        self.registered(&lock(&shared.registered));
    }

    /// Those of one name are neighbours.
    fn registered(&mut self, all: &[Registered]) {
        let mut family = "";
        for registered in all {
            let name = registered.name;
            let (kind, suffix, value) = match &registered.value {
                Value::Counter(counter) => ("counter", "_total", counter.value().to_string()),
                Value::Gauge(gauge) => ("gauge", "", gauge.value().to_string()),
            };
            if name != family {
                self.family(name, kind, &format!("{} (unstable)", registered.help));
                family = name;
            }
            match registered.label {
                None => self.line(format_args!("{name}{suffix} {value}")),
                Some((label, of)) => {
                    self.line(format_args!("{name}{suffix}{{{label}=\"{of}\"}} {value}"));
                }
            }
        }
    }

    fn connections(&mut self, shared: &Shared) {
        self.family(
            "istio_tcp_sockets_open",
            "gauge",
            "Connections open at present (unstable)",
        );
        for direction in [Direction::Inbound, Direction::Outbound] {
            let open: &AtomicI64 = shared.open_gauge(direction);
            let (reporter, open) = (direction.reporter(), open.load(Ordering::Relaxed));
            self.line(format_args!(
                "istio_tcp_sockets_open{{reporter=\"{reporter}\"}} {open}"
            ));
        }
        let early = lock(&shared.early).clone();
        if !early.is_empty() {
            let help = "Connections refused before their parties were known (unstable)";
            self.family("ambient_early_refusals", "counter", help);
        }
        for ((reporter, reason), count) in early {
            self.line(format_args!(
                "ambient_early_refusals_total{{reporter=\"{reporter}\",reason=\"{reason}\"}} {count}"
            ));
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.line(format_args!("{name}_total {value}"));
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}.\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}
