//! Attributes of netlink messages that have no types here.

/// The bits of an attribute's type that are flags.
const FLAGS: u16 = 0xc000;
const HEADER: usize = 4;

/// The attributes in a row of bytes: type and value, in order. What is cut off is left out.
pub(crate) fn attributes(mut rest: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some((kind, value, after)) = next(rest) {
        found.push((kind, value));
        rest = after;
    }
    found
}

fn next(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(bytes.get(2..HEADER)?.try_into().ok()?);
    let value = bytes.get(HEADER..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind & !FLAGS, value, after))
}

/// The value of one attribute.
pub(crate) fn find<'a>(attributes: &[(u16, &'a [u8])], wanted: u16) -> Option<&'a [u8]> {
    let found = attributes.iter().find(|(kind, _)| *kind == wanted);
    found.map(|(_, value)| *value)
}

/// Appends an attribute; `nested` if its value is attributes.
pub(crate) fn append(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Values come out of messages of the kernel, so their length fits.
    let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_found() {
        let mut bytes = Vec::new();
        append(&mut bytes, 3, b"abcde");
        append(&mut bytes, 0x8001, b"");
        append(&mut bytes, 4, b"x");
        assert_eq!(
            attributes(&bytes),
            [(3, &b"abcde"[..]), (1, b""), (4, b"x")]
        );
        assert_eq!(find(&attributes(&bytes), 4), Some(&b"x"[..]));
        assert_eq!(find(&attributes(&bytes), 5), None);
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let mut bytes = Vec::new();
        append(&mut bytes, 3, b"abcde");
        append(&mut bytes, 4, b"fghi");
        for length in 0..bytes.len() {
            let whole = usize::from(length >= 9);
            assert_eq!(attributes(&bytes[..length]).len(), whole, "{length}");
        }
        assert_eq!(attributes(&[0, 0, 1, 0]), [], "a length of nothing ends it");
    }
}
