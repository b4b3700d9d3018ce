//! A reader of Rust sources that knows just enough: what is code, what is text or comment, where
//! functions begin and end, and which parts exist only for tests.

use std::ops::Range;

/// A source file with its comments and literals blanked out, byte for byte.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) text: String,
    /// The same length; comments, strings and characters are spaces, line ends are kept.
    pub(crate) code: String,
    line_starts: Vec<usize>,
    test_lines: Vec<Range<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first_line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let code = Blanker::new(text).run();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(ends.map(|(at, _)| at + 1))
            .collect();
        let mut source = Self {
            text: text.to_owned(),
            code,
            line_starts,
            test_lines: Vec::new(),
        };
        source.test_lines = source.find_test_lines();
        source
    }

    /// The line of a byte offset, counted from one.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|range| range.contains(&line))
    }

    /// Lines that are neither blank nor only there for tests.
    pub(crate) fn production_lines(&self) -> usize {
        let lines = self.text.lines().enumerate();
        lines
            .filter(|(at, line)| !line.trim().is_empty() && !self.is_test_line(at + 1))
            .count()
    }

    /// Every function with a body, nested ones included.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let rest = &self.code[at + 2..];
            let name: String = rest
                .trim_start()
                .chars()
                .take_while(|c| is_word(*c))
                .collect();
            if name.is_empty() {
                continue; // a function pointer type
            }
            let Some(body) = block_after(&self.code, at) else {
                continue;
            };
            let first_line = self.line_of(at);
            let lines = self.line_of(body.end - 1) - first_line + 1;
            found.push(Function {
                name,
                first_line,
                lines,
            });
        }
        found
    }

    /// Offsets in the code at which `pattern` stands by itself.
    pub(crate) fn find(&self, pattern: &str) -> Vec<usize> {
        words(&self.code, pattern)
    }

    fn find_test_lines(&self) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        for attribute in ["#[cfg(test)]", "#[test]", "#[tokio::test"] {
            for (at, _) in self.code.match_indices(attribute) {
                let end = block_after(&self.code, at + attribute.len());
                // `#[cfg(test)] mod tests;` has no block; the line itself is test-only.
                let end = end.map_or(at + attribute.len(), |block| block.end - 1);
                ranges.push(self.line_of(at)..self.line_of(end) + 1);
            }
        }
        ranges
    }
}

/// The first `{...}` after `from`, unless the item ends with a semicolon before it.
fn block_after(code: &str, from: usize) -> Option<Range<usize>> {
    let mut depth = 0_usize;
    let mut start = None;
    let mut parens = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' if start.is_none() => parens += 1,
            b')' | b']' if start.is_none() => parens = parens.saturating_sub(1),
            b';' if start.is_none() && parens == 0 => return None,
            b'{' if parens == 0 || start.is_some() => {
                start.get_or_insert(at);
                depth += 1;
            }
            b'}' if start.is_some() => {
                depth -= 1;
                if depth == 0 {
                    return start.map(|start| start..at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Occurrences of `pattern` that are not part of a longer word.
fn words(code: &str, pattern: &str) -> Vec<usize> {
    let whole = |at: usize| {
        let before = code[..at].chars().next_back();
        let after = code[at + pattern.len()..].chars().next();
        let open_end = !pattern.ends_with(is_word);
        !before.is_some_and(is_word) && (open_end || !after.is_some_and(is_word))
    };
    code.match_indices(pattern)
        .map(|(at, _)| at)
        .filter(|at| whole(*at))
        .collect()
}

pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Replaces comments and literals by spaces.
struct Blanker<'a> {
    bytes: &'a [u8],
    out: Vec<u8>,
    at: usize,
}

impl<'a> Blanker<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            out: Vec::with_capacity(text.len()),
            at: 0,
        }
    }

    fn run(mut self) -> String {
        while self.at < self.bytes.len() {
            match (self.bytes[self.at], self.peek(1)) {
                (b'/', Some(b'/')) => {
                    self.blank_while(|blanker| blanker.bytes[blanker.at] != b'\n');
                }
                (b'/', Some(b'*')) => self.block_comment(),
                (b'"', _) => self.string(),
                (b'r', _) if self.raw_hashes().is_some() => self.raw_string(),
                (b'\'', _) => self.quote(),
                _ => self.keep(),
            }
        }
        // Only whole characters are replaced, by ASCII.
        String::from_utf8(self.out).unwrap_or_default()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn keep(&mut self) {
        self.out.push(self.bytes[self.at]);
        self.at += 1;
    }

    fn blank(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(byte) = self.bytes.get(self.at) {
                self.out.push(if *byte == b'\n' { b'\n' } else { b' ' });
                self.at += 1;
            }
        }
    }

    fn blank_while(&mut self, more: impl Fn(&Self) -> bool) {
        while self.at < self.bytes.len() && more(self) {
            self.blank(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            match (self.bytes[self.at], self.peek(1)) {
                (b'/', Some(b'*')) => depth += 1,
                (b'*', Some(b'/')) => depth -= 1,
                _ => {
                    self.blank(1);
                    continue;
                }
            }
            self.blank(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.blank(1);
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => self.blank(2),
                b'"' => return self.blank(1),
                _ => self.blank(1),
            }
        }
    }

    /// How many hashes a raw string here has; `None` when this `r` begins something else.
    fn raw_hashes(&self) -> Option<usize> {
        let previous = self.at.checked_sub(1).map(|at| char::from(self.bytes[at]));
        if previous.is_some_and(|p| is_word(p) && p != 'b' && p != 'c') {
            return None;
        }
        let hashes = self.bytes[self.at + 1..]
            .iter()
            .take_while(|byte| **byte == b'#')
            .count();
        (self.peek(1 + hashes) == Some(b'"')).then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or(0);
        let closing: Vec<u8> = std::iter::once(b'"')
            .chain(std::iter::repeat_n(b'#', hashes))
            .collect();
        self.blank(2 + hashes);
        self.blank_while(|blanker| !blanker.bytes[blanker.at..].starts_with(&closing));
        self.blank(closing.len());
    }

    /// A character literal is blanked, a lifetime is kept.
    fn quote(&mut self) {
        if self.peek(1) == Some(b'\\') {
            self.blank(3);
            self.blank_while(|blanker| blanker.bytes[blanker.at] != b'\'');
            return self.blank(1);
        }
        let rest = &self.bytes[self.at + 1..];
        // The longest character is four bytes; a lifetime has no quote that close to it unless
        // it is one letter long and followed by another lifetime, which always has a separator.
        let width = rest.iter().skip(1).take(4).position(|byte| *byte == b'\'');
        let one_character = width.is_some_and(|width| {
            std::str::from_utf8(&rest[..=width]).is_ok_and(|text| text.chars().count() == 1)
        });
        if one_character {
            self.blank(width.unwrap_or(0) + 3);
        } else {
            self.keep();
        }
    }
}

#[cfg(test)]
mod tests;
