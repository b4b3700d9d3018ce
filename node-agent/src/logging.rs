//! Sets up the log, and lets it be changed while the agent runs.

use std::sync::Arc;

use node_agent_admin::LoggingPage;
use node_agent_settings::Settings;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};
use tunnel_telemetry::Telemetry;

/// The level setting cannot be understood; the operator must correct it.
#[derive(Debug, thiserror::Error)]
#[error("logLevel {text:?}: {problem}; expected a level such as info, or info,tunnel=debug")]
pub(crate) struct LevelError {
    text: String,
    problem: String,
}

/// Sends all events through telemetry's writer; returns the page that shows and changes levels.
pub(crate) fn start(settings: &Settings, telemetry: &Telemetry) -> Result<LoggingPage, LevelError> {
    let filter = filter(&settings.log_level)?;
    telemetry.set_access_level(filter.max_level_hint().unwrap_or(LevelFilter::INFO));
    let (layer, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry()
        .with(layer)
        .with(telemetry.event_layer());
    // Only tests start twice in one process; the first log is as good as the second.
    let _started_before = registry.try_init();
    let telemetry = telemetry.clone();
    Ok(Arc::new(move |wanted| change(&handle, &telemetry, wanted)))
}

/// Checks a level setting without putting it in force.
pub(crate) fn check(settings: &Settings) -> Result<(), LevelError> {
    filter(&settings.log_level).map(drop)
}

fn change<S>(
    handle: &reload::Handle<EnvFilter, S>,
    telemetry: &Telemetry,
    wanted: Option<&str>,
) -> Result<String, String> {
    if let Some(wanted) = wanted {
        let filter = filter(wanted).map_err(|error| format!("{error}\n"))?;
        telemetry.set_access_level(filter.max_level_hint().unwrap_or(LevelFilter::INFO));
        handle
            .reload(filter)
            .map_err(|error| format!("{error}\n"))?;
    }
    let shown = handle
        .with_current(ToString::to_string)
        .map_err(|error| format!("{error}\n"))?;
    Ok(format!("active levels: {shown}\n"))
}

/// The filter of a level setting.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, LevelError> {
    let fail = |problem: String| LevelError {
        text: text.to_owned(),
        problem,
    };
    // EnvFilter takes any bare word for a target name, so a misspelt level would turn all off.
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        // An empty text would mean error, which nobody who left it empty means.
        if level.is_empty() {
            return Err(fail("there is no level".to_owned()));
        }
        level
            .parse::<LevelFilter>()
            .map_err(|_| fail(format!("{level:?} is no level")))?;
    }
    // What fails there is said by who asked, with what to do; there it would be said as an error at each
    // attempt, bodies and all.
    let quiet = if text.contains("kube") {
        text.to_owned()
    } else {
        format!("{text},kube_client=off")
    };
    EnvFilter::builder()
        .parse(quiet)
        .map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn levels_are_understood_or_refused_with_a_reason() {
        for good in [
            "info",
            "debug",
            "info,tunnel=debug",
            "warn,node_agent=trace,h2=off",
        ] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,tunnel", "tunnel=loud"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
