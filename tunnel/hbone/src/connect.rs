//! The CONNECT request: authority and the headers that describe the caller (HBONE's wire format).

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::error::TunnelError;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a CONNECT says about the connection it carries.
#[derive(Clone, Copy, Debug)]
pub struct ConnectHead<'a> {
    /// `:authority`: the address the peer shall deliver to.
    pub authority: SocketAddr,
    /// Who calls: `baggage`, as it is to be sent.
    pub baggage: Option<&'a HeaderValue>,
    /// The client's address: `forwarded: for=`.
    pub client: SocketAddr,
    /// The service the client addressed, if it was one: `;host=`.
    pub service: Option<&'a str>,
    /// Random bits that tie the log lines of both sides together (W3C trace context: trace id).
    pub trace: u128,
    /// The same for the span id.
    pub span: u64,
}

/// The request that opens a stream.
///
/// # Errors
/// [`TunnelError::Http2`] when a name contains what HTTP does not allow in a header.
pub fn connect_request(head: &ConnectHead<'_>) -> Result<Request<()>, TunnelError> {
    let bad = |e: http::Error| TunnelError::Http2(format!("cannot form CONNECT: {e}"));
    let mut text = String::with_capacity(96);
    let mut value = |fill: &dyn Fn(&mut String) -> std::fmt::Result| {
        text.clear();
        // Writing to a string does not fail.
        fill(&mut text).ok();
        HeaderValue::from_str(&text).map_err(|e| bad(e.into()))
    };
    let authority = value(&|t| write!(t, "{}", head.authority))?;
    let forwarded = value(&|t| {
        write!(t, "for=\"{}\"", head.client)?;
        head.service
            .map_or(Ok(()), |host| write!(t, ";host={host}"))
    })?;
    // Zero ids are invalid (W3C trace context 3.2.2.3).
    let traceparent = value(&|t| {
        write!(
            t,
            "00-{:032x}-{:016x}-00",
            head.trace.max(1),
            head.span.max(1)
        )
    })?;
    let uri = Uri::from_maybe_shared(bytes::Bytes::copy_from_slice(authority.as_bytes()))
        .map_err(|e| bad(e.into()))?;
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    if let Some(baggage) = head.baggage {
        headers.insert(BAGGAGE, baggage.clone());
    }
    headers.insert(FORWARDED, forwarded);
    headers.insert(TRACEPARENT, traceparent);
    Ok(request)
}

/// The members of `baggage` this mesh uses, as sent by a peer. Every one is a claim of the peer,
/// for telemetry only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    /// `k8s.cluster.name`.
    pub cluster: Option<String>,
    /// `k8s.namespace.name`.
    pub namespace: Option<String>,
    /// `k8s.deployment.name`, `k8s.pod.name`, `k8s.job.name` or `k8s.cronjob.name`.
    pub workload: Option<String>,
    /// `service.name`.
    pub service: Option<String>,
    /// `service.version`.
    pub version: Option<String>,
    /// `cloud.region`.
    pub region: Option<String>,
    /// `cloud.availability_zone`.
    pub zone: Option<String>,
}

impl Baggage {
    /// Reads all `baggage` headers; unknown members are ignored, the last of each name counts.
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for header in headers.get_all(BAGGAGE) {
            let Ok(text) = header.to_str() else { continue };
            for member in text.split(',') {
                let Some((name, value)) = member.split_once('=') else {
                    continue;
                };
                found.set(name.trim(), value.trim());
            }
        }
        found
    }

    fn set(&mut self, name: &str, value: &str) {
        let slot = match name {
            "k8s.cluster.name" => &mut self.cluster,
            "k8s.namespace.name" => &mut self.namespace,
            "k8s.deployment.name" | "k8s.pod.name" | "k8s.job.name" | "k8s.cronjob.name" => {
                &mut self.workload
            }
            "service.name" => &mut self.service,
            "service.version" => &mut self.version,
            "cloud.region" => &mut self.region,
            "cloud.availability_zone" => &mut self.zone,
            _ => return,
        };
        *slot = (!value.is_empty()).then(|| value.to_owned());
    }
}
