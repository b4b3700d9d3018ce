//! How a configuration directory is given back.

use std::path::Path;

use crate::document::{Document, List};
use crate::file::{File, find};
use crate::plan::{Act, Why};
use crate::record::{Kept, Record, Was};

/// What gives back the whole directory. `own` are names that we give files of our own, for files
/// that no record tells of.
pub(crate) fn uninstall(
    directory: &Path,
    own: &[&str],
    files: &[File],
    record: &Record,
) -> Vec<Act> {
    let here = || {
        record
            .files
            .iter()
            .filter(|kept| kept.directory == directory)
    };
    let mut acts: Vec<Act> = here().flat_map(|kept| undo(kept, files)).collect();
    for file in files {
        if here().any(|kept| kept.name == file.name) {
            continue;
        }
        let whole = own.contains(&file.name.as_str());
        acts.extend(if whole { remove(file) } else { take_out(file) });
    }
    acts
}

/// What gives back one file.
pub(crate) fn undo(kept: &Kept, files: &[File]) -> Vec<Act> {
    let Some(file) = find(files, &kept.name) else {
        return Vec::new();
    };
    let Was::File {
        name,
        original,
        looks,
        ..
    } = &kept.was
    else {
        return remove(file).into_iter().collect();
    };
    let list = file.text().and_then(|text| List::read(text).ok());
    if !list.is_some_and(|list| is_untouched(&kept.was, &list)) {
        return take_out(file).into_iter().collect();
    }
    let back = |instead_of: Option<String>| Act::Put {
        name: name.clone(),
        text: original.clone(),
        looks: *looks,
        instead_of,
        why: Why::Restores,
    };
    if *name == file.name {
        return vec![back(file.text().map(str::to_owned))];
    }
    // The single configuration is back, and first, before the list that was made of it goes. If it
    // is there already, the primary plugin wrote it anew.
    let mut acts = Vec::new();
    if find(files, name).is_none() {
        acts.push(back(None));
    }
    acts.extend(remove(file));
    acts
}

/// Whether a list is what we made of the file, but for our entry itself.
pub(crate) fn is_untouched(was: &Was, list: &List<'_>) -> bool {
    let Was::File { written, .. } = was else {
        return false;
    };
    let ours = List::read(written);
    list.names_us() && ours.is_ok_and(|ours| ours.without() == list.without())
}

/// Takes our entry out of a file that is not ours, and nothing else.
fn take_out(file: &File) -> Option<Act> {
    let text = file.text()?;
    match Document::read(&file.name, text).ok()? {
        Document::List(list) if list.names_us() => {
            let bare = list.without();
            if bare == text {
                return remove(file);
            }
            Some(Act::Put {
                name: file.name.clone(),
                text: bare,
                looks: file.looks,
                instead_of: Some(text.to_owned()),
                why: Why::Restores,
            })
        }
        document if document.names_us() => remove(file),
        _ => None,
    }
}

/// Removes a file of ours, if it is that.
fn remove(file: &File) -> Option<Act> {
    let text = file.text()?;
    let names_us = Document::read(&file.name, text).is_ok_and(|document| document.names_us());
    names_us.then(|| Act::Drop {
        name: file.name.clone(),
        was: text.to_owned(),
        why: Why::Restores,
    })
}
