#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::sync::mpsc;

use super::*;
use crate::tests::Kept;

const PATIENCE: Duration = Duration::from_secs(10);

fn notice() -> DropNotice {
    Box::new(|line, lost| writeln!(line, "lost {lost}").unwrap())
}

/// A sink that takes each write only when told to.
struct Gate {
    entered: mpsc::Sender<()>,
    open: mpsc::Receiver<()>,
    kept: Kept,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.entered.send(()).unwrap();
        self.open
            .recv()
            .map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        self.kept.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_sink_drops_and_counts_and_says_so() {
    let (entered_sender, entered) = mpsc::channel();
    let (open, open_receiver) = mpsc::channel();
    let kept = Kept::default();
    let gate = Gate {
        entered: entered_sender,
        open: open_receiver,
        kept: kept.clone(),
    };
    let bounds = QueueBounds {
        lines: 3,
        bytes: 1 << 20,
    };
    let (queue, guard) = start(Box::new(gate), bounds, notice()).unwrap();
    queue.push("first\n", Urgency::Now);
    entered.recv_timeout(PATIENCE).unwrap();
    // The thread is inside the sink now: three lines fit, two do not, and nobody waits.
    for line in ["a\n", "b\n", "c\n", "d\n", "e\n"] {
        queue.push(line, Urgency::Batched);
    }
    assert_eq!(queue.dropped(), 2);
    for _ in 0..2 {
        open.send(()).unwrap();
    }
    assert!(queue.flush(PATIENCE));
    assert_eq!(kept.text(), "first\na\nb\nc\nlost 2\n");
    drop(open);
    drop(guard);
}

#[test]
fn bytes_are_bounded_too() {
    let (entered_sender, entered) = mpsc::channel();
    let (open, open_receiver) = mpsc::channel();
    let gate = Gate {
        entered: entered_sender,
        open: open_receiver,
        kept: Kept::default(),
    };
    let (queue, _guard) = start(
        Box::new(gate),
        QueueBounds {
            lines: 100,
            bytes: 10,
        },
        notice(),
    )
    .unwrap();
    queue.push("x\n", Urgency::Now);
    entered.recv_timeout(PATIENCE).unwrap();
    queue.push("12345678\n", Urgency::Batched);
    queue.push("12345678\n", Urgency::Batched);
    assert_eq!(queue.dropped(), 1);
    drop(open);
}

#[test]
fn dropping_the_guard_flushes() {
    let kept = Kept::default();
    let (queue, guard) = start(Box::new(kept.clone()), QueueBounds::default(), notice()).unwrap();
    for _ in 0..100 {
        queue.push("line\n", Urgency::Batched);
    }
    drop(guard);
    assert_eq!(kept.text().lines().count(), 100);
}

#[test]
fn a_broken_sink_counts_its_lines_and_does_not_stop_the_process() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (queue, _guard) = start(Box::new(Broken), QueueBounds::default(), notice()).unwrap();
    queue.push("x\n", Urgency::Now);
    assert!(queue.flush(PATIENCE));
    assert_eq!(queue.dropped(), 1);
}
