//! Stopping in order: no new claims, waiters told, holders waited for, the rest given back.
//! In: the wish to stop. Out: when the process may end. Never: a session closed under a holder.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::desk::Desk;
use super::driver::Driver;
use super::handle::DrainView;
use crate::world::clock::Instant;

/// How long a stop waits for the core to hear of releases and of the session's end.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How far it has come; watched by those who wait for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    begun: bool,
    /// Claims that are waited for, see [`Desk::unfinished`].
    live: u64,
    /// The core has answered all that was sent.
    settled: bool,
}

/// The state of the one drain of a process.
pub(super) struct Drain {
    bound: Duration,
    until: OnceLock<Instant>,
    progress: watch::Sender<Progress>,
}

impl Drain {
    /// Not begun; once it is, holders are waited for so long.
    pub(super) fn new(bound: Duration) -> Self {
        Self {
            bound,
            until: OnceLock::new(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// To be called after each step of the desk.
    pub(super) fn saw(&self, desk: &Desk) {
        if !desk.is_draining() {
            return;
        }
        let progress = Progress {
            begun: true,
            live: desk.unfinished(),
            settled: desk.is_settled(),
        };
        self.progress.send_if_modified(|before| {
            let changed = *before != progress;
            *before = progress;
            changed
        });
    }

    async fn reaches(&self, wanted: impl FnMut(&Progress) -> bool) {
        // The sender lives as long as this borrow of it, so the wait cannot be cut off.
        if self.progress.subscribe().wait_for(wanted).await.is_err() {
            tracing::debug!("nobody drains any more");
        }
    }
}

impl Driver {
    /// Begins to stop; see [`super::handle::Sidecar::drain`].
    pub fn begin_drain(&self) -> DrainView {
        let (view, anew) = self.step(|inner, now| {
            let anew = !inner.desk.is_draining();
            if anew {
                inner.desk.drain(now);
            }
            let until = *self.drain.until.get_or_init(|| now + self.drain.bound);
            let granted = inner.desk.live();
            let left = until.since(now);
            (DrainView { granted, left }, anew)
        });
        if anew {
            tracing::info!(
                holds = view.granted,
                "draining: no new claims, waiting for holders"
            );
        }
        view
    }

    /// Waits for somebody to begin a drain.
    pub async fn draining(&self) {
        self.drain.reaches(|progress| progress.begun).await;
    }

    /// Waits until nothing is held here any more, or for as long as holders are waited for.
    pub async fn drained(&self) {
        let until = self.drain.until.get().copied();
        let left = until.map_or(self.drain.bound, |until| until.since(self.clock.now()));
        let idle = self.drain.reaches(|progress| progress.live == 0);
        if timeout(left, idle).await.is_err() {
            let holds = self.step(|inner, _| inner.desk.unfinished());
            tracing::warn!(
                holds,
                "stops although claims hold: their session is left to expire"
            );
        }
    }

    /// Stops, without waiting for holders: closes the session if nothing is held under it; otherwise the
    /// session is left to expire, since its holders may still act.
    pub async fn shutdown(&self) {
        self.begin_drain();
        let end = self.clock.now() + CLOSE_WITHIN;
        // Releases go first, so that waiting claims leave their queues at once.
        let settled = self.drain.reaches(|progress| progress.settled);
        if timeout(CLOSE_WITHIN, settled).await.is_err() {
            tracing::info!("the core did not confirm all releases in time");
        }
        let closing = self.step(|inner, now| {
            // A session that ends takes along what holds on for its `min_hold`.
            let closed = inner.desk.unfinished() == 0;
            let caller = closed.then(|| inner.desk.close(now)).flatten()?;
            Some(inner.wait_for(caller))
        });
        if let Some(closed) = closing {
            let left = end.since(self.clock.now()).max(CLOSE_WITHIN / 2);
            if timeout(left, closed).await.is_err() {
                tracing::info!("the core did not confirm the end of the session in time");
            }
            // Nothing was held, so there is nothing to go on with.
            self.step(|inner, _| inner.forget_book());
        }
        self.stop_tasks().await;
    }
}
