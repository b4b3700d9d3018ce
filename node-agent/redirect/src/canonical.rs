//! One spelling for every rule.
//!
//! `iptables-save` does not print a rule as it was given, and versions and backends differ: the
//! order of matches, old and new places of the negation, numbers in hex or decimal, masks and
//! prefix lengths left out when they are full. Two rules mean the same when their canonical forms
//! are equal.

use std::str::FromStr as _;

use ipnetwork::IpNetwork;

/// A part of a rule: the match or target it belongs to, whether negated, the option, its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Clause {
    of: String,
    option: String,
    negated: bool,
    values: Vec<String>,
}

/// The canonical form of a rule.
pub(crate) fn canonical(spec: &str) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    let (mut of, mut negated) = (String::new(), false);
    for word in split(spec) {
        if word == "!" {
            // Old spelling: the negation stands between the option and its value.
            match clauses.last_mut() {
                Some(last) if last.values.is_empty() && takes_value(&last.option) => {
                    last.negated = true;
                }
                _ => negated = true,
            }
        } else if word.starts_with('-') && word.len() > 1 {
            let option = long_to_short(&word);
            if is_basic(option) {
                of.clear();
            }
            clauses.push(Clause {
                of: of.clone(),
                option: option.to_owned(),
                negated: std::mem::take(&mut negated),
                values: Vec::new(),
            });
        } else if let Some(last) = clauses.last_mut() {
            if matches!(last.option.as_str(), "-m" | "-j") {
                of = format!("{}{word}", last.option);
            }
            last.values.push(word);
        }
    }
    clauses.iter_mut().for_each(normalise);
    // Naming a match says nothing that its options do not say; a full mask says nothing at all.
    clauses.retain(|clause| clause.option != "-m" && !is_full_mask(clause));
    clauses.sort();
    clauses
}

/// Options of the rule itself rather than of a match or target.
fn is_basic(option: &str) -> bool {
    matches!(
        option,
        "-s" | "-d" | "-p" | "-i" | "-o" | "-m" | "-j" | "-g" | "-f"
    )
}

fn long_to_short(option: &str) -> &str {
    match option {
        "--source" | "--src" => "-s",
        "--destination" | "--dst" => "-d",
        "--protocol" | "--proto" => "-p",
        "--in-interface" => "-i",
        "--out-interface" => "-o",
        "--match" => "-m",
        "--jump" => "-j",
        "--goto" => "-g",
        "--source-port" => "--sport",
        "--destination-port" => "--dport",
        other => other,
    }
}

/// Whether a `!` right after the option belongs to it.
fn takes_value(option: &str) -> bool {
    is_basic(option) || matches!(option, "--mark" | "--dport" | "--sport")
}

fn is_full_mask(clause: &Clause) -> bool {
    matches!(clause.option.as_str(), "--nfmask" | "--ctmask" | "--mask")
        && clause.values == ["0xffffffff"]
}

fn normalise(clause: &mut Clause) {
    let Some(value) = clause.values.first_mut() else {
        return;
    };
    match clause.option.as_str() {
        "-s" | "-d" => {
            if let Ok(network) = IpNetwork::from_str(value) {
                *value = network.to_string();
            }
        }
        "-p" => {
            let name = match value.as_str() {
                "6" => "tcp",
                "17" => "udp",
                other => other,
            };
            *value = name.to_owned();
        }
        "--mark" | "--set-xmark" => {
            if let Some((mark, mask)) = mark_and_mask(value) {
                *value = format!("{mark:#x}/{mask:#x}");
            }
        }
        // Setting bits is clearing and flipping them, with the bits set added to the mask.
        "--set-mark" => {
            if let Some((mark, mask)) = mark_and_mask(value) {
                *value = format!("{mark:#x}/{:#x}", mark | mask);
                "--set-xmark".clone_into(&mut clause.option);
            }
        }
        "--nfmask" | "--ctmask" | "--mask" | "--zone" => {
            if let Some(number) = number(value) {
                *value = format!("{number:#x}");
            }
        }
        "--to-ports" | "--dport" | "--sport" => {
            if let Some((low, high)) = value.split_once(['-', ':'])
                && low == high
            {
                *value = low.to_owned();
            }
        }
        _ => {}
    }
}

fn mark_and_mask(value: &str) -> Option<(u32, u32)> {
    let (mark, mask) = value.split_once('/').unwrap_or((value, "0xffffffff"));
    Some((number(mark)?, number(mask)?))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Words of a rule; quotes keep words together and stay, so that `"!"` is not a negation.
pub(crate) fn split(spec: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut escaped) = (String::new(), false, false);
    for c in spec.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
