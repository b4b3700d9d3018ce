//! The three sites of the agent, put together from what the agent supplies.

use std::pin::Pin;
use std::sync::Arc;

use crate::readiness::Readiness;
use crate::site::{Answer, Site};

/// Shows (`None`) or changes what is logged; both outcomes are texts for the caller.
pub type LoggingPage = Arc<dyn Fn(Option<&str>) -> Result<String, String> + Send + Sync>;

/// Explains one pod, named `namespace/name`, as JSON; the error is for the caller.
pub type ExplainPage =
    Arc<dyn Fn(&str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

/// The parts of the administration site, supplied by the agent.
pub struct AdminPages {
    /// The state of everything, as JSON.
    pub config_dump: Arc<dyn Fn() -> String + Send + Sync>,
    /// Shows (`None`) or changes what is logged; the error is for the caller.
    pub logging: LoggingPage,
    /// Explains one pod.
    pub explain: ExplainPage,
    /// Starts a graceful stop.
    pub quit: Arc<dyn Fn() + Send + Sync>,
}

/// The administration site.
#[must_use]
pub fn admin_site(pages: AdminPages) -> Site {
    let AdminPages {
        config_dump,
        logging,
        explain,
        quit,
    } = pages;
    Site::new("ambient-agent")
        .get(
            "/config_dump",
            "state of pods, mesh and certificates",
            move |_| Answer::json(config_dump()),
        )
        .get_later(
            "/explain",
            "why a pod (?pod=namespace/name) is in the mesh or not, and how it is",
            move |query| {
                let explaining = explain(&parameter(query, "pod").unwrap_or_default());
                Box::pin(async move {
                    match explaining.await {
                        Ok(json) => Answer::json(json),
                        Err(text) => Answer::text(400, text),
                    }
                })
            },
        )
        .post(
            "/logging",
            "show, or change with ?level=..., what is logged",
            move |query| match logging(parameter(query, "level").as_deref()) {
                Ok(text) => Answer::text(200, text),
                Err(text) => Answer::text(400, text),
            },
        )
        .post("/quitquitquit", "stop gracefully", move |_| {
            quit();
            Answer::text(200, "shutdown now\n")
        })
}

/// The readiness site.
#[must_use]
pub fn readiness_site(readiness: Readiness) -> Site {
    Site::new("ambient-agent readiness").get("/healthz/ready", "200 once ready", move |_| {
        let pending = readiness.pending();
        if pending.is_empty() {
            Answer::text(200, "ready\n")
        } else {
            Answer::text(500, format!("not ready, pending: {}\n", pending.join(", ")))
        }
    })
}

/// The metrics site; the closure yields the text of all metrics.
#[must_use]
pub fn metrics_site(metrics: Arc<dyn Fn() -> String + Send + Sync>) -> Site {
    let page = move |metrics: &Arc<dyn Fn() -> String + Send + Sync>| Answer {
        status: 200,
        content_type: OPEN_METRICS,
        body: metrics().into(),
    };
    let again = Arc::clone(&metrics);
    Site::new("ambient-agent metrics")
        .get("/metrics", "all metrics", move |_| page(&metrics))
        .get("/stats/prometheus", "the same", move |_| page(&again))
}

/// The value of a query parameter, with `%xx` and `+` decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| decoded(value))
    })
}

fn decoded(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| value.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        at += if escaped.is_some() { 3 } else { 1 };
        plain.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&plain).into_owned()
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
