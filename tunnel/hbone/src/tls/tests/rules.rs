//! Peers that break the rules: our own record layer, made to say what it never says.

use super::super::{ALERT, DATA, HANDSHAKE};
use super::*;

const UPDATE: &[u8] = &[24, 0, 0, 1, 0];

impl Us {
    /// Sends a record of this type.
    pub(super) fn utter(&mut self, kind: u8, content: &[u8]) {
        let record = self.io.tx.seal_small(kind, content).unwrap();
        self.io.stream.to.borrow_mut().bytes.extend(record);
    }

    /// Sends bytes that are not sealed.
    fn blurt(&mut self, bytes: &[u8]) {
        self.io.stream.to.borrow_mut().bytes.extend(bytes);
    }
}

/// Our server hears what `rogue` does; gives what it says and what the rogue is told.
fn server_hears(rogue: impl FnOnce(&mut Us)) -> (String, String) {
    let (mut client, mut server) = with_ourselves();
    rogue(&mut client);
    (server.refuse(), client.refuse())
}

fn client_hears(rogue: impl FnOnce(&mut Us)) -> (String, String) {
    let (mut client, mut server) = with_ourselves();
    rogue(&mut server);
    (client.refuse(), server.refuse())
}

#[track_caller]
fn refused((said, told): (String, String), text: &str, alert: &str) {
    assert!(said.contains(text), "{said}");
    assert!(told.contains(alert), "{told}");
}

#[test]
fn padding_is_taken_off() {
    let (mut client, mut server) = with_ourselves();
    client.utter(0, b"padded\x17\0\0\0");
    client.utter(0, b"\x17\0\0\0");
    client.utter(DATA, b" and not\0");
    assert_eq!(server.hear().unwrap(), b"padded and not\0");
    client.utter(0, &[0; 100]);
    refused(
        (server.refuse(), client.refuse()),
        "without a content type",
        "UnexpectedMessage",
    );
}

#[test]
fn records_of_any_length_up_to_the_longest_are_good() {
    let (mut client, mut server) = with_ourselves();
    let data = noise(16 * 1024);
    client.utter(DATA, &data);
    let padded = [&data[..], &[DATA], &[0; 238]].concat();
    client.utter(0, &padded);
    assert_eq!(server.hear().unwrap().len(), 2 * data.len());
    client.utter(DATA, &noise(16 * 1024 + 1));
    refused(
        (server.refuse(), client.refuse()),
        "excess record size",
        "RecordOverflow",
    );
}

#[test]
fn records_that_are_too_long_too_short_or_bare_are_refused() {
    let long = |peer: &mut Us| peer.blurt(&[23, 3, 3, 0x41, 1]);
    refused(server_hears(long), "excess record size", "RecordOverflow");
    for short in [0_u8, 1, 15, 16] {
        let short = |peer: &mut Us| peer.blurt(&[&[23, 3, 3, 0, short][..], &[7; 16]].concat());
        refused(server_hears(short), "decrypt", "BadRecordMac");
    }
    for (bytes, text) in [
        (&[20, 3, 3, 0, 1, 1][..], "change of cipher"),
        (&[21, 3, 3, 0, 2, 2, 40], "alert that is not sealed"),
        (&[22, 3, 3, 0, 1, 1], "not sealed"),
        (b"GET / HTTP/1.1\r\n", "not sealed"),
    ] {
        let bare = |peer: &mut Us| peer.blurt(bytes);
        refused(client_hears(bare), text, "UnexpectedMessage");
    }
    for kind in [1, 20, 24, 99] {
        let odd = |peer: &mut Us| peer.utter(kind, b"x");
        refused(client_hears(odd), "no place here", "UnexpectedMessage");
    }
}

#[test]
fn records_without_data_are_few() {
    let (mut client, mut server) = with_ourselves();
    for _ in 0..3 {
        for _ in 0..32 {
            client.utter(DATA, b"");
        }
        client.utter(DATA, b"x");
        assert_eq!(server.hear().unwrap(), b"x");
    }
    for _ in 0..33 {
        client.utter(DATA, b"");
    }
    refused(
        (server.refuse(), client.refuse()),
        "too many records",
        "UnexpectedMessage",
    );
}

#[test]
fn alerts_are_heard() {
    let (mut client, mut server) = with_ourselves();
    client.utter(ALERT, &[1, 90]);
    client.utter(DATA, b"x");
    assert_eq!(server.hear().unwrap(), b"x");
    client.utter(ALERT, &[2, 48]);
    assert!(server.refuse().contains("UnknownCA"));
    // There is no answer to that.
    assert_eq!(client.hear().unwrap(), b"");
    for wrong in [&[1][..], &[1, 0, 0]] {
        let wrong = |peer: &mut Us| peer.utter(ALERT, wrong);
        refused(
            server_hears(wrong),
            "alert of a wrong length",
            "DecodeError",
        );
    }
}

#[test]
fn messages_may_be_in_pieces_and_tickets_that_are_none_are_ignored() {
    let (mut client, mut server) = with_ourselves();
    let ticket = [&[4, 0, 1, 0][..], &[7; 256]].concat();
    server.utter(HANDSHAKE, &ticket);
    server.utter(HANDSHAKE, &ticket[..100]);
    // The rest, another, and the beginning of a change.
    server.utter(
        HANDSHAKE,
        &[&ticket[100..], &ticket[..], &UPDATE[..2]].concat(),
    );
    server.utter(HANDSHAKE, &UPDATE[2..4]);
    server.utter(HANDSHAKE, &UPDATE[4..]);
    server.io.tx = server.io.secrets.next_tx().unwrap();
    server.utter(DATA, b"with the next key");
    assert_eq!(client.hear().unwrap(), b"with the next key");
    assert!(client.gather.is_empty());
}

#[test]
fn messages_that_have_no_place_after_the_handshake_are_refused() {
    let behind = [UPDATE, &[24]].concat();
    for (message, text, alert) in [
        (&behind[..], "end of its record", "UnexpectedMessage"),
        (&[24, 0, 0, 2], "wrong length", "DecodeError"),
        (&[24, 0, 0, 1, 2], "neither", "IllegalParameter"),
        (&[4, 255, 0, 0], "wrong length", "DecodeError"),
        (&[20], "after the handshake", "UnexpectedMessage"),
        (&[13, 0, 0, 1], "after the handshake", "UnexpectedMessage"),
        (b"", "no place here", "UnexpectedMessage"),
    ] {
        let wrong = |peer: &mut Us| peer.utter(HANDSHAKE, message);
        refused(client_hears(wrong), text, alert);
    }
    let ticket = |peer: &mut Us| peer.utter(HANDSHAKE, &[4]);
    refused(
        server_hears(ticket),
        "after the handshake",
        "UnexpectedMessage",
    );
    let interrupted = |peer: &mut Us| {
        peer.utter(HANDSHAKE, &UPDATE[..3]);
        peer.utter(DATA, b"x");
    };
    refused(
        client_hears(interrupted),
        "interrupted",
        "UnexpectedMessage",
    );
}
