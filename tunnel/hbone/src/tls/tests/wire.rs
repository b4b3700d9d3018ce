//! A byte stream in memory that can be narrow, tampered with and cut, and rustls at the end of one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction.
#[derive(Default)]
pub(super) struct Pipe {
    pub(super) bytes: VecDeque<u8>,
    pub(super) room: usize,
    /// Nothing more will be written.
    pub(super) over: bool,
    /// What writing says from now on.
    pub(super) fails: Option<io::ErrorKind>,
    pub(super) writes: usize,
}

pub(super) struct Wire {
    pub(super) from: Rc<RefCell<Pipe>>,
    pub(super) to: Rc<RefCell<Pipe>>,
}

impl Wire {
    pub(super) fn pair(room: usize) -> (Self, Self) {
        let pipe = || {
            Rc::new(RefCell::new(Pipe {
                room,
                ..Pipe::default()
            }))
        };
        let (one, other) = (pipe(), pipe());
        let (from, to) = (Rc::clone(&one), Rc::clone(&other));
        let far = Self {
            from: other,
            to: one,
        };
        (Self { from, to }, far)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut from = self.from.borrow_mut();
        if from.bytes.is_empty() && !from.over {
            return Poll::Pending;
        }
        let n = from.bytes.len().min(room.remaining());
        let bytes = from.bytes.drain(..n).collect::<Vec<_>>();
        room.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut to = self.to.borrow_mut();
        if let Some(kind) = to.fails {
            return Poll::Ready(Err(kind.into()));
        }
        let n = data.len().min(to.room.saturating_sub(to.bytes.len()));
        if n == 0 {
            return Poll::Pending;
        }
        to.bytes.extend(&data[..n]);
        to.writes += 1;
        Poll::Ready(Ok(n))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.borrow_mut().over = true;
        Poll::Ready(Ok(()))
    }
}

/// rustls, and what it heard.
pub(super) struct Peer {
    pub(super) conn: Connection,
    pub(super) wire: Wire,
    pub(super) got: Vec<u8>,
}

impl Peer {
    pub(super) fn new(mut conn: Connection, wire: Wire) -> Self {
        conn.set_buffer_limit(None);
        Self {
            conn,
            wire,
            got: Vec::new(),
        }
    }

    /// Hears everything that has arrived and sends everything that it has to say.
    pub(super) fn turn(&mut self) -> Result<(), rustls::Error> {
        let heard = self.hear();
        self.flush();
        heard
    }

    fn hear(&mut self) -> Result<(), rustls::Error> {
        loop {
            let more = {
                let mut from = self.wire.from.borrow_mut();
                !from.bytes.is_empty() && self.conn.read_tls(&mut from.bytes).is_ok_and(|n| n > 0)
            };
            self.conn.process_new_packets()?;
            // An error says that there is nothing now.
            self.conn.reader().read_to_end(&mut self.got).ok();
            if !more {
                return Ok(());
            }
        }
    }

    pub(super) fn flush(&mut self) {
        let mut to = self.wire.to.borrow_mut();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut to.bytes).unwrap();
        }
    }

    pub(super) fn say(&mut self, data: &[u8]) {
        self.conn.writer().write_all(data).unwrap();
        self.flush();
    }

    /// What it heard since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.turn().unwrap();
        std::mem::take(&mut self.got)
    }
}
