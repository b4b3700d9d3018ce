#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{Reply, Request};

fn frame_bytes() -> Vec<u8> {
    encode(1, &Request::Status).unwrap()
}

#[test]
fn the_header_is_laid_out_as_documented() {
    let bytes = frame_bytes();
    assert_eq!(&bytes[..4], b"AMBT");
    assert_eq!(bytes[4..8], [0, 1, 0, 0]);
    assert_eq!(bytes[8..12], 8_u32.to_be_bytes());
    assert_eq!(&bytes[12..], b"\"status\"");
}

#[test]
fn a_frame_survives_any_split() {
    let bytes = frame_bytes();
    for cut in 0..=bytes.len() {
        let mut decoder = Decoder::new();
        decoder.push(&bytes[..cut]).unwrap();
        if cut < bytes.len() {
            assert_eq!(decoder.next_frame().unwrap(), None, "cut at {cut}");
            assert!(decoder.wanted() > 0 && decoder.wanted() <= bytes.len() - cut);
        }
        decoder.push(&bytes[cut..]).unwrap();
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!(
            (frame.version, frame.body.as_slice()),
            (1, &b"\"status\""[..])
        );
        decoder.finish().unwrap();
        assert_eq!(decoder.next_frame().unwrap(), None);
    }
}

#[test]
fn reading_what_is_wanted_never_reaches_into_the_next_frame() {
    let both = [frame_bytes(), frame_bytes()].concat();
    let mut decoder = Decoder::new();
    let mut at = 0;
    let mut frames = 0;
    while at < both.len() {
        let step = decoder.wanted();
        decoder.push(&both[at..at + step]).unwrap();
        at += step;
        if decoder.next_frame().unwrap().is_some() {
            frames += 1;
            assert_eq!(at, frames * frame_bytes().len());
        }
    }
    assert_eq!(frames, 2);
}

#[test]
fn two_frames_at_once_come_out_in_order() {
    let mut decoder = Decoder::new();
    let second = encode(2, &Reply::Ready).unwrap();
    decoder.push(&[frame_bytes(), second].concat()).unwrap();
    assert_eq!(decoder.next_frame().unwrap().unwrap().version, 1);
    assert_eq!(decoder.next_frame().unwrap().unwrap().version, 2);
    assert_eq!(decoder.next_frame().unwrap(), None);
}

#[test]
fn an_end_inside_a_frame_is_told_at_every_place() {
    let bytes = frame_bytes();
    for cut in 1..bytes.len() {
        let mut decoder = Decoder::new();
        decoder.push(&bytes[..cut]).unwrap();
        let Err(FrameError::Truncated { missing }) = decoder.finish() else {
            panic!("cut at {cut} passed");
        };
        assert!(
            missing > 0 && missing <= bytes.len() - cut,
            "cut at {cut}: {missing}"
        );
    }
}

#[test]
fn rubbish_is_refused_at_its_first_byte_and_for_good() {
    for rubbish in [
        &b"HTTP/1.1 400 Bad Request"[..],
        b"\0",
        b"AMBX",
        b"{\"code\":1}",
    ] {
        let mut decoder = Decoder::new();
        let error = decoder.push(rubbish).unwrap_err();
        assert!(matches!(error, FrameError::NotAFrame(_)), "{error}");
        assert_eq!(decoder.push(&frame_bytes()).unwrap_err(), error);
        assert_eq!(decoder.next_frame().unwrap_err(), error);
        assert_eq!(decoder.finish().unwrap_err(), error);
    }
}

#[test]
fn rubbish_after_a_frame_does_not_swallow_the_frame() {
    let mut decoder = Decoder::new();
    decoder
        .push(&[&frame_bytes()[..], b"rubbish"].concat())
        .unwrap();
    assert!(decoder.next_frame().unwrap().is_some());
    assert!(matches!(
        decoder.next_frame(),
        Err(FrameError::NotAFrame(_))
    ));
}

#[test]
fn control_characters_of_rubbish_do_not_reach_the_message() {
    let error = Decoder::new().push(b"\x1b[2J\n").unwrap_err();
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
}

#[test]
fn set_reserved_bits_are_refused() {
    let mut bytes = frame_bytes();
    bytes[7] = 1;
    assert_eq!(Decoder::new().push(&bytes), Err(FrameError::Reserved(1)));
}

#[test]
fn an_oversized_announcement_is_refused_before_its_body() {
    let mut header = frame_bytes()[..HEADER_LENGTH].to_vec();
    let length = u32::try_from(MAX_BODY).unwrap() + 1;
    header[8..].copy_from_slice(&length.to_be_bytes());
    assert_eq!(
        Decoder::new().push(&header),
        Err(FrameError::TooLong(length))
    );
}

#[test]
fn the_bound_itself_is_accepted_and_one_more_cannot_be_written() {
    let fits = "x".repeat(MAX_BODY - 2);
    let mut decoder = Decoder::new();
    decoder.push(&encode(1, &fits).unwrap()).unwrap();
    assert_eq!(decoder.next_frame().unwrap().unwrap().body.len(), MAX_BODY);

    let too_long = "x".repeat(MAX_BODY - 1);
    assert!(matches!(encode(1, &too_long), Err(EncodeError::TooLong(_))));
}

#[test]
fn a_sender_that_is_never_read_from_is_cut_off() {
    let mut decoder = Decoder::new();
    let piece = frame_bytes();
    let error = loop {
        if let Err(error) = decoder.push(&piece) {
            break error;
        }
    };
    assert_eq!(error, FrameError::Overrun);
}

/// Pseudo-random bytes, headers with one byte changed, in random splits: never a panic, never more
/// memory than the bound, and a body comes out only with the magic in front of it.
#[test]
fn garbage_never_panics() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let mut bytes = frame_bytes();
        let place = usize::try_from(random()).unwrap() % bytes.len();
        bytes[place] = random().to_le_bytes()[0];
        let mut decoder = Decoder::new();
        for piece in bytes.chunks(1 + usize::try_from(random() % 7).unwrap()) {
            if decoder.push(piece).is_err() {
                break;
            }
        }
        if let Ok(Some(frame)) = decoder.next_frame() {
            assert_eq!(bytes[..4], MAGIC);
            drop(crate::read_request(&frame, crate::SPOKEN));
        }
    }
}
