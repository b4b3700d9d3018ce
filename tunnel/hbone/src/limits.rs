//! What one tunnel may cost.

use std::time::Duration;

/// Bounds of a tunnel, both sides. Every one of them is a setting of the agent.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Unread bytes one stream may hold here, bytes (`SETTINGS_INITIAL_WINDOW_SIZE`).
    pub stream_window: u32,
    /// Unread bytes all streams of a tunnel may hold here together, bytes. At least
    /// `stream_window` × the streams that may stall without their siblings noticing.
    pub tunnel_window: u32,
    /// Largest DATA frame accepted, bytes (`SETTINGS_MAX_FRAME_SIZE`).
    pub max_frame: u32,
    /// Streams a peer may have open at once (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub max_streams: u32,
    /// Streams we open on one tunnel before another is made.
    pub pool_streams: usize,
    /// Header block of one request, bytes after decompression. A CONNECT needs a few hundred.
    pub header_list: u32,
    /// TCP connection established within, for tunnels and for the application.
    pub connect_timeout: Duration,
    /// TLS handshake and HTTP/2 preface complete within.
    pub handshake_timeout: Duration,
    /// A silent peer is asked for a sign of life after this long.
    pub ping_interval: Duration,
    /// A peer that does not answer for this long is gone.
    pub ping_timeout: Duration,
    /// A tunnel without streams is closed after this long.
    pub idle: Duration,
    /// Streams that a peer opened and reset before we looked at them (CVE-2023-44487).
    pub pending_resets: usize,
    /// Streams we reset because of the peer's mistakes before the tunnel is closed.
    pub local_resets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stream_window: 1 << 20,
            tunnel_window: 100 << 20,
            max_frame: 1 << 20,
            max_streams: 200,
            pool_streams: 100,
            header_list: 16 << 10,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
            idle: Duration::from_secs(300),
            pending_resets: 20,
            local_resets: 256,
        }
    }
}
