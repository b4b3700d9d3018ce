//! The file in which an authority publishes its roots, looked at every few seconds: whoever changes
//! it tells nobody.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::files;
use crate::roots::RootSet;

const EVERY: Duration = Duration::from_secs(5);

/// One file, and what was in it.
#[derive(Debug)]
pub(crate) struct RootFile {
    path: PathBuf,
    look_at: Instant,
    seen: Option<RootSet>,
    said: Option<String>,
}

impl RootFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            look_at: Instant::now(),
            seen: None,
            said: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds, once that is something else than before. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) -> RootSet {
        loop {
            sleep_until(self.look_at).await;
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            self.look_at = Instant::now() + EVERY;
            match read.unwrap_or_else(|why| Err(why.to_string())) {
                Ok(set) => {
                    self.said = None;
                    if self.seen.as_ref() != Some(&set) {
                        self.seen = Some(set.clone());
                        return set;
                    }
                }
                Err(why) => self.say(why),
            }
        }
    }

    /// Once for each reason. What was read before stays in force.
    fn say(&mut self, why: String) {
        if self.said.as_ref() != Some(&why) {
            tracing::warn!(
                path = %self.path.display(),
                error = why,
                "the file with the roots cannot be read; if the authority changes its roots now, \
                 that is noticed late"
            );
            self.said = Some(why);
        }
    }
}

fn read(path: &Path) -> Result<RootSet, String> {
    let text = files::read_public(path).map_err(|why| why.to_string())?;
    RootSet::from_pem(&text)
}
