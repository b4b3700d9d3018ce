//! The TLS sessions that a client may resume.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// Sessions kept, some 2 KiB each; the oldest makes room. Whoever reads the tickets from the wire
/// bounds the size of each.
const MOST: usize = 256;

/// Each session is used once and brings the next. The library's own store keeps eight for each
/// server, so that it loses some whenever more tunnels than that begin at a time; this one counts
/// only all together.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Kept>);

type Kept = VecDeque<(ServerName<'static>, Tls13ClientSessionValue)>;

impl Sessions {
    /// The next connection to this server begins anew.
    pub(crate) fn forget(&self, server: &ServerName<'_>) {
        self.kept().retain(|(of, _)| of != server);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    // Our first choice is what our own peers take.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    // TLS 1.2 is not spoken.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'_>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        if kept.len() == MOST {
            kept.pop_front();
        }
        kept.push_back((server, session));
    }

    /// The latest.
    fn take_tls13_ticket(&self, server: &ServerName<'_>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.kept();
        let place = kept.iter().rposition(|(of, _)| of == server)?;
        kept.remove(place).map(|(_, session)| session)
    }
}
