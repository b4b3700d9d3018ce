use std::collections::VecDeque;

use tokio::sync::Semaphore;
use tokio::task::{LocalSet, yield_now};

use super::*;

/// Too many open files (errno(3)).
const EMFILE: i32 = 24;
const PATIENCE: Duration = Duration::from_secs(10);

/// A holder that answers as it is told.
#[derive(Default)]
struct Scripted {
    /// What it answers first; afterwards it makes what it is asked for.
    errors: RefCell<VecDeque<SocketsError>>,
    asked: RefCell<Vec<usize>>,
    /// How many requests it may still answer, if it may not answer all.
    answers: Option<Semaphore>,
}

impl Makes for Rc<Scripted> {
    async fn make(
        &self,
        _: Arc<str>,
        _: Family,
        _: SocketKind,
        count: usize,
    ) -> Result<Vec<OwnedFd>, SocketsError> {
        self.asked.borrow_mut().push(count);
        if let Some(answers) = &self.answers {
            answers
                .acquire()
                .await
                .expect("it is never closed")
                .forget();
        }
        if let Some(error) = self.errors.borrow_mut().pop_front() {
            return Err(error);
        }
        let any = || std::fs::File::open("/dev/null").map(OwnedFd::from);
        let made = (0..count).map(|_| any());
        Ok(made.collect::<io::Result<_>>().expect("a descriptor"))
    }
}

/// Runs on a clock that stands still while anything can go on.
fn run(script: Scripted, batch: usize, test: impl AsyncFnOnce(Rc<Stock<Rc<Scripted>>>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let stock = Stock::new(Arc::from("a"), Rc::new(script), batch, PATIENCE);
    LocalSet::new().block_on(&runtime.expect("a runtime"), test(stock));
}

async fn take(stock: &Rc<Stock<Rc<Scripted>>>) -> Result<OwnedFd, StockError> {
    let taken = stock.take(Family::V4, SocketKind::Outbound).await;
    // What was ordered arrives.
    for _ in 0..4 {
        yield_now().await;
    }
    taken
}

#[test]
fn batches_grow_with_demand_up_to_the_setting() {
    run(Scripted::default(), 8, async |stock| {
        for _ in 0..40 {
            take(&stock).await.expect("a socket");
            sleep(SOON).await;
        }
        // The first finds nothing; afterwards the batch is enough for who takes one at a time.
        let asked = stock.maker.asked.borrow();
        assert!(asked.iter().all(|count| *count == 4), "{asked:?}");
    });
    run(Scripted::default(), 16, async |stock| {
        for _ in 0..3 {
            let all: Vec<_> = (0..40)
                .map(|_| {
                    let stock = Rc::clone(&stock);
                    tokio::task::spawn_local(async move { take(&stock).await })
                })
                .collect();
            for one in all {
                one.await.expect("it ends").expect("a socket");
            }
        }
        let asked = stock.maker.asked.borrow();
        assert_eq!(asked[..3], [4, 8, 16]);
        assert!(asked.iter().all(|count| *count <= 16), "{asked:?}");
        assert!(asked.iter().sum::<usize>() <= 120 + 2 * 16, "{asked:?}");
    });
}

#[test]
fn a_quiet_pod_gives_back_what_it_does_not_need() {
    run(Scripted::default(), 16, async |stock| {
        let many: Vec<_> = (0..40)
            .map(|_| stock.take(Family::V4, SocketKind::Outbound))
            .collect();
        for one in many {
            one.await.expect("a socket");
        }
        let shelf = stock.shelf(Family::V4, SocketKind::Outbound);
        sleep(QUIET / 2).await;
        assert!(shelf.ready.borrow().len() > FIRST);
        sleep(QUIET * 2).await;
        assert_eq!(shelf.ready.borrow().len(), FIRST);
        // And begins anew.
        for _ in 0..40 {
            take(&stock).await.expect("a socket");
        }
        sleep(QUIET * 3).await;
        assert_eq!(shelf.ready.borrow().len(), FIRST);
    });
}

#[test]
fn without_a_stock_each_is_asked_for_when_it_is_needed() {
    run(Scripted::default(), 0, async |stock| {
        for _ in 0..3 {
            take(&stock).await.expect("a socket");
        }
        assert_eq!(*stock.maker.asked.borrow(), [1, 1, 1]);
    });
}

#[test]
fn without_an_answer_the_stock_is_used_up_and_then_the_wait_is_bounded() {
    let script = Scripted {
        answers: Some(Semaphore::new(2)),
        ..Scripted::default()
    };
    run(script, 4, async |stock| {
        // Two answers of four.
        for _ in 0..8 {
            take(&stock).await.expect("a socket");
        }
        let began = Instant::now();
        let late = take(&stock).await.expect_err("nobody answers");
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(late.to_string().contains("nobody answered"), "{late}");
        // Whoever waits when the answers come again is served, and what was ordered is not forgotten.
        let waiting = Rc::clone(&stock);
        let waiting = tokio::task::spawn_local(async move { take(&waiting).await });
        yield_now().await;
        if let Some(answers) = &stock.maker.answers {
            answers.add_permits(100);
        }
        waiting.await.expect("it ends").expect("a socket");
        assert!(began.elapsed() < PATIENCE * 2);
    });
}

#[test]
fn errors_that_pass_are_waited_out_and_others_are_not() {
    let script = |errors: Vec<SocketsError>| Scripted {
        errors: RefCell::new(errors.into()),
        ..Scripted::default()
    };
    let full = |number| SocketsError::Duplicate(io::Error::from_raw_os_error(number));
    run(
        script(vec![SocketsError::Stopped, full(EMFILE)]),
        0,
        async |stock| {
            take(&stock).await.expect("a socket");
            assert_eq!(stock.maker.asked.borrow().len(), 3);
        },
    );
    run(
        script(vec![SocketsError::UnknownPod(Arc::from("a"))]),
        0,
        async |stock| {
            let refused = take(&stock).await.expect_err("it is not known");
            assert!(matches!(refused, StockError::Refused(_)), "{refused}");
        },
    );
}
