//! The key of one direction: nonces, sealing and opening (RFC 8446 5.2 and 5.3).

use std::io;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::client::ClientConnectionData;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, Error};

use super::fault::{general, tls_error};
use super::{DATA, HEADER, TAG};

/// The source of the next keys of both directions, and of the next session.
pub(super) trait Secrets {
    /// For what we send.
    fn next_tx(&mut self) -> Result<Key, Error>;
    /// For what we receive.
    fn next_rx(&mut self) -> Result<Key, Error>;
    /// Keeps a ticket for the next connection to the same server.
    fn keep(&mut self, ticket: &[u8]);
}

impl<D> Secrets for KernelConnection<D>
where
    Self: KeepTicket,
{
    fn next_tx(&mut self) -> Result<Key, Error> {
        self.update_tx_secret().and_then(Key::new)
    }
    fn next_rx(&mut self) -> Result<Key, Error> {
        self.update_rx_secret().and_then(Key::new)
    }
    fn keep(&mut self, ticket: &[u8]) {
        self.keep_ticket(ticket);
    }
}

/// In what the sides differ.
pub(super) trait KeepTicket {
    fn keep_ticket(&mut self, ticket: &[u8]);
}

impl KeepTicket for KernelConnection<ClientConnectionData> {
    fn keep_ticket(&mut self, ticket: &[u8]) {
        if let Err(error) = self.handle_new_session_ticket(ticket) {
            // The connection is as good as without it.
            tracing::debug!(%error, "a session ticket cannot be used");
        }
    }
}

impl KeepTicket for KernelConnection<ServerConnectionData> {
    /// Clients have none to give: who sends one anyway has been refused.
    fn keep_ticket(&mut self, _: &[u8]) {}
}

/// A key with its place in the sequence of records. Never to be printed.
pub(super) struct Key {
    aead: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Key {
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Error> {
        match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                Self::with(&AES_128_GCM, &key, &iv, sequence)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                Self::with(&AES_256_GCM, &key, &iv, sequence)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                Self::with(&CHACHA20_POLY1305, &key, &iv, sequence)
            }
            _ => Err(general("a cipher that is not known here was negotiated")),
        }
    }

    fn with(
        algorithm: &'static Algorithm,
        key: &AeadKey,
        iv: &Iv,
        sequence: u64,
    ) -> Result<Self, Error> {
        let unfit = |()| general("the keys do not fit the cipher");
        let iv = iv.as_ref().try_into().map_err(|_| unfit(()))?;
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unfit(()))?;
        Ok(Self {
            aead: LessSafeKey::new(key),
            iv,
            sequence,
        })
    }

    /// Records sealed or opened so far.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The nonce of the next record. A sequence number is never used twice.
    fn nonce(&mut self) -> Option<Nonce> {
        let next = self.sequence.checked_add(1)?;
        let mut nonce = self.iv;
        for (byte, counted) in nonce.iter_mut().rev().zip(self.sequence.to_le_bytes()) {
            *byte ^= counted;
        }
        self.sequence = next;
        Some(Nonce::assume_unique_for_key(nonce))
    }

    /// Seals a record in place: its plaintext is there, its header, content type and tag are made.
    pub(super) fn seal(&mut self, kind: u8, record: &mut [u8]) -> io::Result<()> {
        self.try_seal(kind, record)
            .ok_or_else(|| tls_error(Error::EncryptError))
    }

    fn try_seal(&mut self, kind: u8, record: &mut [u8]) -> Option<()> {
        let (header, body) = record.split_first_chunk_mut::<HEADER>()?;
        let [high, low] = u16::try_from(body.len()).ok()?.to_be_bytes();
        // The version says TLS 1.2 for the sake of what is between us and the peer.
        *header = [DATA, 3, 3, high, low];
        let (inner, tag) = body.split_last_chunk_mut::<TAG>()?;
        *inner.last_mut()? = kind;
        let nonce = self.nonce()?;
        let made = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), inner)
            .ok()?;
        *tag = made.as_ref().try_into().ok()?;
        Some(())
    }

    /// A sealed record of few bytes, for what is not data.
    pub(super) fn seal_small(&mut self, kind: u8, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut record = vec![0; HEADER];
        record.extend_from_slice(content);
        record.resize(record.len() + 1 + TAG, 0);
        self.seal(kind, &mut record)?;
        Ok(record)
    }

    /// Opens a record in place; gives what was sealed, with content type and padding.
    pub(super) fn open<'r>(&mut self, record: &'r mut [u8]) -> Option<&'r mut [u8]> {
        let (header, body) = record.split_first_chunk_mut::<HEADER>()?;
        let (inner, tag) = body.split_last_chunk_mut::<TAG>()?;
        let nonce = self.nonce()?;
        self.aead
            .open_in_place_separate_tag(nonce, Aad::from(&*header), tag, inner)
            .ok()
    }
}
