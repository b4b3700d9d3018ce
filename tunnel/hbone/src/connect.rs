//! The CONNECT request: authority and the headers that describe the caller (HBONE's wire format).

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::HeaderValue;

/// What a CONNECT says about the connection it carries.
#[derive(Clone, Copy, Debug)]
pub struct ConnectHead<'a> {
    /// `:authority`: the address the peer shall deliver to.
    pub authority: SocketAddr,
    /// Who calls: `baggage`, as it is to be sent.
    pub baggage: Option<&'a HeaderValue>,
    /// The client's address: `forwarded: for=`.
    pub client: SocketAddr,
    /// The service the client addressed, if it was one: `;host=`. Left out if it is no name that can stand there.
    pub service: Option<&'a str>,
    /// Random bits that tie the log lines of both sides together (W3C trace context: trace id).
    pub trace: u128,
    /// The same for the span id.
    pub span: u64,
}

impl ConnectHead<'_> {
    pub(crate) fn write_authority<'t>(&self, text: &'t mut String) -> &'t [u8] {
        written(text, |text| write!(text, "{}", self.authority))
    }

    pub(crate) fn write_forwarded<'t>(&self, text: &'t mut String) -> &'t [u8] {
        written(text, |text| {
            write!(text, "for=\"{}\"", self.client)?;
            match self.service {
                Some(host) if host.bytes().all(|b| b.is_ascii_graphic()) => {
                    write!(text, ";host={host}")
                }
                _ => Ok(()),
            }
        })
    }

    pub(crate) fn write_traceparent<'t>(&self, text: &'t mut String) -> &'t [u8] {
        // Zero ids are invalid (W3C trace context 3.2.2.3).
        let (trace, span) = (self.trace.max(1), self.span.max(1));
        written(text, |text| write!(text, "00-{trace:032x}-{span:016x}-00"))
    }
}

fn written(text: &mut String, fill: impl FnOnce(&mut String) -> std::fmt::Result) -> &[u8] {
    text.clear();
    // Writing to a string does not fail.
    fill(text).ok();
    text.as_bytes()
}
