//! Small text writers: timestamps, quoted values, escaping. None of them allocates beyond the
//! buffer it is given, because they run once per connection.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No single value is longer than this in a line, whatever a peer sent.
const LONGEST_VALUE: usize = 2048;

/// Appends an RFC 3339 timestamp in UTC with microseconds.
pub(crate) fn push_time(out: &mut String, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    push_padded(out, year, 4);
    out.push('-');
    push_padded(out, month, 2);
    out.push('-');
    push_padded(out, day, 2);
    out.push('T');
    push_padded(out, of_day / 3600, 2);
    out.push(':');
    push_padded(out, of_day / 60 % 60, 2);
    out.push(':');
    push_padded(out, of_day % 60, 2);
    out.push('.');
    push_padded(out, u64::from(since.subsec_micros()), 6);
    out.push('Z');
}

/// An RFC 3339 timestamp in UTC, to the second.
#[must_use]
pub fn utc(at: SystemTime) -> String {
    let mut text = String::new();
    push_time(&mut text, at);
    if let Some((seconds, _)) = text.split_once('.') {
        text.truncate(seconds.len());
    }
    text.push('Z');
    text
}

/// The civil date of a number of days since 1970-01-01. Years are counted from March so that the
/// leap day is the last of its year, and every 400 years the calendar repeats.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_MARCH_OF_YEAR_0: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let shifted = days + DAYS_TO_MARCH_OF_YEAR_0;
    let era = shifted / DAYS_IN_400_YEARS;
    let of_era = shifted % DAYS_IN_400_YEARS;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Appends a decimal number.
pub(crate) fn push_number(out: &mut String, value: u64) {
    push_padded(out, value, 1);
}

fn push_padded(out: &mut String, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    while value > 0 || used < width {
        // `value % 10` is one digit, so the conversion cannot lose anything.
        digits[19 - used] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
    }
    for digit in &digits[20 - used..] {
        out.push(char::from(*digit));
    }
}

/// Appends `"value"` with everything escaped that could end the quotes, end the line or drive a
/// terminal. The result is valid inside JSON as well.
pub(crate) fn push_quoted(out: &mut String, value: &str) {
    out.push('"');
    push_escaped(out, value, Quotes::Escape);
    out.push('"');
}

/// Whether quotes and backslashes are escaped too: needed inside quotes, noise outside of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// The text is between double quotes.
    Escape,
    /// The text stands by itself.
    Keep,
}

fn push_escaped(out: &mut String, value: &str, quotes: Quotes) {
    push_within(out, value, quotes, &mut Some(LONGEST_VALUE));
}

/// Appends what fits. The budget is `None` once something did not, which is marked by an ellipsis.
fn push_within(out: &mut String, value: &str, quotes: Quotes, budget: &mut Option<usize>) {
    let Some(left) = budget.as_mut() else { return };
    if value.len() <= *left && value.bytes().all(|byte| is_plain(byte, quotes)) {
        *left -= value.len();
        out.push_str(value);
        return;
    }
    for character in value.chars() {
        if *left < character.len_utf8() {
            *budget = None;
            out.push('…');
            return;
        }
        *left -= character.len_utf8();
        push_character(out, character, quotes);
    }
}

fn is_plain(byte: u8, quotes: Quotes) -> bool {
    let printable = (0x20..0x7f).contains(&byte);
    printable && (quotes == Quotes::Keep || !matches!(byte, b'"' | b'\\'))
}

fn push_character(out: &mut String, character: char, quotes: Quotes) {
    match character {
        '"' | '\\' if quotes == Quotes::Escape => {
            out.push('\\');
            out.push(character);
        }
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        hidden if hides(hidden) => {
            // Writing into a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(hidden));
        }
        shown => out.push(shown),
    }
}

/// Characters that move the cursor, reorder the line or break it without being seen.
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A formatter target that escapes what passes through it, so that `Display` values of unknown
/// origin reach the line without a copy in between.
pub(crate) struct Escaping<'a> {
    out: &'a mut String,
    quotes: Quotes,
    budget: Option<usize>,
}

impl<'a> Escaping<'a> {
    pub(crate) fn new(out: &'a mut String, quotes: Quotes) -> Self {
        Self {
            out,
            quotes,
            budget: Some(LONGEST_VALUE),
        }
    }
}

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_within(self.out, text, self.quotes, &mut self.budget);
        Ok(())
    }
}

/// Appends a label value in exposition format: backslash, quote and newline are escaped.
pub(crate) fn push_label_value(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn time(seconds: u64, micros: u64) -> String {
        let mut out = String::new();
        push_time(
            &mut out,
            UNIX_EPOCH + Duration::from_micros(seconds * 1_000_000 + micros),
        );
        out
    }

    #[test]
    fn timestamps_match_the_calendar() {
        assert_eq!(time(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(time(1_709_251_199, 999_999), "2024-02-29T23:59:59.999999Z");
        assert_eq!(time(1_709_251_200, 0), "2024-03-01T00:00:00.000000Z");
        assert_eq!(time(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
        assert_eq!(time(1_798_761_599, 5), "2026-12-31T23:59:59.000005Z");
        let late = UNIX_EPOCH + Duration::new(1_798_761_599, 999_999_999);
        assert_eq!(utc(late), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn numbers_at_the_edges() {
        for (value, text) in [
            (0, "0"),
            (7, "7"),
            (10, "10"),
            (u64::MAX, "18446744073709551615"),
        ] {
            let mut out = String::new();
            push_number(&mut out, value);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn hostile_values_stay_inside_their_quotes() {
        let cases = [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("x\ny\r\tz", r#""x\ny\r\tz""#),
            ("\u{1b}[2J", r#""\u001b[2J""#),
            ("\u{202e}evil\u{85}", r#""\u202eevil\u0085""#),
            ("grüße", r#""grüße""#),
        ];
        for (value, expected) in cases {
            let mut out = String::new();
            push_quoted(&mut out, value);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_value_is_cut_at_its_bound_even_in_pieces() {
        let mut out = String::new();
        let mut escaping = Escaping::new(&mut out, Quotes::Keep);
        for _ in 0..100 {
            escaping.write_str(&"y".repeat(100)).unwrap();
        }
        assert_eq!(out.len(), LONGEST_VALUE + '…'.len_utf8());
    }
}
