//! The examples of RFC 7541 Appendix C.

use super::{Decoder, fields};

const DATE: &str = "Mon, 21 Oct 2013 20:13:21 GMT";
const LATER: &str = "Mon, 21 Oct 2013 20:13:22 GMT";
const COOKIE: &str = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let digits = digits.map(|digit| char::from(digit).to_digit(16).unwrap());
    let digits = digits.map(|digit| u8::try_from(digit).unwrap());
    let digits = digits.collect::<Vec<u8>>();
    digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect()
}

fn assert_fields(decoder: &mut Decoder, hex: &str, wanted: &[(&str, &str)]) {
    let read = fields(decoder, &bytes(hex));
    let read = read.iter().map(|(name, value)| {
        (
            str::from_utf8(name).unwrap(),
            str::from_utf8(value).unwrap(),
        )
    });
    assert_eq!(read.collect::<Vec<_>>(), wanted);
}

/// The entries of the table, newest first, and what they count.
fn assert_table(decoder: &Decoder, size: usize, wanted: &[(&str, &str)]) {
    let table = decoder.table();
    for (index, (name, value)) in (62..).zip(wanted) {
        let wanted = (name.as_bytes(), value.as_bytes());
        assert_eq!(table.field(index), Some(wanted));
    }
    assert_eq!((table.len(), table.size()), (wanted.len(), size));
}

#[test]
fn one_field_of_each_kind() {
    let mut decoder = Decoder::new(4096);
    let block = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    let field = [("custom-key", "custom-header")];
    assert_fields(&mut decoder, block, &field);
    assert_table(&decoder, 55, &field);
    let mut decoder = Decoder::new(4096);
    let block = "040c 2f73 616d 706c 652f 7061 7468";
    assert_fields(&mut decoder, block, &[(":path", "/sample/path")]);
    let block = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    assert_fields(&mut decoder, block, &[("password", "secret")]);
    assert_fields(&mut decoder, "82", &[(":method", "GET")]);
    assert_table(&decoder, 0, &[]);
}

fn requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::new(4096);
    let authority = (":authority", "www.example.com");
    let cache = ("cache-control", "no-cache");
    let custom = ("custom-key", "custom-value");
    let mut wanted = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        authority,
    ];
    assert_fields(&mut decoder, blocks[0], &wanted);
    assert_table(&decoder, 57, &[authority]);
    wanted.push(cache);
    assert_fields(&mut decoder, blocks[1], &wanted);
    assert_table(&decoder, 110, &[cache, authority]);
    wanted = vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        authority,
        custom,
    ];
    assert_fields(&mut decoder, blocks[2], &wanted);
    assert_table(&decoder, 164, &[custom, cache, authority]);
}

#[test]
fn requests_as_they_are() {
    requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn requests_with_huffman_coding() {
    requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

/// With a table of 256 bytes, whose entries drive each other out.
fn responses(blocks: [&str; 3]) {
    let mut decoder = Decoder::new(256);
    // The standard takes the size for granted; on the wire a block has to say it.
    assert_fields(&mut decoder, "3fe1 01", &[]);
    let status = (":status", "302");
    let private = ("cache-control", "private");
    let date = ("date", DATE);
    let location = ("location", "https://www.example.com");
    assert_fields(&mut decoder, blocks[0], &[status, private, date, location]);
    assert_table(&decoder, 222, &[location, date, private, status]);
    let status = (":status", "307");
    assert_fields(&mut decoder, blocks[1], &[status, private, date, location]);
    assert_table(&decoder, 222, &[status, location, date, private]);
    let status = (":status", "200");
    let date = ("date", LATER);
    let encoding = ("content-encoding", "gzip");
    let cookie = ("set-cookie", COOKIE);
    let wanted = [status, private, date, location, encoding, cookie];
    assert_fields(&mut decoder, blocks[2], &wanted);
    assert_table(&decoder, 215, &[cookie, encoding, date]);
}

#[test]
fn responses_as_they_are() {
    responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032
         303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63
         6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0
         5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851
         5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn responses_with_huffman_coding() {
    responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b
         ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad
         94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160
         65c0 03ed 4ee5 b106 3d50 07",
    ]);
}
