//! What one connection sends, from the first byte put to the last byte taken by the socket.
//!
//! Plaintext is put where its record will be sealed, records lie one after the other, and they are
//! sent from there. The buffer is, in this order: sent, sealed, not yet sealed, free.

use std::io::{self, IoSliceMut};

use super::pool::{self, SIZE, SMALL};
use super::{FULL, HEADER, OVERHEAD, RECORD};

mod marks;

use marks::Marks;

/// Plaintext and ciphertext that data may fill before writers are held back, bytes.
pub(crate) const ROOM: usize = 512 * 1024;

/// Less room than this is none: frames of a few bytes would cost more than they carry.
const LEAST: usize = 1024;

/// With less left in a small buffer than this, a reader is offered a large one, bytes.
const LEAST_OF_SMALL: usize = 4096;

/// Slices that are offered to one read: all the records that there is room for.
const SLICES: usize = ROOM / RECORD + 2;

/// One connection's bytes on their way out.
#[derive(Default)]
pub(crate) struct Gather {
    /// Empty while nothing waits; else of one of two sizes, or more.
    buffer: Vec<u8>,
    /// The first byte that has not been sent.
    sent: usize,
    /// The end of what is sealed; the first record that is not sealed begins here.
    sealed: usize,
    /// Plaintext behind that, in full records but for the last.
    plain: usize,
    /// What was sent last did not fit into a small buffer: the next may not, either.
    much: bool,
    put_total: u64,
    sealed_total: u64,
    marks: Marks,
}

/// Without the bytes: they are nobody's business.
impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gather({} wait)", self.waiting())
    }
}

impl Gather {
    /// Bytes of data that may be put now; 0 when too much waits for the socket.
    pub(crate) fn room(&self) -> usize {
        let held = ROOM.saturating_sub(self.waiting());
        let fits = fit(SIZE.saturating_sub(self.sealed)).saturating_sub(self.plain);
        let room = held.min(fits);
        if room < LEAST { 0 } else { room }
    }

    /// Puts bytes at the end, whatever the room: for the few frames that control the connection.
    pub(crate) fn put(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.make_room(self.plain + data.len());
        self.write(data);
        self.put_total += data.len() as u64;
    }

    /// Puts what `read` reads, behind a head that is made of its length. No more than `most` bytes
    /// are offered to it, nor more than there is room for; without any it is not called and the
    /// answer is `WouldBlock`, since 0 is what a reader says at its end.
    ///
    /// # Errors
    /// What `read` says. Then, and if it reads 0 bytes, nothing is put.
    pub(crate) fn put_read<const H: usize>(
        &mut self,
        most: usize,
        head: impl FnOnce(usize) -> [u8; H],
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let most = most.min(self.room().saturating_sub(H));
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let first = self.plain + H;
        let most = most.min(self.offered(first));
        self.make_room(first + most);
        let mut slices = std::array::from_fn::<_, SLICES, _>(|_| IoSliceMut::new(&mut []));
        let (mut count, mut left) = (0, most);
        for (slice, room) in slices.iter_mut().zip(self.rooms(first)) {
            let (room, _) = room.split_at_mut(left.min(room.len()));
            left -= room.len();
            count += usize::from(!room.is_empty());
            *slice = IoSliceMut::new(room);
        }
        let got = read(slices.get_mut(..count).unwrap_or_default());
        let n = got.as_ref().map_or(0, |n| *n).min(most - left);
        if n > 0 {
            self.write(&head(n));
            self.plain += n;
            self.put_total += (H + n) as u64;
        } else {
            self.settle();
        }
        got.map(|_| n)
    }

    /// What a reader is offered, bytes, behind so much plaintext: what a small buffer has, until that is full.
    fn offered(&self, first: usize) -> usize {
        let left = fit(SMALL.saturating_sub(self.sealed)).saturating_sub(first);
        if self.buffer.len() <= SMALL && left >= LEAST_OF_SMALL && !self.much {
            left
        } else {
            usize::MAX
        }
    }

    /// Plaintext put so far, bytes, over the connection's life.
    pub(crate) const fn put_total(&self) -> u64 {
        self.put_total
    }

    /// How much of that is with the kernel for certain.
    pub(crate) const fn sent_total(&self) -> u64 {
        self.marks.plain_sent()
    }

    /// Bytes of the buffer.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.buffer.len()
    }

    /// What is not sealed yet, in one piece.
    #[cfg(test)]
    pub(crate) fn plaintext(&mut self) -> Vec<u8> {
        let plain = self.plain;
        let mut all = Vec::new();
        for room in self.rooms(0) {
            all.extend_from_slice(room.split_at(room.len().min(plain - all.len())).0);
        }
        all
    }

    /// The same, as if it had been sealed and sent.
    #[cfg(test)]
    pub(crate) fn take_plaintext(&mut self) -> Vec<u8> {
        let all = self.plaintext();
        // Sealing cannot fail that does nothing.
        self.seal(|_| Ok(())).ok();
        self.advance(self.sendable().len());
        self.settle();
        all
    }

    /// Whether nothing waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Bytes that wait, sealed or not.
    pub(crate) const fn waiting(&self) -> usize {
        self.sealed - self.sent + self.plain
    }

    /// Records that are not sealed yet.
    pub(super) const fn unsealed(&self) -> usize {
        self.plain.div_ceil(RECORD)
    }

    /// Bytes of ciphertext that the kernel has taken, over the connection's life.
    pub(super) const fn cipher_sent(&self) -> u64 {
        self.marks.cipher_sent()
    }

    /// The same when all that is sealed now will have been sent.
    pub(super) const fn cipher_end(&self) -> u64 {
        self.marks.cipher_sent() + (self.sealed - self.sent) as u64
    }

    /// Seals what is not sealed: `seal` is shown every record, with room for all of it.
    pub(super) fn seal(
        &mut self,
        mut seal: impl FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.plain == 0 {
            return Ok(());
        }
        let end = self.end();
        let records = self.buffer.get_mut(self.sealed..end).unwrap_or_default();
        for record in records.chunks_mut(FULL) {
            seal(record)?;
        }
        self.sealed = end;
        self.sealed_total += self.plain as u64;
        self.plain = 0;
        self.marks.mark(self.cipher_end(), self.sealed_total);
        Ok(())
    }

    /// Puts a record that is sealed already behind all that are; what is not sealed moves.
    pub(super) fn put_sealed(&mut self, record: &[u8]) {
        let end = self.end();
        self.grow(end + record.len());
        let behind = self.sealed + record.len();
        self.buffer.copy_within(self.sealed..end, behind);
        if let Some(room) = self.buffer.get_mut(self.sealed..behind) {
            room.copy_from_slice(record);
        }
        self.sealed = behind;
    }

    /// What can be sent.
    pub(super) fn sendable(&self) -> &[u8] {
        self.buffer.get(self.sent..self.sealed).unwrap_or_default()
    }

    /// The socket has taken so many bytes of it.
    pub(super) fn advance(&mut self, n: usize) {
        let n = n.min(self.sealed - self.sent);
        self.sent += n;
        self.marks.sent(n as u64);
    }

    /// Forgets what is not sealed: it will not be sent.
    pub(super) fn discard_plain(&mut self) {
        self.plain = 0;
        self.settle();
    }

    /// Forgets everything: the connection is broken.
    pub(super) fn discard(&mut self) {
        self.sent = self.sealed;
        self.marks.clear();
        self.discard_plain();
    }

    /// Gives an empty buffer back. What has been sent of one that does not get empty is forgotten
    /// when the room behind gets scarce, and when that moves no more than was sent.
    pub(super) fn settle(&mut self) {
        if self.is_empty() {
            self.much = self.sealed > SMALL;
            pool::give(std::mem::take(&mut self.buffer));
            (self.sent, self.sealed) = (0, 0);
            return;
        }
        let end = self.end();
        if self.sent >= end - self.sent && SIZE.saturating_sub(end) < SIZE / 4 {
            self.buffer.copy_within(self.sent..end, 0);
            self.sealed -= self.sent;
            self.sent = 0;
        }
    }

    /// The end of what has been put, with the room that its last record needs.
    const fn end(&self) -> usize {
        self.sealed + self.plain + self.unsealed() * OVERHEAD
    }

    /// Makes room for so much plaintext that is not sealed.
    fn make_room(&mut self, plain: usize) {
        self.grow(self.sealed + plain + plain.div_ceil(RECORD) * OVERHEAD);
    }

    fn grow(&mut self, size: usize) {
        if self.buffer.len() >= size {
            return;
        }
        let mut larger = pool::take(size);
        let used = self.buffer.get(..self.end()).unwrap_or_default();
        if let Some(room) = larger.get_mut(..used.len()) {
            room.copy_from_slice(used);
        }
        pool::give(std::mem::replace(&mut self.buffer, larger));
    }

    /// The room for plaintext, record by record, from this place behind what is sealed.
    fn rooms(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
        let records = self.buffer.get_mut(self.sealed..).unwrap_or_default();
        let mut skip = first % RECORD;
        records
            .chunks_mut(FULL)
            .skip(first / RECORD)
            .map(move |record| {
                let end = record.len().min(HEADER + RECORD);
                let from = HEADER + std::mem::take(&mut skip);
                record.get_mut(from..end).unwrap_or_default()
            })
    }

    /// Writes where there is room for it already.
    fn write(&mut self, data: &[u8]) {
        let mut left = data;
        for room in self.rooms(self.plain) {
            let n = room.len().min(left.len());
            let (now, later) = left.split_at(n);
            room.split_at_mut(n).0.copy_from_slice(now);
            left = later;
            if left.is_empty() {
                break;
            }
        }
        self.plain += data.len() - left.len();
    }
}

/// Plaintext that fits into so many bytes.
const fn fit(space: usize) -> usize {
    space / FULL * RECORD + (space % FULL).saturating_sub(OVERHEAD)
}
