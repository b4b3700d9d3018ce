//! What both sides have said about themselves (RFC 9113 6.5).

use super::fault::Fault;
use super::frame::{HEAD, Head, Reason, WINDOW_MAX, flag, kind};
use crate::limits::Limits;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// Bytes of one parameter: its name, and its value.
const PARAMETER: usize = 6;
/// Of all windows until somebody says otherwise, bytes (RFC 9113 6.9.2).
pub(crate) const FIRST_WINDOW: u32 = 65_535;
/// Of frames until somebody says otherwise, bytes; nobody may say less (RFC 9113 6.5.2).
pub(crate) const FIRST_FRAME: u32 = 16_384;
const FRAME_MAX: u32 = (1 << 24) - 1;

/// What the peer said last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theirs {
    /// How many streams it lets us open.
    pub streams: u32,
    /// The window of a new stream, bytes.
    pub window: u32,
    /// The largest payload it takes, bytes.
    pub frame: usize,
    /// How much of what we write it remembers, bytes; set when it said so.
    pub table: Option<u32>,
}

impl Default for Theirs {
    fn default() -> Self {
        Self {
            streams: u32::MAX,
            window: FIRST_WINDOW,
            frame: FIRST_FRAME as usize,
            table: None,
        }
    }
}

impl Theirs {
    /// Reads a frame's payload. Of a parameter that comes twice the last counts.
    pub(crate) fn update(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.table = None;
        let (parameters, rest) = payload.as_chunks::<PARAMETER>();
        if !rest.is_empty() {
            let why = "SETTINGS with half a parameter";
            return Err(Fault::new(Reason::FRAME_SIZE_ERROR, why));
        }
        for [a, b, value @ ..] in parameters {
            self.set(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        Ok(())
    }

    fn set(&mut self, name: u16, value: u32) -> Result<(), Fault> {
        match name {
            HEADER_TABLE_SIZE => self.table = Some(value),
            MAX_CONCURRENT_STREAMS => self.streams = value,
            INITIAL_WINDOW_SIZE if i64::from(value) > WINDOW_MAX => {
                let why = "SETTINGS_INITIAL_WINDOW_SIZE is above 2^31-1";
                return Err(Fault::new(Reason::FLOW_CONTROL_ERROR, why));
            }
            INITIAL_WINDOW_SIZE => self.window = value,
            MAX_FRAME_SIZE if !(FIRST_FRAME..=FRAME_MAX).contains(&value) => {
                return Err(Fault::protocol("SETTINGS_MAX_FRAME_SIZE is out of range"));
            }
            MAX_FRAME_SIZE => self.frame = value as usize,
            ENABLE_PUSH | ENABLE_CONNECT_PROTOCOL if value > 1 => {
                return Err(Fault::protocol("a setting that is 0 or 1 is neither"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Our own settings, as a whole frame: what we take of the peer is [`Limits`].
pub(crate) fn ours(limits: &Limits, serves: bool) -> Vec<u8> {
    let mut parameters = vec![
        (INITIAL_WINDOW_SIZE, limits.stream_window),
        (MAX_FRAME_SIZE, limits.max_frame),
        (MAX_HEADER_LIST_SIZE, limits.header_list),
    ];
    if serves {
        parameters.push((MAX_CONCURRENT_STREAMS, limits.max_streams));
    } else {
        parameters.push((ENABLE_PUSH, 0));
    }
    let head = Head::new(parameters.len() * PARAMETER, kind::SETTINGS, 0, 0);
    let mut frame = head.write().to_vec();
    for (name, value) in parameters {
        frame.extend_from_slice(&name.to_be_bytes());
        frame.extend_from_slice(&value.to_be_bytes());
    }
    frame
}

/// "I have read your settings."
pub(crate) fn acknowledged() -> [u8; HEAD] {
    Head::new(0, kind::SETTINGS, flag::ACK, 0).write()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn we_read_what_we_write() {
        let frame = ours(&Limits::default(), true);
        let mut theirs = Theirs::default();
        theirs.update(&frame[HEAD..]).unwrap();
        assert_eq!(theirs.window, 1 << 20);
        assert_eq!(theirs.frame, 1 << 20);
        assert_eq!(theirs.streams, 200);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let reason = |name: u16, value: u32| {
            let bytes = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
            let read = Theirs::default().update(&bytes);
            read.map_err(Fault::reason)
        };
        assert_eq!(
            reason(INITIAL_WINDOW_SIZE, 1 << 31),
            Err(Reason::FLOW_CONTROL_ERROR)
        );
        assert_eq!(reason(MAX_FRAME_SIZE, 16_383), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(reason(ENABLE_PUSH, 2), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(reason(0x0a0a, 7), Ok(()));
        let half = Theirs::default().update(&[0; 7]).unwrap_err();
        assert_eq!(half.reason(), Reason::FRAME_SIZE_ERROR);
    }
}
