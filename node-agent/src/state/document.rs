//! What a state file holds.

use node_agent_enrollment::Snapshot;

/// Something that survives the process, in a file of its own.
pub(crate) trait Document: Sized {
    /// The file's name.
    const NAME: &'static str;

    /// What there is when nothing was written yet.
    fn empty() -> Self;

    /// The bytes to write.
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// Reads them; the text says why they cannot be used.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

impl Document for Snapshot {
    const NAME: &'static str = "pods.json";

    fn empty() -> Self {
        Self::of(Vec::new())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        Self::encode(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        Self::decode(bytes).map_err(|why| why.to_string())
    }
}
