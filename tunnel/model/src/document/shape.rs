use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The whole document.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Document {
    /// The workloads.
    pub workloads: Option<Vec<WorkloadDocument>>,
    /// The services.
    pub services: Option<Vec<ServiceDocument>>,
    /// The policies.
    pub policies: Option<Vec<PolicyDocument>>,
}

/// A workload.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadDocument {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub service_account: Option<String>,
    pub trust_domain: Option<String>,
    pub workload_ips: Vec<String>,
    pub hostname: Option<String>,
    pub network: Option<String>,
    pub protocol: Option<String>,
    pub native_tunnel: bool,
    pub application_tunnel: Option<ApplicationTunnelDocument>,
    pub waypoint: Option<GatewayDocument>,
    pub network_gateway: Option<GatewayDocument>,
    pub node: Option<String>,
    pub cluster_id: Option<String>,
    pub locality: Option<LocalityDocument>,
    pub workload_name: Option<String>,
    pub workload_type: Option<String>,
    pub canonical_name: Option<String>,
    pub canonical_revision: Option<String>,
    pub services: Option<BTreeMap<String, BTreeMap<Port, u16>>>,
    pub authorization_policies: Option<Vec<String>>,
    pub status: Option<String>,
    pub network_mode: Option<String>,
    pub capacity: Option<u32>,
}

/// Where a workload runs.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalityDocument {
    pub region: String,
    pub zone: String,
    pub subzone: String,
}

/// A proxy inside the workload's pod.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApplicationTunnelDocument {
    pub protocol: Option<String>,
    pub port: Option<u16>,
}

/// A waypoint or gateway: `network/ip` or `namespace/hostname`.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayDocument {
    pub destination: String,
    pub hbone_mtls_port: Option<u16>,
}

/// One of several waypoints.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightedWaypointDocument {
    pub destination: GatewayDocument,
    pub weight: u32,
}

/// A service. Its endpoints are accepted, as dumps have them, and not read: they are known from
/// the workloads.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceDocument {
    pub name: String,
    pub namespace: String,
    pub hostname: String,
    pub vips: Vec<String>,
    pub cidr_vips: Option<Vec<String>>,
    pub ports: BTreeMap<Port, u16>,
    pub endpoints: Option<IgnoredAny>,
    pub subject_alt_names: Option<Vec<String>>,
    pub waypoint: Option<GatewayDocument>,
    pub weighted_waypoints: Option<Vec<WeightedWaypointDocument>>,
    pub load_balancer: Option<LoadBalancerDocument>,
    pub ip_families: Option<String>,
    pub canonical: bool,
    pub visibility: Option<String>,
}

/// How a service is balanced.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancerDocument {
    pub mode: Option<String>,
    pub routing_preferences: Option<Vec<String>>,
    pub health_policy: Option<String>,
}

/// The matches of a clause, one of which must hold.
pub type ClauseDocument = Vec<MatchDocument>;

/// A policy. Its rules are lists of clauses, which are lists of matches.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyDocument {
    pub name: String,
    pub namespace: String,
    pub scope: String,
    pub action: String,
    pub rules: Option<Vec<Vec<ClauseDocument>>>,
    pub dry_run: bool,
}

/// A match.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchDocument {
    pub namespaces: Vec<StringMatchDocument>,
    pub not_namespaces: Vec<StringMatchDocument>,
    pub principals: Vec<StringMatchDocument>,
    pub not_principals: Vec<StringMatchDocument>,
    pub source_ips: Vec<String>,
    pub not_source_ips: Vec<String>,
    pub destination_ips: Vec<String>,
    pub not_destination_ips: Vec<String>,
    pub destination_ports: Vec<u32>,
    pub not_destination_ports: Vec<u32>,
    pub service_accounts: Vec<ServiceAccountDocument>,
    pub not_service_accounts: Vec<ServiceAccountDocument>,
}

/// A service account.
#[expect(missing_docs, reason = "the fields are those of the model")]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceAccountDocument {
    pub namespace: String,
    pub service_account: String,
}

/// How a text is compared: `{Exact: text}`, `{Prefix: text}`, `{Suffix: text}`, `{Presence: ..}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatchDocument {
    /// Equal.
    Exact(String),
    /// Starts with.
    Prefix(String),
    /// Ends with.
    Suffix(String),
    /// Not empty.
    Presence,
    /// Nothing was said: a mistake, found when the policy is made.
    Unset,
}

impl<'de> Deserialize<'de> for StringMatchDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringMatchVisitor)
    }
}

struct StringMatchVisitor;

impl<'de> Visitor<'de> for StringMatchVisitor {
    type Value = StringMatchDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of Exact, Prefix, Suffix with a text, or Presence")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.eq_ignore_ascii_case("presence") {
            return Ok(StringMatchDocument::Presence);
        }
        Err(E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some(kind) = map.next_key::<String>()? else {
            return Ok(StringMatchDocument::Unset);
        };
        let read = match kind.to_ascii_lowercase().as_str() {
            "exact" => StringMatchDocument::Exact(map.next_value()?),
            "prefix" => StringMatchDocument::Prefix(map.next_value()?),
            "suffix" => StringMatchDocument::Suffix(map.next_value()?),
            "presence" => {
                let _anything: IgnoredAny = map.next_value()?;
                StringMatchDocument::Presence
            }
            _ => return Err(de::Error::invalid_value(de::Unexpected::Str(&kind), &self)),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom("a text can be compared in one way only"));
        }
        Ok(read)
    }
}

/// A port as the key of a map, which JSON has to write as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(pub u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port")
    }

    fn visit_u64<E: de::Error>(self, port: u64) -> Result<Port, E> {
        u16::try_from(port)
            .map(Port)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(port), &self))
    }

    fn visit_i64<E: de::Error>(self, port: i64) -> Result<Port, E> {
        u16::try_from(port)
            .map(Port)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(port), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
        text.parse()
            .map(Port)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
