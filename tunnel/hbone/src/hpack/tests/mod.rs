#![allow(clippy::unwrap_used, reason = "tests")]

mod bounds;
mod random;
mod standard;
mod wire;

use super::{Decoder, Malformed, Size};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The fields of a block that is right and fits.
fn fields(decoder: &mut Decoder, block: &[u8]) -> Fields {
    let mut fields = Fields::new();
    let size = decoder.decode(block, usize::MAX, |name, value| {
        fields.push((name.to_vec(), value.to_vec()));
    });
    assert_eq!(size, Ok(Size::Fits), "{block:x?}");
    fields
}

/// What a new decoder says of a block.
fn verdict(block: &[u8]) -> Result<Size, Malformed> {
    Decoder::new(4096).decode(block, usize::MAX, |_, _| {})
}
