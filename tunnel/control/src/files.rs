//! The two files, read whole each time: whoever rotates them tells nobody.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::ControlError;

/// A bundle of roots is a few KiB, a token less.
const LARGEST: u64 = 1 << 20;

/// Reads the roots, away from the event loop.
pub(crate) async fn roots(path: &Path) -> Result<Vec<u8>, ControlError> {
    let path = path.to_owned();
    blocking(move || {
        let why = |why: io::Error| ControlError::RootFile {
            path: path.clone(),
            why: why.to_string(),
        };
        let text = read(&path).map_err(why)?;
        Ok(text.to_vec())
    })
    .await
}

/// Reads the token into the header it is sent in.
pub(crate) async fn token(path: &Path) -> Result<HeaderValue, ControlError> {
    let path = path.to_owned();
    blocking(move || bearer(&path)).await
}

fn bearer(path: &Path) -> Result<HeaderValue, ControlError> {
    let unusable = |why: String| ControlError::TokenFile {
        path: PathBuf::from(path),
        why,
    };
    let bytes = read(path).map_err(|why| unusable(why.to_string()))?;
    let token = bytes.trim_ascii();
    if token.is_empty() {
        return Err(unusable("it is empty".to_owned()));
    }
    let mut text = Zeroizing::new(b"Bearer ".to_vec());
    text.extend_from_slice(token);
    let mut header = HeaderValue::from_bytes(&text)
        .map_err(|_| unusable("it holds bytes that no token has".to_owned()))?;
    // Keeps it out of debug output and of HTTP/2's table of repeated headers.
    header.set_sensitive(true);
    Ok(header)
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > LARGEST {
        return Err(io::Error::other(
            "it is no regular file or larger than 1 MiB",
        ));
    }
    // Room for all of it, so that growing does not leave copies behind.
    let room = usize::try_from(facts.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|why| Err(ControlError::Interrupted(why.to_string())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_token_is_trimmed_marked_and_refused_when_it_is_none() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("token");
        std::fs::write(&path, " abc.def\n").unwrap();
        let header = bearer(&path).unwrap();
        assert_eq!(header, "Bearer abc.def");
        assert!(header.is_sensitive());
        for (content, why) in [("\n", "empty"), ("a\nb", "no token has")] {
            std::fs::write(&path, content).unwrap();
            let error = bearer(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = bearer(root.path()).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        assert!(!error.contains("abc"), "a token is not for logs: {error}");
    }
}
