//! Room for records at the end of a buffer.

use std::io;

use rustls::unbuffered::{EncodeError, EncryptError};

/// Lets `write` fill room at the end of `sealed`, with more room when it asks for more.
pub(super) fn append<E: std::fmt::Display>(
    sealed: &mut Vec<u8>,
    size: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
    wanted: impl Fn(&E) -> Option<usize>,
) -> io::Result<()> {
    let old = sealed.len();
    let mut size = size;
    loop {
        sealed.resize(old + size, 0);
        match write(&mut sealed[old..]) {
            Ok(n) => {
                sealed.truncate(old + n);
                return Ok(());
            }
            Err(error) => match wanted(&error) {
                Some(more) if more > size => size = more,
                _ => {
                    sealed.truncate(old);
                    return Err(io::Error::other(error.to_string()));
                }
            },
        }
    }
}

pub(super) fn encode_room(error: &EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

pub(super) fn encrypt_room(error: &EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

pub(super) fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
