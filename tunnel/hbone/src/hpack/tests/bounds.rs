//! What a peer may not do, what it cannot make us do, and what we hold.

use allocation_counter::measure;

use super::super::Encoder;
use super::{Decoder, Fields, Malformed, Size, fields, verdict};

/// What follows the prefix of a number.
fn seven_at_a_time(left: usize) -> [u8; 2] {
    let low = u8::try_from(left & 0x7f).unwrap() | 0x80;
    [low, u8::try_from(left >> 7).unwrap()]
}

/// A block that enters one field with a long value.
fn long(size: usize) -> Vec<u8> {
    let mut block = vec![0x40, 1, b'x', 0x7f];
    block.extend(seven_at_a_time(size - 127));
    block.resize(block.len() + size, b'v');
    block
}

#[test]
fn malformed_blocks() {
    for block in [
        &[0x80][..],                              // field 0
        &[0xbe],                                  // no entry yet
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],    // a number above 32 bits
        &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0], // a number without end
        &[0x7e, 1, b'a'],                         // the name of no entry
        &[0x0f, 0x2f, 1, b'a'],                   // the same, not entered
        &[0x82, 0x20],                            // the size changed inside
        &[0x3f, 0xe2, 0x1f],                      // the size 4097
        &[0x00, 1, b'a'],                         // no value
        &[0x00, 1, b'a', 2, b'b'],                // less of it than announced
        &[0x00, 0x81, 0xff, 0],                   // padding of a whole byte
        &[0x40],
        &[0x5f],
    ] {
        assert_eq!(verdict(block), Err(Malformed), "{block:x?}");
    }
    assert_eq!(verdict(&[]), Ok(Size::Fits));
    assert_eq!(verdict(&[0x20, 0x3f, 0xe1, 0x1f, 0x82]), Ok(Size::Fits));
    assert_eq!(verdict(&[0xbd]), Ok(Size::Fits));
}

#[test]
fn a_peer_goes_by_the_default_until_it_has_seen_our_size() {
    let mut decoder = Decoder::new(100);
    let read = |decoder: &mut Decoder, block: &[u8]| decoder.decode(block, 1000, |_, _| {});
    // 2048, 4096, then 100, above which it cannot go any more.
    assert!(read(&mut decoder, &[0x3f, 0xe1, 0x0f]).is_ok());
    assert!(read(&mut decoder, &[0x3f, 0xe1, 0x1f]).is_ok());
    assert!(read(&mut decoder, &[0x3f, 0xe2, 0x1f]).is_err());
    assert!(read(&mut decoder, &[0x3f, 0x45]).is_ok());
    assert!(read(&mut decoder, &[0x20, 0x3f, 0x45]).is_ok());
    assert!(read(&mut decoder, &[0x3f, 0x46]).is_err());
    let mut decoder = Decoder::new(8192);
    assert!(read(&mut decoder, &[0x3f, 0xe1, 0x3f]).is_ok());
    assert!(read(&mut decoder, &[0x3f, 0xe2, 0x3f]).is_err());
}

#[test]
fn a_list_that_is_too_large_leaves_the_table_in_step() {
    let mut decoder = Decoder::new(4096);
    // Two fields of 34, the first of which enters.
    let block = [0x40, 1, b'a', 1, b'b', 0x40, 1, b'c', 1, b'd'];
    let mut read = |most| {
        let mut given = 0;
        let size = decoder.decode(&block, most, |_, _| given += 1);
        (size, given)
    };
    assert_eq!(read(68), (Ok(Size::Fits), 2));
    assert_eq!(read(67), (Ok(Size::TooLarge), 1));
    assert_eq!(read(0), (Ok(Size::TooLarge), 0));
    assert_eq!(decoder.table().len(), 6);
    let wanted: Fields = vec![(b"c".to_vec(), b"d".to_vec())];
    assert_eq!(fields(&mut decoder, &[0xbe]), wanted);
    // Nothing is given behind what was too large, though it would fit.
    let mut given = 0;
    let block = [&long(500)[..], &[0x82]].concat();
    let size = decoder.decode(&block, 300, |_, _| given += 1);
    assert_eq!((size, given), (Ok(Size::TooLarge), 0));
}

#[test]
fn a_bomb_costs_little() {
    let mut decoder = Decoder::new(4096);
    fields(&mut decoder, &long(4000));
    let mut given = 0;
    let again = [0xbe].repeat(65_536);
    let count = measure(|| {
        let size = decoder.decode(&again, 16_384, |_, value| given += value.len());
        assert_eq!(size, Ok(Size::TooLarge));
    });
    assert_eq!((given, count.count_total), (16_000, 0));
    // Entries that take over a long name by its number: two bytes for each, 4000 of name.
    let name = [&[0x40, 0x7f, 0xa1, 0x1e][..], &[b'n'; 4000], &[0]].concat();
    fields(&mut decoder, &name);
    let again = [0x7e, 0].repeat(32_768);
    let count = measure(|| {
        let size = decoder.decode(&again, 16_384, |_, _| {});
        assert_eq!(size, Ok(Size::TooLarge));
    });
    assert_eq!(count.bytes_total, 0, "a name is not copied");
}

#[test]
fn the_scratch_room_does_not_stay_large() {
    let mut decoder = Decoder::new(4096);
    // Of "0", five zeros each, 12500 bytes.
    let length = 12_500;
    let mut block = vec![0x00, 1, b'x', 0xff];
    block.extend(seven_at_a_time(length - 127));
    block.resize(block.len() + length, 0);
    let mut read = 0;
    let size = decoder.decode(&block, usize::MAX, |_, value| read = value.len());
    assert_eq!((size, read), (Ok(Size::Fits), length * 8 / 5));
    assert_eq!(decoder.kept(), 0);
}

#[test]
fn a_connection_holds_little() {
    let new = measure(|| drop((Decoder::new(4096), Encoder::new())));
    assert_eq!(new.count_total, 0);
    let (mut decoder, mut encoder) = (Decoder::new(4096), Encoder::new());
    let mut out = Vec::with_capacity(4096);
    let mut text = 0;
    let mut write = |n: u8, out: &mut Vec<u8>| {
        out.clear();
        encoder.begin(out);
        for name in [&b":method"[..], b":authority", b"baggage", b"forwarded"] {
            encoder.repeated(name, b"a value of usual length", out);
        }
        encoder.changing(b"traceparent", &[b'0' + n; 55], out);
    };
    write(0, &mut out);
    let held = measure(|| {
        let size = decoder.decode(&out, 4096, |name, value| text += name.len() + value.len());
        assert_eq!(size, Ok(Size::Fits));
    });
    let beside = held.bytes_current - i64::try_from(text).unwrap();
    assert!(beside < 512, "{beside} bytes beside the text");
    // The next ones: two bytes for each field but one, and nothing is allocated at either end.
    let later = measure(|| {
        write(1, &mut out);
        let size = decoder.decode(&out, 4096, |_, _| {});
        assert_eq!(size, Ok(Size::Fits));
    });
    assert_eq!(later.count_total, 0);
    assert_eq!(out.len(), 4 + 2 + 1 + 55);
}
