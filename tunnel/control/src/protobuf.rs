//! The well-known protobuf messages that calls to a control plane are made of, as far as we speak
//! them. Field numbers are those of `google/protobuf/struct.proto`.

use std::collections::BTreeMap;

use prost::Message;

/// A JSON object whose values are texts.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Struct {
    /// The members.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// A JSON value, which for us is a text.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Value {
    /// The text; of the alternatives of the message it is the only one that we use.
    #[prost(string, optional, tag = "3")]
    pub string_value: Option<String>,
}

impl Struct {
    /// An object of these members.
    pub fn of<K: Into<String>, V: Into<String>>(members: impl IntoIterator<Item = (K, V)>) -> Self {
        let value = |text: V| Value {
            string_value: Some(text.into()),
        };
        Self {
            fields: members
                .into_iter()
                .map(|(key, text)| (key.into(), value(text)))
                .collect(),
        }
    }

    /// A member's text; empty if there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.fields
            .get(key)
            .and_then(|value| value.string_value.as_deref())
            .unwrap_or_default()
    }
}
