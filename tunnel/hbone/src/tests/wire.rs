//! What a connection writes, read frame by frame as a peer would.

use crate::ConnectHead;
use crate::Limits;
use crate::hpack::Decoder;
use crate::http2::{Core, Role};

/// The fields of a request as they leave.
pub(super) fn request(head: &ConnectHead<'_>) -> Vec<(String, String)> {
    let mut core = Core::new(Role::Client, &Limits::default());
    core.connect(head).unwrap();
    let mut read = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let frames = core.gather().plaintext();
    // Behind the preface.
    let mut rest = &frames[24..];
    while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
        let (payload, next) = payload.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
        if *kind == 1 {
            Decoder::new(4096)
                .decode(payload, usize::MAX, |name, value| {
                    read.push((text(name), text(value)));
                })
                .unwrap();
        }
        rest = next;
    }
    read
}
