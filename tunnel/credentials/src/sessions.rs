//! The TLS sessions that a client may resume.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls_pki_types::ServerName;

/// Sessions kept, some 2 KiB each; the oldest makes room.
const MOST: usize = 256;

/// Each session is used once and brings the next. The library's own store keeps eight for each
/// server, so that it loses some whenever more tunnels than that begin at a time; this one counts
/// only all together.
#[derive(Debug)]
pub(crate) struct Sessions {
    kept: Mutex<VecDeque<(ServerName<'static>, Tls13ClientSessionValue)>>,
    /// Which key exchange a server took last: it is offered that one first.
    hints: ClientSessionMemoryCache,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            hints: ClientSessionMemoryCache::new(MOST),
        }
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.hints.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.hints.kx_hint(server)
    }

    // TLS 1.2 is not spoken.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'_>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MOST {
            kept.pop_front();
        }
        kept.push_back((server, session));
    }

    /// The latest.
    fn take_tls13_ticket(&self, server: &ServerName<'_>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().rposition(|(of, _)| of == server)?;
        kept.remove(place).map(|(_, session)| session)
    }
}
