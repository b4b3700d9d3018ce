//! `--key value` and `--flag`, nothing more.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Options as given; each is taken once, and what is left over is a mistake.
pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    /// Reads options; `flags` are the names that take no value.
    pub(crate) fn parse(words: &[String], flags: &[&str]) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(key) = word.strip_prefix("--") else {
                bail!("`{word}` is not an option");
            };
            let value = if flags.contains(&key) {
                String::new()
            } else {
                words
                    .next()
                    .with_context(|| format!("--{key} needs a value"))?
                    .clone()
            };
            if found.insert(key.to_owned(), value).is_some() {
                bail!("--{key} is given twice");
            }
        }
        Ok(Self(found))
    }

    /// An option with a default.
    pub(crate) fn take<T>(&mut self, key: &str, default: T) -> Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        match self.0.remove(key) {
            Some(text) => text.parse().with_context(|| format!("--{key} {text}")),
            None => Ok(default),
        }
    }

    /// An option that must be there.
    pub(crate) fn require<T>(&mut self, key: &str) -> Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self
            .0
            .remove(key)
            .with_context(|| format!("--{key} is missing"))?;
        text.parse().with_context(|| format!("--{key} {text}"))
    }

    /// Whether a flag was given.
    pub(crate) fn flag(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<()> {
        match self.0.keys().next() {
            Some(key) => bail!("--{key} is not known here"),
            None => Ok(()),
        }
    }
}
