//! From the parties of a connection to the two texts made of them: the traffic label set of the
//! metrics and the constant parts of the access line. This is the only file that reads the model.

use std::fmt::Write;

use tunnel_model::{Identity, Parties, ResponseFlag, Workload};

use crate::LogFormat;
use crate::connection::{Direction, Security};
use crate::text::{Escaping, Quotes, push_label_value};

/// Everything that decides which label set and which log fields a connection has.
pub(crate) struct Subject<'a> {
    pub(crate) direction: Direction,
    pub(crate) security: Security,
    pub(crate) parties: &'a Parties,
    pub(crate) source_identity: Option<&'a Identity>,
    pub(crate) destination_identity: Option<&'a Identity>,
}

/// A rendered label set, open in the middle where `response_flags` goes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TrafficLabels {
    pub(crate) before_flag: Box<str>,
    pub(crate) after_flag: Box<str>,
}

/// The flags in the order in which their counters are kept.
pub(crate) const FLAGS: [ResponseFlag; 8] = [
    ResponseFlag::None,
    ResponseFlag::Deny,
    ResponseFlag::Connect,
    ResponseFlag::TlsFailure,
    ResponseFlag::H2HandshakeFailure,
    ResponseFlag::NetworkPolicy,
    ResponseFlag::IdentityError,
    ResponseFlag::CertRevoked,
];

pub(crate) fn traffic_labels(subject: &Subject<'_>) -> TrafficLabels {
    let mut before = LabelWriter::default();
    before.label("reporter", subject.direction.reporter());
    push_workload(
        &mut before,
        &SOURCE,
        subject.parties.source.as_deref(),
        subject.source(),
    );
    let service = subject.parties.service.as_deref();
    before.label("destination_service", service.map_or("", |s| &s.hostname));
    before.label(
        "destination_service_namespace",
        service.map_or("", |s| &s.namespace),
    );
    before.label("destination_service_name", service.map_or("", |s| &s.name));
    let destination = subject.parties.destination.as_deref();
    push_workload(
        &mut before,
        &DESTINATION,
        destination,
        subject.destination(),
    );
    before.label("request_protocol", "tcp");
    TrafficLabels {
        before_flag: before.text.into_boxed_str(),
        after_flag: labels_after_flag(subject).into_boxed_str(),
    }
}

fn labels_after_flag(subject: &Subject<'_>) -> String {
    let destination = subject.parties.destination.as_deref();
    let mut after = LabelWriter::default();
    after.label("connection_security_policy", subject.security.label());
    let source = subject.parties.source.as_deref();
    after.label("source_region", source.map_or("", |w| &w.locality.region));
    after.label("source_zone", source.map_or("", |w| &w.locality.zone));
    after.label(
        "destination_region",
        destination.map_or("", |w| &w.locality.region),
    );
    after.label(
        "destination_zone",
        destination.map_or("", |w| &w.locality.zone),
    );
    after.text
}

/// The label names of one side, in upstream's order.
struct SideNames {
    workload: &'static str,
    canonical_service: &'static str,
    canonical_revision: &'static str,
    namespace: &'static str,
    principal: &'static str,
    app: &'static str,
    version: &'static str,
    cluster: &'static str,
}

const SOURCE: SideNames = SideNames {
    workload: "source_workload",
    canonical_service: "source_canonical_service",
    canonical_revision: "source_canonical_revision",
    namespace: "source_workload_namespace",
    principal: "source_principal",
    app: "source_app",
    version: "source_version",
    cluster: "source_cluster",
};

const DESTINATION: SideNames = SideNames {
    workload: "destination_workload",
    canonical_service: "destination_canonical_service",
    canonical_revision: "destination_canonical_revision",
    namespace: "destination_workload_namespace",
    principal: "destination_principal",
    app: "destination_app",
    version: "destination_version",
    cluster: "destination_cluster",
};

fn push_workload(
    labels: &mut LabelWriter,
    names: &SideNames,
    workload: Option<&Workload>,
    identity: Option<String>,
) {
    let field = |pick: fn(&Workload) -> &str| workload.map_or("", pick);
    labels.label(names.workload, field(|w| &w.workload_name));
    labels.label(names.canonical_service, field(|w| &w.canonical_name));
    labels.label(names.canonical_revision, field(|w| &w.canonical_revision));
    labels.label(names.namespace, field(|w| &w.namespace));
    labels.label(names.principal, &identity.unwrap_or_default());
    labels.label(names.app, field(|w| &w.canonical_name));
    labels.label(names.version, field(|w| &w.canonical_revision));
    labels.label(names.cluster, field(|w| &w.cluster_id));
}

#[derive(Default)]
struct LabelWriter {
    text: String,
}

impl LabelWriter {
    fn label(&mut self, name: &str, value: &str) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(name);
        self.text.push_str("=\"");
        push_label_value(
            &mut self.text,
            if value.is_empty() { "unknown" } else { value },
        );
        self.text.push('"');
    }
}

impl Subject<'_> {
    /// The source principal is only ever one proven by a handshake: the name an address belongs
    /// to is not proof of who sent the packet.
    fn source(&self) -> Option<String> {
        self.source_identity.map(ToString::to_string)
    }

    fn destination(&self) -> Option<String> {
        let proven = self.destination_identity.map(ToString::to_string);
        let named = || {
            self.parties
                .destination
                .as_deref()
                .map(|w| w.identity.to_string())
        };
        proven.or_else(named)
    }
}

/// The parts of an access line that are the same for every connection of these parties.
#[derive(Debug)]
pub(crate) struct LogParts {
    /// `src.workload` to `src.cluster`.
    pub(crate) source: Box<str>,
    /// `dst.service` to `direction`.
    pub(crate) destination: Box<str>,
}

pub(crate) fn log_parts(subject: &Subject<'_>, format: LogFormat) -> LogParts {
    let mtls = subject.security == Security::MutualTls;
    let mut source = FieldWriter {
        text: String::new(),
        format,
    };
    if let Some(workload) = subject.parties.source.as_deref() {
        source.text_field("src.workload", shown_name(workload));
        source.text_field("src.namespace", &workload.namespace);
    }
    source.identity("src.identity", subject.source().as_deref().filter(|_| mtls));
    source.text_field(
        "src.cluster",
        subject
            .parties
            .source
            .as_ref()
            .map_or("", |w| &w.cluster_id),
    );

    let mut destination = FieldWriter {
        text: String::new(),
        format,
    };
    let service = subject.parties.service.as_deref();
    destination.text_field("dst.service", service.map_or("", |s| &s.hostname));
    let workload = subject.parties.destination.as_deref();
    destination.text_field("dst.workload", workload.map_or("", shown_name));
    destination.text_field("dst.namespace", workload.map_or("", |w| &w.namespace));
    destination.identity(
        "dst.identity",
        subject.destination().as_deref().filter(|_| mtls),
    );
    destination.text_field("dst.cluster", workload.map_or("", |w| &w.cluster_id));
    destination.text_field("direction", subject.direction.label());
    LogParts {
        source: source.text.into_boxed_str(),
        destination: destination.text.into_boxed_str(),
    }
}

fn shown_name(workload: &Workload) -> &str {
    let name: &str = &workload.name;
    if name.is_empty() {
        &workload.canonical_name
    } else {
        name
    }
}

struct FieldWriter {
    text: String,
    format: LogFormat,
}

impl FieldWriter {
    fn identity(&mut self, name: &str, identity: Option<&str>) {
        self.text_field(name, identity.unwrap_or(""));
    }

    /// Appends a field; an empty value means there is nothing to say, and the field is left out.
    fn text_field(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.format.push_key(&mut self.text, name);
        self.text.push('"');
        // Writing into a String cannot fail.
        let _ = Escaping::new(&mut self.text, Quotes::Escape).write_str(value);
        self.text.push('"');
    }
}
