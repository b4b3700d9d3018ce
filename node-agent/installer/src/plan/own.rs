//! Files that are ours alone.

use super::{Act, Draft, Wanted, Why, base, kept, known};
use crate::choose;
use crate::document::{Document, List};
use crate::file::{File, Looks, find};
use crate::record::{Record, Was};
use crate::refusal::Refusal;

/// The primary plugin's list and our entry, in a file that the runtime finds first.
pub(super) fn owned(
    wanted: &Wanted<'_>,
    files: &[File],
    record: &Record,
) -> Result<Draft, Refusal> {
    let there = our_own(wanted, files, record)?;
    let mut passed_over = Vec::new();
    let (text, refusal) = match choose::primary(files, wanted.primary, &[wanted.own]) {
        Ok(primary) if primary.file.name.as_str() <= wanted.own => {
            return Err(Refusal::NotFirst {
                own: wanted.own.to_owned(),
                primary: primary.file.name.clone(),
            });
        }
        Ok(primary) => {
            passed_over.clone_from(&primary.passed_over);
            (base(&primary, wanted.entry)?, None)
        }
        // The primary plugin rewrites its file, or was not started since the boot: pods are kept
        // back by the last that is known of it, not let out.
        Err(refusal @ Refusal::NoPrimary { .. }) => {
            let Some(text) = there else {
                return Err(refusal);
            };
            let list = List::read(text).map_err(|_| refusal.clone())?;
            let text = list.with(wanted.entry).unwrap_or_else(|| text.to_owned());
            (text, Some(refusal))
        }
        Err(refusal) => return Err(refusal),
    };
    Ok(Draft {
        refusal,
        passed_over,
        ..own_draft(wanted, there, text)
    })
}

/// Our plugin alone.
pub(super) fn standalone(
    wanted: &Wanted<'_>,
    files: &[File],
    record: &Record,
) -> Result<Draft, Refusal> {
    let there = our_own(wanted, files, record)?;
    let text = wanted.entry.alone(wanted.own);
    Ok(own_draft(wanted, there, text))
}

fn own_draft(wanted: &Wanted<'_>, there: Option<&str>, text: String) -> Draft {
    let acts = (there != Some(&text)).then(|| Act::Put {
        name: wanted.own.to_owned(),
        text,
        looks: Looks::PRIVATE,
        instead_of: there.map(str::to_owned),
        why: Why::Follows,
    });
    Draft {
        kept: kept(wanted, wanted.own, Was::Absent),
        acts: acts.into_iter().collect(),
        refusal: None,
        passed_over: Vec::new(),
    }
}

/// The text of our own file, if it is there and ours.
fn our_own<'a>(
    wanted: &Wanted<'_>,
    files: &'a [File],
    record: &Record,
) -> Result<Option<&'a str>, Refusal> {
    let Some(file) = find(files, wanted.own) else {
        return Ok(None);
    };
    let occupied = Refusal::Occupied {
        own: wanted.own.to_owned(),
    };
    let text = file.text().ok_or_else(|| occupied.clone())?;
    let read = Document::read(&file.name, text);
    let ours = read.is_ok_and(|document| document.names_us());
    if ours || matches!(known(record, wanted, wanted.own), Some(Was::Absent)) {
        Ok(Some(text))
    } else {
        Err(occupied)
    }
}
