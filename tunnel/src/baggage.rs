//! The header that describes a pod's workload to its peers. It is the same for each of the pod's connections, so it is
//! written once for as long as the workload stays what it is.

use std::cell::RefCell;
use std::sync::Arc;

use http::HeaderValue;
use tunnel_model::Workload;

/// The `baggage` of one pod.
#[derive(Debug, Default)]
pub(crate) struct Baggage(RefCell<Option<(Arc<Workload>, Option<HeaderValue>)>>);

impl Baggage {
    /// The header for the workload as it is now. None if a name in it cannot stand in a header: it is for telemetry
    /// only, and no reason to refuse a connection.
    pub(crate) fn of(&self, own: &Arc<Workload>) -> Option<HeaderValue> {
        let mut written = self.0.borrow_mut();
        if let Some((of, header)) = &*written
            && Arc::ptr_eq(of, own)
        {
            return header.clone();
        }
        let header = HeaderValue::try_from(text(own)).ok();
        if header.is_none() {
            tracing::warn!(workload = %own.uid, "a name of this workload cannot stand in a header: peers are told none");
        }
        *written = Some((Arc::clone(own), header.clone()));
        header
    }
}

/// Members in the order of the wire format.
fn text(own: &Workload) -> String {
    let kind = format!("k8s.{}.name", own.workload_type.as_str());
    let members = [
        ("k8s.cluster.name", &own.cluster_id),
        ("k8s.namespace.name", &own.namespace),
        (kind.as_str(), &own.workload_name),
        ("service.name", &own.canonical_name),
        ("service.version", &own.canonical_revision),
        ("cloud.region", &own.locality.region),
        ("cloud.availability_zone", &own.locality.zone),
    ];
    let mut text = String::with_capacity(160);
    for (name, value) in members {
        if value.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

#[cfg(test)]
mod tests {
    use tunnel_model::Identity;

    use super::*;

    fn workload(name: &str) -> Arc<Workload> {
        let identity = Identity::new("cluster.local", "shop", "default").expect("an identity");
        let mut workload = Workload::new("uid", "pod", identity, Vec::new());
        workload.cluster_id = "Kubernetes".into();
        workload.workload_name = name.into();
        Arc::new(workload)
    }

    #[test]
    fn it_follows_the_workload() {
        let baggage = Baggage::default();
        for name in ["cart", "basket"] {
            let own = workload(name);
            let header = baggage.of(&own).expect("a header");
            let text = header.to_str().expect("text");
            let begins = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,";
            assert!(text.starts_with(begins), "{text}");
            assert!(text.contains(&format!(".name={name}")), "{text}");
            assert_eq!(baggage.of(&own), Some(header));
        }
    }

    #[test]
    fn a_name_with_control_characters_is_told_to_nobody() {
        assert_eq!(Baggage::default().of(&workload("a\r\nx: y")), None);
    }
}
