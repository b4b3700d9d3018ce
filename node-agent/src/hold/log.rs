//! The log of the holder and the installer: the same lines as the worker's, written without a thread.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use node_agent_settings::{LogFormat, Settings};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tunnel_telemetry::EventLayer;

use crate::logging::{self, LevelError};

/// How long a line waits for a reader that is behind, milliseconds: the holder must not hang on
/// its log, so the line is lost then.
const PATIENCE: u16 = 100;

/// Sends the holder's events to standard output.
pub(crate) fn start(settings: &Settings) -> Result<(), LevelError> {
    let format = match settings.log_format {
        LogFormat::Plain => tunnel_telemetry::LogFormat::Plain,
        LogFormat::Json => tunnel_telemetry::LogFormat::Json,
    };
    let registry = tracing_subscriber::registry()
        .with(logging::filter(&settings.log_level)?)
        .with(EventLayer::direct(format, write));
    // Only tests start twice in one process; the first log is as good as the second.
    let _started_before = registry.try_init();
    Ok(())
}

fn write(line: &str) {
    let output = std::io::stdout();
    let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    if matches!(poll(&mut ready, PollTimeout::from(PATIENCE)), Ok(1)) {
        let mut output = output.lock();
        // Nobody can be told that the log cannot be written.
        let _unheard = output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush());
    }
}
