//! Which answers have left the process.
//!
//! HTTP/2 queues an answer, frames it in a later turn, and the frame waits here for the socket.
//! Whoever must not act before its answer is with the kernel expects it here. Frames are watched
//! as they pass: it costs a look at nine bytes for each, and nothing for each byte.
//!
//! ```text
//! expected ──HEADERS passed──► framed ──sealed──► at a place in the ciphertext ──sent──► gone
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Length of a frame's header (RFC 9113 4.1).
const HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The answers of one connection that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Heads(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    scan: Scan,
    waiting: Vec<Head>,
}

#[derive(Debug)]
struct Head {
    stream: u32,
    stage: Stage,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Expected,
    Framed,
    /// Sent once so many bytes of ciphertext have been.
    Sealed(u64),
}

/// Where in the sequence of frames the connection is.
#[derive(Debug, Default)]
struct Scan {
    header: [u8; HEADER],
    /// Bytes of `header` seen; a whole header means that its payload passes.
    seen: usize,
    /// Bytes of the payload that are still to pass.
    left: usize,
}

impl Scan {
    /// Looks at the next bytes; names each stream whose header block is complete with them.
    fn pass(&mut self, mut data: &[u8], mut complete: impl FnMut(u32)) {
        while !data.is_empty() {
            if self.seen < HEADER {
                let n = data.len().min(HEADER - self.seen);
                self.header[self.seen..self.seen + n].copy_from_slice(&data[..n]);
                self.seen += n;
                data = &data[n..];
                if self.seen < HEADER {
                    return;
                }
                let [a, b, c, ..] = self.header;
                self.left = (usize::from(a) << 16) | (usize::from(b) << 8) | usize::from(c);
            }
            let n = data.len().min(self.left);
            self.left -= n;
            data = &data[n..];
            if self.left == 0 {
                self.seen = 0;
                let [_, _, _, kind, flags, stream @ ..] = self.header;
                if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0 {
                    complete(u32::from_be_bytes(stream) & (u32::MAX >> 1));
                }
            }
        }
    }
}

impl Heads {
    /// The answer to `stream` is given to HTTP/2 now; call this before.
    pub(crate) fn expect(self: &Rc<Self>, stream: u32) -> Answered {
        self.0.borrow_mut().waiting.push(Head {
            stream,
            stage: Stage::Expected,
            waker: None,
        });
        Answered {
            heads: Rc::clone(self),
            stream,
        }
    }

    /// Plaintext of HTTP/2 passes.
    pub(super) fn pass(&self, data: &[u8]) {
        let Inner { scan, waiting } = &mut *self.0.borrow_mut();
        scan.pass(data, |stream| {
            let head = waiting.iter_mut().find(|head| head.stream == stream);
            if let Some(head) = head
                && head.stage == Stage::Expected
            {
                head.stage = Stage::Framed;
            }
        });
    }

    /// All that has passed is encrypted, and `end` bytes of ciphertext have been made so far.
    pub(super) fn sealed(&self, end: u64) {
        for head in &mut self.0.borrow_mut().waiting {
            if head.stage == Stage::Framed {
                head.stage = Stage::Sealed(end);
            }
        }
    }

    /// `total` bytes of ciphertext have been handed to the kernel so far.
    pub(super) fn sent(&self, total: u64) {
        self.0
            .borrow_mut()
            .waiting
            .retain_mut(|head| match head.stage {
                Stage::Sealed(end) if end <= total => {
                    if let Some(waker) = head.waker.take() {
                        waker.wake();
                    }
                    false
                }
                _ => true,
            });
    }

    fn forget(&self, stream: u32) {
        self.0
            .borrow_mut()
            .waiting
            .retain(|head| head.stream != stream);
    }
}

/// An answer on its way.
#[derive(Debug)]
pub struct Answered {
    heads: Rc<Heads>,
    stream: u32,
}

impl Answered {
    /// Ready once the kernel has the answer.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.heads.0.borrow_mut();
        let head = inner.waiting.iter_mut().find(|h| h.stream == self.stream);
        let Some(head) = head else {
            return Poll::Ready(());
        };
        if !head.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            head.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.heads.forget(self.stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, size: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, size, kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.resize(HEADER + usize::from(size), kind);
        frame
    }

    #[test]
    fn an_answer_is_out_when_its_last_byte_of_ciphertext_is() {
        let heads = Rc::new(Heads::default());
        let (first, second) = (heads.expect(1), heads.expect(3));
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = frame(4, 0, 0, 18);
        bytes.extend(frame(HEADERS, 0, 1, 200));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, 30));
        bytes.extend(frame(0, 1, 1, 0));
        // In pieces of every size, as codecs write them.
        let all_but_the_last = bytes.len() - HEADER - 1;
        for piece in bytes[..all_but_the_last].chunks(7) {
            heads.pass(piece);
        }
        heads.sealed(50);
        heads.sent(50);
        assert!(
            first.poll(&mut cx).is_pending(),
            "its end is not framed yet"
        );
        heads.pass(&bytes[all_but_the_last..]);
        heads.sent(60);
        assert!(first.poll(&mut cx).is_pending(), "it is not sealed yet");
        heads.sealed(100);
        heads.sent(99);
        assert!(first.poll(&mut cx).is_pending(), "a byte is still here");
        heads.sent(100);
        assert!(first.poll(&mut cx).is_ready());
        assert!(second.poll(&mut cx).is_pending(), "nothing was said on it");
        drop(second);
        assert!(heads.0.borrow().waiting.is_empty());
    }
}
