//! Field numbers are those of Istio's `authorization.proto`.

use prost::Message;
use prost::bytes::Bytes;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Authorization {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(int32, tag = "3")]
    pub(crate) scope: i32,
    #[prost(int32, tag = "4")]
    pub(crate) action: i32,
    #[prost(message, repeated, tag = "5")]
    pub(crate) rules: Vec<Rule>,
    #[prost(bool, tag = "6")]
    pub(crate) dry_run: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rule {
    #[prost(message, repeated, tag = "1")]
    pub(crate) clauses: Vec<Clause>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Clause {
    #[prost(message, repeated, tag = "2")]
    pub(crate) matches: Vec<Match>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Match {
    #[prost(message, repeated, tag = "1")]
    pub(crate) namespaces: Vec<StringMatch>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) not_namespaces: Vec<StringMatch>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) principals: Vec<StringMatch>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) not_principals: Vec<StringMatch>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) source_ips: Vec<Block>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) not_source_ips: Vec<Block>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) destination_ips: Vec<Block>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) not_destination_ips: Vec<Block>,
    #[prost(uint32, repeated, tag = "9")]
    pub(crate) destination_ports: Vec<u32>,
    #[prost(uint32, repeated, tag = "10")]
    pub(crate) not_destination_ports: Vec<u32>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) service_accounts: Vec<ServiceAccount>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) not_service_accounts: Vec<ServiceAccount>,
}

/// How a text is compared; of the four the one that is there.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StringMatch {
    #[prost(string, optional, tag = "1")]
    pub(crate) exact: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) prefix: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) suffix: Option<String>,
    /// An empty message, whose being there says it all.
    #[prost(message, optional, tag = "4")]
    pub(crate) presence: Option<Presence>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Presence {}

/// A block of addresses.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Block {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) address: Bytes,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ServiceAccount {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) service_account: String,
}
