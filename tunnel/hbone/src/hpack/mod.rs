//! HPACK (RFC 7541): the header blocks of one connection, read and written.
//!
//! Each direction of a connection has a table that both ends keep in step: the writer enters a
//! field once and names it by a number afterwards. A tunnel's requests are nearly the same each
//! time, so that most of a block is such numbers.
//!
//! What a peer sends is bounded here: its table by the size we announced, a list by what the
//! caller says, a number by 32 bits. Work is linear in the bytes of a block: a name that a peer
//! uses again is shared, not copied, and a list that is too large is no longer handed out.

mod decode;
mod dynamic;
mod encode;
mod huffman;
mod integer;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;

/// The size of a table until a peer says something else (RFC 9113 6.5.2).
const DEFAULT: usize = 4096;
/// What a field counts beside its text (RFC 7541 4.1, RFC 9113 6.5.2).
const OVERHEAD: usize = 32;

// The patterns of RFC 7541 6, and which bits of the first byte belong to the number.
const INDEXED: (u8, u8) = (0x80, 0x7f);
const ENTERING: (u8, u8) = (0x40, 0x3f);
const RESIZE: (u8, u8) = (0x20, 0x1f);
const PASSING: (u8, u8) = (0x00, 0x0f);
/// A string's length (5.2); the pattern says that it is Huffman coded.
const STRING: (u8, u8) = (0x80, 0x7f);

/// Whether a list of fields is as small as the caller demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// All fields were given.
    Fits,
    /// Only the first fields were given.
    TooLarge,
}

/// The block breaks RFC 7541: a connection error of type `COMPRESSION_ERROR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header block cannot be decoded (HPACK)")]
pub(crate) struct Malformed;
