//! How much plaintext is with the kernel, told by how much ciphertext is.

use std::collections::VecDeque;

/// Marks kept. When there are more, the last one waits for more than it has to.
const KEPT: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Marks {
    cipher_sent: u64,
    plain_sent: u64,
    /// When so much ciphertext has been sent, so much plaintext has.
    ahead: VecDeque<(u64, u64)>,
}

impl Marks {
    pub(super) const fn cipher_sent(&self) -> u64 {
        self.cipher_sent
    }

    pub(super) const fn plain_sent(&self) -> u64 {
        self.plain_sent
    }

    /// Everything up to this place of the ciphertext carries everything up to that of the plaintext.
    pub(super) fn mark(&mut self, cipher: u64, plain: u64) {
        if self.ahead.len() >= KEPT {
            self.ahead.pop_back();
        }
        self.ahead.push_back((cipher, plain));
    }

    pub(super) fn sent(&mut self, n: u64) {
        self.cipher_sent += n;
        while let Some((cipher, plain)) = self.ahead.front().copied() {
            if cipher > self.cipher_sent {
                break;
            }
            self.plain_sent = plain;
            self.ahead.pop_front();
        }
    }

    /// What has been marked will not be sent.
    pub(super) fn clear(&mut self) {
        self.ahead = VecDeque::new();
    }
}
