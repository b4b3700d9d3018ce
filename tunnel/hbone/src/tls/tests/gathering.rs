//! What is put, where it lies, and when it counts as sent.

use std::io::{ErrorKind, IoSliceMut};

use super::super::ROOM;
use super::*;

const R: usize = 16 * 1024;

/// Fills the slices with what comes next of `data`.
fn fill(slices: &mut [IoSliceMut<'_>], mut data: &[u8]) -> usize {
    let before = data.len();
    for slice in slices {
        let (now, later) = data.split_at(slice.len().min(data.len()));
        slice[..now.len()].copy_from_slice(now);
        data = later;
    }
    before - data.len()
}

#[test]
fn heads_and_reads_cross_the_borders_of_records() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    for before in (R - 12..R + 3).chain([2 * R - 9, 2 * R]) {
        for size in [1, 2, 12, R - 9, R, R + 1, 3 * R] {
            let (first, data) = (noise(before), noise(size));
            us.gather.put(&first);
            let head = |n: usize| (n as u64 + 7).to_be_bytes();
            let (mut expected, mut rest) = (first, &data[..]);
            // A small buffer is filled before a large one is offered.
            while !rest.is_empty() {
                let mut offered = 0;
                let read = |slices: &mut [IoSliceMut<'_>]| {
                    offered = slices.iter().map(|slice| slice.len()).sum();
                    Ok(fill(slices, rest))
                };
                let n = us.gather.put_read(rest.len() + 1, head, read).unwrap();
                assert_eq!(n, offered.min(rest.len()));
                let (now, later) = rest.split_at(n);
                expected.extend_from_slice(&head(n));
                expected.extend_from_slice(now);
                rest = later;
            }
            us.say(b"end");
            expected.extend_from_slice(b"end");
            assert!(peer.take() == expected, "{size} behind {before}");
        }
    }
}

#[test]
fn nothing_is_put_when_nothing_is_read() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    for first in [b"".as_slice(), b"first"] {
        us.gather.put(first);
        let (put, head) = (us.gather.put_total(), |_| [9; 9]);
        let error = us.gather.put_read(100, head, |slices| {
            slices[0].fill(7);
            Err(ErrorKind::WouldBlock.into())
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::WouldBlock);
        let none = us.gather.put_read(100, head, |slices| {
            slices[0].fill(7);
            Ok(0)
        });
        assert_eq!(none.unwrap(), 0);
        let full = us.gather.put_read(0, head, |_| unreachable!("no room"));
        assert_eq!(full.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(us.gather.put_total(), put);
        assert_eq!(us.gather.is_empty(), first.is_empty());
    }
    us.say(b" and last");
    assert_eq!(peer.take(), b"first and last");
}

#[test]
fn only_what_the_kernel_has_is_sent() {
    let (mut us, mut peer) = with_rustls(true, 1000);
    let (a, b, c) = (noise(1500), noise(600), noise(10));
    us.gather.put(&a);
    assert!(us.send().is_pending());
    assert_eq!(us.gather.sent_total(), 0);
    us.gather.put(&b);
    peer.turn().unwrap();
    assert!(us.send().is_pending());
    // The second record is the one that is on its way.
    assert_eq!(us.gather.sent_total(), 1500);
    us.gather.put(&c);
    assert!(us.send().is_pending());
    assert_eq!(us.gather.sent_total(), 1500);
    peer.turn().unwrap();
    assert!(us.send().is_ready());
    assert_eq!(us.gather.sent_total(), 2110);
    assert!(peer.take() == [a, b, c].concat());
    assert!(us.gather.is_empty());
}

#[test]
fn a_bound_on_one_call_is_kept() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    us.gather.put(&noise(100_000));
    let mut calls = 0;
    let most = 30_000;
    while us
        .io
        .poll_send(&mut context(), &mut us.gather, most)
        .is_pending()
    {
        calls += 1;
        assert_eq!(us.io.stream.to.borrow().bytes.len(), calls * most);
    }
    assert_eq!(calls, 3);
    assert_eq!(peer.take().len(), 100_000);
}

#[test]
fn a_peer_that_does_not_read_holds_data_back_but_not_control() {
    let (mut us, mut peer) = with_rustls(true, 1);
    let mut all = Vec::new();
    for _ in 0..3 {
        loop {
            let data = noise(us.gather.room().min(50_000));
            if data.is_empty() {
                break;
            }
            us.gather.put(&data);
            all.extend(data);
            assert!(us.send().is_pending());
        }
        // Sealing has made it a little more.
        assert!(us.gather.waiting() <= ROOM + 40 * 22);
        let refused = us
            .gather
            .put_read(100, |_| [], |_| unreachable!("there is no room"));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::WouldBlock);
        us.gather.put(&all[..100_000]);
        all.extend_from_within(..100_000);
        us.io.stream.to.borrow_mut().room = 300_000;
        peer.turn().unwrap();
        assert!(us.send().is_pending());
        us.io.stream.to.borrow_mut().room = 1;
    }
    us.io.stream.to.borrow_mut().room = WIDE;
    assert!(us.send().is_ready());
    assert!(peer.take() == all);
    assert!(us.gather.room() > ROOM - 1024);
}

/// A generator of numbers that are no pattern.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % below
    }
}

#[test]
fn whatever_the_order_of_puts_and_sends_the_bytes_arrive_in_theirs() {
    for seed in 0..4 {
        let (mut us, mut peer) = with_rustls(seed % 2 == 0, WIDE);
        us.io.limit = 50;
        let mut dice = Dice(seed);
        let source = noise(200_000);
        let mut all = Vec::new();
        for _ in 0..1500 {
            let most = [20, 2000, 20_000, 120_000][dice.roll(4)];
            match dice.roll(4) {
                0 => {
                    let data = &source[..dice.roll(most).min(us.gather.room())];
                    us.gather.put(data);
                    all.extend(data);
                }
                1 => {
                    let data = &source[dice.roll(1000)..][..dice.roll(most)];
                    let head = |n: usize| (n as u64).to_be_bytes();
                    let read = |slices: &mut [IoSliceMut<'_>]| Ok(fill(slices, data));
                    if let Ok(n @ 1..) = us.gather.put_read(most, head, read) {
                        all.extend(head(n));
                        all.extend(&data[..n]);
                    }
                }
                _ => {
                    let held = us.io.stream.to.borrow().bytes.len();
                    us.io.stream.to.borrow_mut().room = held + dice.roll(most);
                    drop(us.send());
                    if dice.roll(3) == 0 {
                        peer.turn().unwrap();
                    }
                }
            }
            assert!(us.gather.sent_total() <= us.gather.put_total());
            assert!(us.gather.waiting() <= ROOM + 5 * 27);
        }
        us.io.stream.to.borrow_mut().room = WIDE;
        assert!(us.send().is_ready());
        assert!(peer.take() == all, "seed {seed}");
        assert_eq!(us.gather.sent_total(), all.len() as u64);
        assert!(us.io.tx.sequence() <= 100);
    }
}

#[test]
fn who_had_much_to_send_is_offered_a_large_buffer_at_once() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    let mut first_offers = Vec::new();
    for size in [10, 100_000, 100_000, 10, 100_000] {
        let data = noise(size);
        let (mut rest, mut first_offer) = (&data[..], None);
        while !rest.is_empty() {
            let read = |slices: &mut [IoSliceMut<'_>]| {
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                first_offer.get_or_insert(offered);
                Ok(fill(slices, rest))
            };
            let n = us.gather.put_read(usize::MAX, |_| [], read).unwrap();
            rest = &rest[n..];
        }
        us.say(b"");
        assert!(peer.take() == data);
        first_offers.push(first_offer.unwrap() > 2 * R);
    }
    assert_eq!(first_offers, [false, false, true, true, false]);
}

#[test]
fn many_small_pieces_for_a_peer_that_does_not_read_are_not_moved_for_each() {
    let (mut us, _peer) = with_rustls(true, WIDE);
    let mut sizes = std::collections::BTreeSet::new();
    for _ in 0..200_000 {
        us.gather.put(&[7; 9]);
        sizes.insert(us.gather.size());
    }
    assert!(sizes.len() < 10, "it was moved {} times", sizes.len());
}
