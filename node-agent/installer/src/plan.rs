//! What a configuration directory has to look like, as a function of what is there.

mod own;

use std::path::Path;

use node_agent_settings::CniMode;

use crate::choose::{self, Primary};
use crate::document::{Document, List, WrongVersion};
use crate::entry::Entry;
use crate::file::{File, FileKind, Looks, find};
use crate::record::{Kept, Record, Was};
use crate::refusal::Refusal;
use crate::undo::{is_untouched, undo};

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) mode: CniMode,
    /// The directory, as the host names it.
    pub(crate) directory: &'a Path,
    /// The file that is ours alone.
    pub(crate) own: &'a str,
    /// The file to join.
    pub(crate) primary: Option<&'a str>,
    pub(crate) entry: &'a Entry,
}

/// A change of one file, wholly or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Make it, or replace it.
    Put {
        name: String,
        text: String,
        looks: Looks,
        /// What must still be there; none for a file that is not.
        instead_of: Option<String>,
        why: Why,
    },
    /// Remove it.
    Drop {
        name: String,
        /// What must still be there.
        was: String,
        why: Why,
    },
}

/// What a change is for, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Our entry joins the primary plugin's list.
    Joins,
    /// A list takes the place of the primary plugin's single configuration.
    Wraps,
    /// Our own file follows the primary plugin's, or the settings.
    Follows,
    /// Ours is taken out, the primary plugin's stays or comes back.
    Restores,
}

/// What to do, in order: the record to disk, the changes, and the record that is true then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) first: Vec<Kept>,
    pub(crate) acts: Vec<Act>,
    pub(crate) last: Vec<Kept>,
    pub(crate) refusal: Option<Refusal>,
    /// Files that the runtime would have taken first, were they any use.
    pub(crate) passed_over: Vec<(String, String)>,
}

struct Draft {
    kept: Kept,
    acts: Vec<Act>,
    refusal: Option<Refusal>,
    passed_over: Vec<(String, String)>,
}

/// What to do about the directory whose `files` are given in the order of their names.
pub(crate) fn plan(wanted: &Wanted<'_>, files: &[File], record: &Record) -> Plan {
    let draft = match wanted.mode {
        CniMode::Chained => chained(wanted, files, record),
        CniMode::Owned => own::owned(wanted, files, record),
        CniMode::Standalone => own::standalone(wanted, files, record),
    };
    let draft = match draft {
        Ok(draft) => draft,
        Err(refusal) => {
            return Plan {
                first: record.files.clone(),
                acts: Vec::new(),
                last: record.files.clone(),
                refusal: Some(refusal),
                passed_over: Vec::new(),
            };
        }
    };
    let mut plan = Plan {
        first: vec![draft.kept.clone()],
        acts: draft.acts,
        last: vec![draft.kept.clone()],
        refusal: draft.refusal,
        passed_over: draft.passed_over,
    };
    let others = record
        .files
        .iter()
        .filter(|kept| !(kept.name == draft.kept.name && kept.directory == draft.kept.directory));
    for kept in others {
        plan.first.push(kept.clone());
        if stays(wanted, kept, files) {
            plan.last.push(kept.clone());
        } else {
            // Ours is in force elsewhere by now, so that there is no moment without it.
            plan.acts.extend(undo(kept, files));
        }
    }
    plan
}

/// Other directories are an uninstall's. A list that is no longer the first keeps its entry, as it
/// may become the first again before anybody can look.
fn stays(wanted: &Wanted<'_>, kept: &Kept, files: &[File]) -> bool {
    if kept.directory != wanted.directory {
        return true;
    }
    let still_ours = find(files, &kept.name)
        .and_then(|file| Document::read(&file.name, file.text()?).ok())
        .is_some_and(|document| document.names_us());
    wanted.mode == CniMode::Chained && matches!(kept.was, Was::File { .. }) && still_ours
}

fn chained(wanted: &Wanted<'_>, files: &[File], record: &Record) -> Result<Draft, Refusal> {
    let own: Vec<&str> = record
        .files
        .iter()
        .filter(|kept| kept.directory == wanted.directory && kept.was == Was::Absent)
        .map(|kept| kept.name.as_str())
        .collect();
    let primary = choose::primary(files, wanted.primary, &own)?;
    let primary = source(wanted, primary, files, record)?;
    match &primary.document {
        Document::List(list) => join(wanted, &primary, list, record),
        Document::Single(_) => wrap(wanted, &primary, files, record),
    }
}

/// The single configuration that a list of ours was made of, if it is there (again): its writer
/// does not know that the list, which may sort before it, is in its place.
fn source<'a>(
    wanted: &Wanted<'_>,
    primary: Primary<'a>,
    files: &'a [File],
    record: &Record,
) -> Result<Primary<'a>, Refusal> {
    let known = known(record, wanted, &primary.file.name);
    let Some(Was::File { name, .. }) = known else {
        return Ok(primary);
    };
    if *name == primary.file.name || find(files, name).is_none() {
        return Ok(primary);
    }
    match choose::primary(files, Some(name), &[]) {
        Ok(source) => Ok(source),
        Err(Refusal::Invalid { .. }) => Ok(primary),
        Err(refusal) => Err(refusal),
    }
}

fn join(
    wanted: &Wanted<'_>,
    primary: &Primary<'_>,
    list: &List<'_>,
    record: &Record,
) -> Result<Draft, Refusal> {
    let file = primary.file;
    list.check_version().map_err(|wrong| version(file, wrong))?;
    let joined = list.with(wanted.entry);
    let written = joined.clone().unwrap_or_else(|| primary.text.to_owned());
    let known = known(record, wanted, &file.name).filter(|known| is_untouched(known, list));
    let was = match known.cloned() {
        Some(mut known) => {
            known.is_now(written);
            known
        }
        None => Was::File {
            name: file.name.clone(),
            original: list.without(),
            written,
            looks: file.looks,
        },
    };
    let acts = joined.map(|text| Act::Put {
        name: file.name.clone(),
        text,
        looks: file.looks,
        instead_of: Some(primary.text.to_owned()),
        why: Why::Joins,
    });
    Ok(Draft {
        kept: kept(wanted, &file.name, was),
        acts: acts.into_iter().collect(),
        refusal: None,
        passed_over: primary.passed_over.clone(),
    })
}

fn wrap(
    wanted: &Wanted<'_>,
    primary: &Primary<'_>,
    files: &[File],
    record: &Record,
) -> Result<Draft, Refusal> {
    let file = primary.file;
    if file.kind == FileKind::Link {
        return Err(Refusal::Linked {
            file: file.name.clone(),
        });
    }
    let written = base(primary, wanted.entry)?;
    let stem = file.name.rsplit_once('.').map_or("", |(stem, _)| stem);
    let name = format!("{stem}.conflist");
    let there = find(files, &name);
    let known = known(record, wanted, &name);
    if there.is_some_and(|there| !made_of_it(there, &written, known)) {
        return Err(Refusal::Taken {
            file: file.name.clone(),
            list: name,
        });
    }
    let was = Was::File {
        name: file.name.clone(),
        original: primary.text.to_owned(),
        written: written.clone(),
        looks: file.looks,
    };
    Ok(Draft {
        acts: wrapping(primary, &name, written, there.and_then(File::text)),
        kept: kept(wanted, &name, was),
        refusal: None,
        passed_over: primary.passed_over.clone(),
    })
}

/// The list is there before the single configuration, which sorts before it, goes.
fn wrapping(primary: &Primary<'_>, name: &str, text: String, there: Option<&str>) -> Vec<Act> {
    let put = (there != Some(&text)).then(|| Act::Put {
        name: name.to_owned(),
        text,
        looks: primary.file.looks,
        instead_of: there.map(str::to_owned),
        why: Why::Wraps,
    });
    let drop = Act::Drop {
        name: primary.file.name.clone(),
        was: primary.text.to_owned(),
        why: Why::Wraps,
    };
    put.into_iter().chain([drop]).collect()
}

/// Whether a list is one that we made of a single configuration, of this or of an earlier one.
fn made_of_it(there: &File, written: &str, known: Option<&Was>) -> bool {
    if let Some(Was::File { name, .. }) = known {
        return *name != there.name;
    }
    let lists = there
        .text()
        .and_then(|text| List::read(text).ok())
        .zip(List::read(written).ok());
    lists.is_some_and(|(there, made)| there.names_us() && there.without() == made.without())
}

/// The primary plugin's list with our entry, as it would be if it never had one.
fn base(primary: &Primary<'_>, entry: &Entry) -> Result<String, Refusal> {
    let wrong = |wrong| version(primary.file, wrong);
    match &primary.document {
        Document::Single(single) => single.wrapped(entry).map_err(wrong),
        Document::List(list) => {
            list.check_version().map_err(wrong)?;
            let bare = list.without();
            let joined = List::read(&bare).ok().and_then(|list| list.with(entry));
            Ok(joined.unwrap_or(bare))
        }
    }
}

fn known<'a>(record: &'a Record, wanted: &Wanted<'_>, name: &str) -> Option<&'a Was> {
    let kept = record
        .files
        .iter()
        .find(|kept| kept.directory == wanted.directory && kept.name == name);
    kept.map(|kept| &kept.was)
}

fn kept(wanted: &Wanted<'_>, name: &str, was: Was) -> Kept {
    Kept {
        directory: wanted.directory.to_owned(),
        name: name.to_owned(),
        was,
    }
}

fn version(file: &File, WrongVersion(found): WrongVersion) -> Refusal {
    Refusal::Version {
        file: file.name.clone(),
        found,
    }
}

#[cfg(test)]
mod tests;
