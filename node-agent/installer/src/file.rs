//! A configuration directory as it was found.

use serde::{Deserialize, Serialize};

/// A file that a runtime would look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its name in the directory.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) content: Content,
    /// Who may read it.
    pub(crate) looks: Looks,
    /// Whether the directory has it itself or points to it.
    pub(crate) kind: FileKind,
    /// Whether somebody may still be writing it.
    pub(crate) age: Age,
}

/// How long ago a file was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// So lately that it may not be whole.
    Fresh,
    /// Long enough ago.
    Settled,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Text.
    Text(String),
    /// No text, so that no runtime can use it.
    NotText,
    /// It could not be read here; a runtime may well be able to.
    Unreadable(String),
}

/// Whether a file is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A file.
    Regular,
    /// A symbolic link to one.
    Link,
}

/// Mode and owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Looks {
    /// Permission bits.
    pub(crate) mode: u32,
    /// User and group; none for whoever we are.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Looks {
    /// Readable by us alone: a network configuration may hold secrets.
    pub(crate) const PRIVATE: Self = Self {
        mode: 0o600,
        owner: None,
    };
    /// What anybody may execute.
    pub(crate) const PROGRAM: Self = Self {
        mode: 0o755,
        owner: None,
    };
}

impl File {
    /// Its text, if it has one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            Content::NotText | Content::Unreadable(_) => None,
        }
    }
}

/// The file of a name.
pub(crate) fn find<'a>(files: &'a [File], name: &str) -> Option<&'a File> {
    files.iter().find(|file| file.name == name)
}
