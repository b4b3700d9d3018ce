//! The certificates in the dump. Only the public part exists here at all.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};
use tunnel_credentials::{CertificateState, CertificateSummary, RootSummary};
use tunnel_telemetry::utc;

use crate::certificates::Known;

/// Those of this worker, and of former ones as long as they are not issued anew.
pub(crate) fn all(
    summaries: &[CertificateSummary],
    former: &BTreeMap<String, Known>,
) -> Vec<Value> {
    let ours = |identity: &String| {
        let mut summaries = summaries.iter();
        summaries.any(|one| one.identity.as_str() == identity)
    };
    let others = former.iter().filter(|(identity, _)| !ours(identity));
    summaries
        .iter()
        .map(|summary| certificate(summary, former.get(summary.identity.as_str())))
        .chain(others.map(|(_, known)| awaited(known)))
        .collect()
}

fn certificate(summary: &CertificateSummary, former: Option<&Known>) -> Value {
    let state = match (summary.state, &summary.last_error) {
        (CertificateState::Valid, _) => "Available".to_owned(),
        (CertificateState::Pending, _) if former.is_some() => INITIALIZING.to_owned(),
        (CertificateState::Pending, None) => INITIALIZING.to_owned(),
        (_, Some(why)) => format!("Unavailable: {why}"),
        (CertificateState::Expired, None) => "Unavailable: expired".to_owned(),
    };
    let former = former.filter(|_| summary.state == CertificateState::Pending);
    json!({
        "identity": summary.identity.to_string(),
        "state": state,
        "since": seconds(summary.since),
        "lastError": summary.last_error,
        "certChain": [{
            "pem": summary.chain_pem,
            "serialNumber": summary.serial,
            "validFrom": summary.not_before.map(utc),
            "expirationTime": summary.not_after.map(utc),
        }],
        "rootCerts": summary.roots.iter().map(root).collect::<Vec<_>>(),
        "formerWorker": former.map(former_worker),
    })
}

fn root(root: &RootSummary) -> Value {
    json!({
        "pem": root.pem,
        "serialNumber": root.serial,
        "validFrom": root.not_before.map(utc),
        "expirationTime": root.not_after.map(utc),
    })
}

/// One that nobody has asked for since the worker started.
fn awaited(known: &Known) -> Value {
    json!({
        "identity": known.identity,
        "state": INITIALIZING,
        "certChain": [],
        "rootCerts": [],
        "formerWorker": former_worker(known),
    })
}

/// Apart from the chain in use, so that no tool takes it for that.
fn former_worker(known: &Known) -> Value {
    let certificate = known.certificate.as_ref().map(|had| {
        json!({
            "pem": had.chain_pem,
            "serialNumber": had.serial_number,
            "validFrom": utc(had.not_before.into()),
            "expirationTime": utc(had.not_after.into()),
            "issued": had.issued,
            "privateKey": "gone with the former worker",
        })
    });
    json!({ "certificate": certificate, "lastError": known.last_error })
}

fn seconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.ok().map(|since| since.as_secs())
}

const INITIALIZING: &str = "Initializing";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tunnel_model::Identity;

    use super::*;

    fn summary(account: &str, state: CertificateState) -> CertificateSummary {
        CertificateSummary {
            identity: Identity::new("cluster.local", "shop", account).unwrap(),
            state,
            since: SystemTime::UNIX_EPOCH,
            last_error: Some("no".to_owned()),
            chain_pem: String::new(),
            roots: Vec::new(),
            serial: None,
            not_before: None,
            not_after: None,
        }
    }

    #[test]
    fn what_a_former_worker_had_is_shown_until_there_is_another() {
        let states = [
            ("expired", CertificateState::Expired),
            ("new", CertificateState::Pending),
            ("old", CertificateState::Pending),
            ("valid", CertificateState::Valid),
        ];
        let summaries = states.map(|(account, state)| summary(account, state));
        let known: Vec<Known> = serde_json::from_value(json!(
            ["expired", "later", "old", "valid"].map(|account| json!({
                "identity": format!("spiffe://cluster.local/ns/shop/sa/{account}"),
                "certificate": {
                    "serialNumber": "7", "notBefore": 1, "notAfter": 2, "issued": 1,
                    "chainPem": "public",
                },
            }))
        ))
        .unwrap();
        let former = known.into_iter().map(|one| (one.identity.clone(), one));
        let shown = all(&summaries, &former.collect());
        let shown: Vec<_> = shown
            .iter()
            .map(|one| {
                let (_, account) = one["identity"].as_str().unwrap().rsplit_once('/').unwrap();
                let former = &one["formerWorker"]["certificate"];
                let state = one["state"].as_str().unwrap();
                (account, state, former["serialNumber"] == "7")
            })
            .collect();
        let expected = [
            ("expired", "Unavailable: no", false),
            ("new", "Unavailable: no", false),
            ("old", "Initializing", true),
            ("valid", "Available", false),
            ("later", "Initializing", true),
        ];
        assert_eq!(shown, expected);
    }
}
