//! Obeys the holder: one order after the other, from the first to the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use node_agent_admin::{PendingTask, Readiness};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::driven::Driver;
use super::sites::Sites;
use crate::link::{Holder, Order, Report};
use crate::stop::{Wish, Wishes};
use crate::tunnel_port::TunnelPort;

/// How often a drain that goes on accepting looks whether anything is left.
const STEP: Duration = Duration::from_millis(50);
/// The threads of the tunnel give a sign of life within this time.
const ALIVE: Duration = Duration::from_secs(5);

/// A worker whose holder dies while a successor takes over waits so long for somebody who needs it.
const HEIRLESS: Duration = Duration::from_secs(5);

/// Whoever drives, while it is polled.
type Driving = Pin<Box<dyn Future<Output = ()>>>;

/// The worker from here on.
pub(super) struct Obedience {
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) holder: Holder,
    pub(super) wishes: Wishes,
    pub(super) sites: Sites,
    pub(super) readiness: Readiness,
    pub(super) tunnel: TunnelPort,
    pub(super) drain_deadline: Duration,
    pub(super) succession_deadline: Duration,
    /// Orders that came while something else had to be finished first.
    pub(super) kept: VecDeque<Order>,
    /// Told to be quiet for a successor.
    pub(super) quiet: bool,
    /// When a quiet worker without a holder takes it that the successor serves.
    pub(super) heirless: Option<Instant>,
    /// The sites.
    pub(super) tasks: JoinSet<()>,
}

/// How the end came about.
struct Retirement {
    patience: Duration,
    accepting: bool,
}

impl Obedience {
    /// Runs until an order, or a signal where there is no holder, ends it.
    pub(super) async fn until_the_end(
        mut self,
        starting: impl Future<Output = anyhow::Result<Driver>>,
    ) -> anyhow::Result<()> {
        let mut driver = self.until_started(starting).await?;
        tokio::spawn({
            let (readiness, holder) = (self.readiness.clone(), self.holder.clone());
            async move {
                readiness.ready().await;
                holder.report(Report::Serving);
                // Much of it was needed to start and is not needed to go on.
                tokio::time::sleep(node_agent_confine::SETTLED).await;
                node_agent_confine::forget_program();
            }
        });
        let mut without_holder = None;
        let mut driving = driver.drive();
        let retirement = loop {
            let order = match self.next(&mut driving, without_holder.is_some()).await {
                Next::Order(order) => order,
                Next::Retire(retirement) => break retirement,
            };
            let retire = self.obey(order, &mut driver, &mut without_holder).await?;
            if let Some(retirement) = retire {
                break retirement;
            }
        };
        self.retire(driver, retirement).await
    }

    /// Until the parts are up only what cannot wait is done.
    async fn until_started(
        &mut self,
        starting: impl Future<Output = anyhow::Result<Driver>>,
    ) -> anyhow::Result<Driver> {
        tokio::pin!(starting);
        loop {
            tokio::select! {
                started = &mut starting => return started,
                order = self.orders.recv() => match order {
                    Some(Order::Serve(site, listener)) => {
                        self.sites.serve(site, listener, &mut self.tasks);
                    }
                    Some(Order::Ping) => self.holder.report(Report::Alive),
                    Some(order) => self.kept.push_back(order),
                    None => anyhow::bail!("the link to the holder has ended"),
                },
            }
        }
    }

    async fn next(&mut self, driving: &mut Driving, alone: bool) -> Next {
        loop {
            let wish = tokio::select! {
                order = next_order(&mut self.kept, &mut self.orders) => return Next::Order(order),
                () = &mut *driving => std::future::pending().await,
                () = until(self.heirless) => {
                    tracing::info!("the holder died after it had passed everything to a successor");
                    return Next::Retire(Retirement {
                        patience: self.succession_deadline,
                        accepting: false,
                    });
                }
                wish = self.wishes.next() => wish,
            };
            match wish {
                Wish::Admin if !alone => self.holder.report(Report::StopAsked),
                Wish::Signal(signal) if !alone => {
                    tracing::info!(signal, "the holder decides when to stop, not this process");
                }
                Wish::Admin | Wish::Signal(_) => {
                    tracing::info!(?wish, "stopping; there is no holder");
                    return Next::Retire(Retirement {
                        patience: self.drain_deadline,
                        accepting: true,
                    });
                }
            }
        }
    }

    async fn obey(
        &mut self,
        order: Order,
        driver: &mut Driver,
        without_holder: &mut Option<PendingTask>,
    ) -> anyhow::Result<Option<Retirement>> {
        match order {
            Order::Serve(site, listener) => self.sites.serve(site, listener, &mut self.tasks),
            Order::Ping => self.give_sign_of_life(),
            Order::Quieten => match self.pause(driver).await {
                Ok(()) => {
                    self.quiet = true;
                    tracing::info!("quiet: a successor takes over");
                    self.holder.report(Report::Quiet);
                }
                Err(error) => tracing::error!("cannot become quiet for a successor: {error:#}"),
            },
            Order::Resume => self.resume(driver)?,
            Order::HolderGone => {
                *without_holder = Some(self.readiness.task("holder"));
                self.heirless = self.quiet.then(|| Instant::now() + HEIRLESS);
            }
            Order::HolderBack => {
                *without_holder = None;
                self.heirless = None;
            }
            Order::Retire {
                patience,
                accepting,
            } => {
                return Ok(Some(Retirement {
                    patience,
                    accepting,
                }));
            }
        }
        Ok(None)
    }

    /// Pausing waits for pods on their way in, longer than a holder waits for a sign of life; orders
    /// that come meanwhile are kept for later.
    async fn pause(&mut self, driver: &mut Driver) -> anyhow::Result<()> {
        let pausing = driver.pause();
        tokio::pin!(pausing);
        loop {
            tokio::select! {
                paused = &mut pausing => return paused,
                order = self.orders.recv() => match order {
                    Some(Order::Ping) => self.give_sign_of_life(),
                    Some(order) => self.kept.push_back(order),
                    None => std::future::pending().await,
                },
            }
        }
    }

    fn resume(&mut self, driver: &mut Driver) -> anyhow::Result<()> {
        driver.resume()?;
        if std::mem::take(&mut self.quiet) {
            tracing::info!("going on: no successor took over");
        }
        Ok(())
    }

    /// In a task of its own: a thread that hangs must not keep orders from being obeyed.
    fn give_sign_of_life(&self) {
        let (tunnel, holder) = (self.tunnel.clone(), self.holder.clone());
        tokio::spawn(async move {
            if tunnel.alive(ALIVE).await {
                holder.report(Report::Alive);
            } else {
                tracing::error!("a thread that moves traffic hangs; the holder will replace us");
            }
        });
    }

    async fn retire(mut self, mut driver: Driver, first: Retirement) -> anyhow::Result<()> {
        if let Err(error) = self.pause(&mut driver).await {
            tracing::error!("the table of enrolled pods may not be whole: {error:#}");
        }
        let mut retirement = first;
        let cut = loop {
            if !retirement.accepting {
                // The successor answers; what this process would say of pods is out of date.
                self.tasks.abort_all();
            }
            let Retirement {
                patience,
                accepting,
            } = retirement;
            let tunnel = self.tunnel.clone();
            let drain = async move {
                if accepting {
                    wait_until_unused(&tunnel, Instant::now() + patience).await;
                    tunnel.drain(Duration::ZERO).await
                } else {
                    tunnel.drain(patience).await
                }
            };
            tokio::select! {
                cut = drain => break cut,
                changed = self.other_retirement() => retirement = changed,
            }
        };
        tracing::info!(connections_cut = cut, "stopped");
        self.holder.report(Report::Retired { cut });
        Ok(())
    }

    /// While the end is near, a successor may still come, or somebody be in a hurry.
    async fn other_retirement(&mut self) -> Retirement {
        loop {
            match next_order(&mut self.kept, &mut self.orders).await {
                Order::Retire {
                    patience,
                    accepting,
                } => {
                    return Retirement {
                        patience,
                        accepting,
                    };
                }
                Order::Ping => self.give_sign_of_life(),
                Order::Quieten => self.holder.report(Report::Quiet),
                Order::Serve(site, listener) => {
                    self.sites.serve(site, listener, &mut self.tasks);
                }
                Order::Resume | Order::HolderGone | Order::HolderBack => {}
            }
        }
    }
}

enum Next {
    Order(Order),
    Retire(Retirement),
}

/// The next order: those that were kept come first. Cancel-safe.
async fn next_order(
    kept: &mut VecDeque<Order>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> Order {
    if let Some(order) = kept.pop_front() {
        return order;
    }
    match orders.recv().await {
        Some(order) => order,
        // The thread of the link ends only with the process.
        None => std::future::pending().await,
    }
}

/// Never without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Goes on accepting until nobody is connected any more or the time is up.
async fn wait_until_unused(tunnel: &TunnelPort, until: Instant) {
    while tunnel.connections().await > 0 && Instant::now() < until {
        tokio::time::sleep_until(until.min(Instant::now() + STEP)).await;
    }
}
