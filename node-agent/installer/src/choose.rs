//! Which file is the primary plugin's: the one that the runtime takes.

use crate::document::{Document, Unusable};
use crate::file::{Age, Content, File};
use crate::refusal::Refusal;

/// The primary plugin's file.
#[derive(Debug, Clone)]
pub(crate) struct Primary<'a> {
    pub(crate) file: &'a File,
    pub(crate) text: &'a str,
    pub(crate) document: Document<'a>,
    /// Files that sort before it and are no use, with the reason.
    pub(crate) passed_over: Vec<(String, String)>,
}

/// The file of that name (or of that name with another ending), or the first good one that names
/// anybody but us. `own` are files of ours.
pub(crate) fn primary<'a>(
    files: &'a [File],
    wanted: Option<&str>,
    own: &[&str],
) -> Result<Primary<'a>, Refusal> {
    if let Some(wanted) = wanted {
        return named(files, wanted);
    }
    let mut skipped = Vec::new();
    for file in files
        .iter()
        .filter(|file| !own.contains(&file.name.as_str()))
    {
        match used(file)? {
            Ok(primary) if primary.document.names_others() => {
                return Ok(Primary {
                    passed_over: skipped,
                    ..primary
                });
            }
            Ok(_) => {}
            Err(why) => skipped.push((file.name.clone(), why)),
        }
    }
    Err(Refusal::NoPrimary {
        wanted: None,
        skipped,
    })
}

/// Runtimes load these and no others, in the order of their names.
pub(crate) fn is_candidate(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The name with another ending, as a plugin's installer may change it.
fn named<'a>(files: &'a [File], wanted: &str) -> Result<Primary<'a>, Refusal> {
    let stem = wanted.rsplit_once('.').map_or(wanted, |(stem, _)| stem);
    let others = ENDINGS.iter().map(|ending| format!("{stem}{ending}"));
    let names: Vec<String> = std::iter::once(wanted.to_owned()).chain(others).collect();
    let found = names
        .iter()
        .find_map(|name| files.iter().find(|file| file.name == *name));
    let Some(file) = found else {
        return Err(Refusal::NoPrimary {
            wanted: Some(wanted.to_owned()),
            skipped: Vec::new(),
        });
    };
    let invalid = |why: String| Refusal::Invalid {
        file: file.name.clone(),
        why,
    };
    match used(file)? {
        Ok(primary) if primary.document.names_others() => Ok(primary),
        Ok(_) => Err(invalid("it names nobody but ambient-cni".to_owned())),
        Err(why) => Err(invalid(why)),
    }
}

/// The file as a runtime would use it, or why none would.
fn used(file: &File) -> Result<Result<Primary<'_>, String>, Refusal> {
    let judged = judged(file)?;
    // Nobody's file is taken for the next one's while it is being written.
    match judged {
        Err(_) if file.age == Age::Fresh => Err(Refusal::Unfinished {
            file: file.name.clone(),
        }),
        judged => Ok(judged),
    }
}

fn judged(file: &File) -> Result<Result<Primary<'_>, String>, Refusal> {
    let text = match &file.content {
        Content::Text(text) => text,
        Content::NotText => return Ok(Err("it is no text".to_owned())),
        Content::Unreadable(why) => {
            return Err(Refusal::Unreadable {
                file: file.name.clone(),
                why: why.clone(),
            });
        }
    };
    match Document::read(&file.name, text) {
        Ok(document) => Ok(Ok(Primary {
            file,
            text,
            document,
            passed_over: Vec::new(),
        })),
        Err(Unusable::Invalid(why)) => Ok(Err(why)),
        Err(Unusable::Unclear(why)) => Err(Refusal::Unclear {
            file: file.name.clone(),
            why,
        }),
    }
}

/// In the order in which names that differ only here sort, but for the pinned one's own.
const ENDINGS: [&str; 3] = [".conf", ".conflist", ".json"];
