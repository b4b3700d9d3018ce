//! Settings that take one of a few words.

use node_agent_enrollment::Selectors;
use serde_json::Value;

use crate::kinds::{Kind, name_of};

/// Declares a setting with a fixed set of words.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )+ }

        impl $crate::kinds::Kind for $name {
            const NAME: &'static str = concat!("one of", $( " ", $word ),+);

            fn read(value: &serde_json::Value) -> Result<Self, String> {
                match value.as_str() {
                    $( Some($word) => Ok(Self::$variant), )+
                    _ => Err(format!("expected {}, found {}", Self::NAME, $crate::kinds::name_of(value))),
                }
            }
        }
    };
}
pub(crate) use choice;

choice! {
    /// What happens to a new pod whose certificate did not come in time.
    OnMissingCertificate {
        /// The pod starts; its mesh traffic waits, never in clear.
        Hold = "hold",
        /// The pod is refused and the runtime tries again.
        Fail = "fail",
    }
}

choice! {
    /// Who says which pods are in the mesh.
    PodsSource {
        /// The pods file.
        File = "file",
        /// The API server.
        Kubernetes = "kubernetes",
    }
}

choice! {
    /// What happens to a new pod of which the API server does not answer.
    OnUnknownPod {
        /// It does not start.
        Fail = "fail",
        /// It starts outside of the mesh.
        Start = "start",
    }
}

impl Kind for Selectors {
    const NAME: &'static str = "list of podSelector and namespaceSelector";

    fn read(value: &Value) -> Result<Self, String> {
        let list = serde::Deserialize::deserialize(value)
            .map_err(|error| format!("expected a {}: {error}", Self::NAME))?;
        Self::new(list).map_err(|mistake| mistake.to_string())
    }
}

choice! {
    /// Which iptables programs write the pods' rules.
    IptablesBackend {
        /// What the node already uses.
        Auto = "auto",
        /// The `nf_tables` flavour.
        Nft = "nft",
        /// The legacy flavour.
        Legacy = "legacy",
    }
}

choice! {
    /// How the agent logs.
    LogFormat {
        /// Lines for people.
        Plain = "plain",
        /// One JSON object per line.
        Json = "json",
    }
}

/// Threads that move traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerThreads {
    /// As many as suit the machine.
    Auto,
    /// Exactly this many.
    Exactly(u32),
}

impl Kind for WorkerThreads {
    const NAME: &'static str = "auto or a number";

    fn read(value: &Value) -> Result<Self, String> {
        match (value.as_str(), u32::read(value)) {
            (Some("auto"), _) => Ok(Self::Auto),
            (_, Ok(count)) if (1..=1024).contains(&count) => Ok(Self::Exactly(count)),
            _ => Err(format!(
                "expected auto or a number from 1 to 1024, found {}",
                name_of(value)
            )),
        }
    }
}
