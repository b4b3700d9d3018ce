//! Reads files that people write: the agent's configuration and the pods file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use node_agent_enrollment::{PodsFile, Roster};
use node_agent_settings::Settings;

/// A file that cannot be used; the operator must edit it or its permissions.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no YAML, or not of the expected shape.
    #[error("{}: {problem}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// Where and why.
        problem: String,
    },
    /// It holds mistakes, one per line.
    #[error("{}:\n{mistakes}", path.display())]
    Mistaken {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: String,
    },
}

/// Reads the agent's configuration.
pub(crate) fn read_settings(path: &Path) -> Result<Settings, FileError> {
    let text = read_text(path)?;
    // A file of comments only is an empty document: report what is missing, not a decoding error.
    let blank = text
        .lines()
        .all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
    let document = if blank {
        serde_json::Value::Null
    } else {
        decode(path, &text)?
    };
    let variable = |name: &str| std::env::var(name).ok();
    Settings::from_document_and(&document, variable).map_err(|mistakes| FileError::Mistaken {
        path: path.to_owned(),
        mistakes: mistakes.to_string(),
    })
}

/// Reads the pods file.
pub(crate) fn read_roster(path: &Path) -> Result<Roster, FileError> {
    let file: PodsFile = decode(path, &read_text(path)?)?;
    Roster::try_from(file).map_err(|mistakes| FileError::Mistaken {
        path: path.to_owned(),
        mistakes: mistakes.to_string(),
    })
}

/// Reads the mesh file, only to say what is wrong with it.
pub(crate) fn check_mesh(path: &Path) -> Result<(), FileError> {
    let text = read_text(path)?;
    tunnel_discovery::parse_document(&text, path)
        .map(drop)
        .map_err(|mistakes| FileError::Mistaken {
            path: path.to_owned(),
            mistakes: mistakes.to_string(),
        })
}

fn decode<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    serde_saphyr::from_str(text).map_err(|problem| FileError::Undecodable {
        path: path.to_owned(),
        problem: problem.to_string(),
    })
}

fn read_text(path: &Path) -> Result<String, FileError> {
    let unreadable = |source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(unreadable(io::Error::other("larger than 64 MiB")));
    }
    Ok(text)
}

const MAX_FILE: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn settings_are_read_from_yaml() {
        let file = file(
            "node: a # the node\npodsFile: /p\nmeshFile: /m\ndevelopment: true\n\
             developmentCaCert: /c\ndevelopmentCaKey: /k\nconnectTimeout: 3s\nworkerThreads: 2\n\
             excludeNamespaces: [x, 'y']\n",
        );
        let settings = read_settings(file.path()).unwrap();
        assert_eq!(settings.connect_timeout, std::time::Duration::from_secs(3));
        assert_eq!(settings.exclude_namespaces, ["x", "y"]);
    }

    #[test]
    fn mistakes_name_the_file_and_every_key() {
        let file = file("nod: a\nipv6: 7\n");
        let error = read_settings(file.path()).unwrap_err().to_string();
        let name = file.path().display().to_string();
        for part in [
            name.as_str(),
            "did you mean node?",
            "ipv6: expected",
            "podsFile: must be",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn the_shipped_examples_are_good() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/host");
        read_settings(&examples.join("agent.yaml")).unwrap();
        read_roster(&examples.join("pods.yaml")).unwrap();
        check_mesh(&examples.join("mesh.yaml")).unwrap();
    }

    #[test]
    fn an_empty_file_says_what_is_missing() {
        let error = read_settings(file("# nothing yet\n").path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("node: must be given"), "{error}");
    }

    #[test]
    fn no_yaml_is_undecodable() {
        let error = read_settings(file("a: [").path()).unwrap_err();
        assert!(matches!(error, FileError::Undecodable { .. }), "{error}");
    }

    #[test]
    fn the_roster_is_read_from_yaml() {
        let file = file(
            "namespaces:\n- name: shop\n  labels: {istio.io/dataplane-mode: ambient}\n\
             pods:\n- {namespace: shop, name: cart, serviceAccount: cart}\n",
        );
        let roster = read_roster(file.path()).unwrap();
        assert_eq!(roster.pod("shop", "cart").unwrap().service_account, "cart");
    }
}
