//! One worker of a run: acquires, holds, releases, and writes down what it saw.
//! In: a client, a plan, the time that counts. Out: records. Never: an operation left out because it was slow.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sidelock::world::clock::{BootClock, Clock, Instant};

use super::load::{Locks, Outcome, Pace, Plan, Window};
use super::schedule::Schedule;
use crate::clients::{Client, Failure, Shape, Want};

/// After a refusal or an error in a closed loop, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(1);

/// A timer fires up to its granularity late. For a worker that was idle when an operation was due, that is
/// no fault of the peer; more than this is one of the machine that all share, and counts.
const TIMER_LATE_MAX: Duration = Duration::from_millis(2);

/// A lock that was granted, in nanoseconds since the run began.
#[derive(Debug, Clone)]
pub struct Grant {
    pub worker: usize,
    pub granted_ns: u64,
}

/// Writes down what a worker sees within the time measured. Shared by many: thousands of histograms would
/// weigh more than what is measured.
pub struct Recorder {
    /// Locked for some nanoseconds at a time, and never across an await.
    pub outcome: Arc<Mutex<Outcome>>,
    /// Number of the worker.
    pub worker: usize,
    pub window: Window,
    /// Whether to write down each grant.
    pub logs: bool,
}

/// When an operation was due, and when a worker was free to begin it.
#[derive(Debug, Clone, Copy)]
struct Begun {
    due: Instant,
    sent: Instant,
}

/// Works until the time is over and the last pair is finished.
pub async fn run(mut client: Box<dyn Client>, plan: Arc<Plan>, recorder: Recorder) {
    let (number, window) = (recorder.worker, recorder.window);
    let mut rng = StdRng::seed_from_u64(number as u64);
    let mut schedule = match plan.pace {
        Pace::Closed => None,
        Pace::Open { per_second } => Some(Schedule::new(per_second, number, plan.workers)),
    };
    loop {
        let due = match &mut schedule {
            None => BootClock.now(),
            Some(schedule) => {
                let due = window.start + schedule.due();
                schedule.advance();
                match due < window.until {
                    true => sleep_until(due).await,
                    false => due,
                }
            }
        };
        if due >= window.until {
            return;
        }
        if BootClock.now() >= window.until {
            recorder.never_begun(due);
            continue;
        }
        let begun = Begun {
            due,
            sent: BootClock.now(),
        };
        let name = lock_name(&plan, number, &mut rng);
        let want = Want {
            lock: &name,
            shape: shape(&plan, &mut rng),
        };
        let failed = match client.acquire(want).await {
            Ok(held) => {
                recorder.granted(begun);
                if !plan.hold.is_zero() {
                    tokio::time::sleep(plan.hold).await;
                }
                let asked = BootClock.now();
                let released = client.release(&held).await;
                recorder.released(asked, released)
            }
            Err(failure) => {
                recorder.failed(failure, begun.sent);
                true
            }
        };
        if failed && schedule.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// When the operation counts from: when it was due, but for the lateness of a timer.
async fn sleep_until(due: Instant) -> Instant {
    let left = due.since(BootClock.now());
    if left.is_zero() {
        return due;
    }
    tokio::time::sleep(left).await;
    let now = BootClock.now();
    match now.since(due) <= TIMER_LATE_MAX {
        true => now,
        false => due,
    }
}

fn lock_name(plan: &Plan, number: usize, rng: &mut StdRng) -> String {
    match &plan.locks {
        Locks::Own(folder) => format!("{folder}/{number}"),
        Locks::Named(names) => names[number % names.len()].clone(),
        Locks::Local { folder, percent } => {
            let of = match rng.random_range(0..100) < *percent {
                true => number,
                false => rng.random_range(0..plan.workers),
            };
            format!("{folder}/{of}")
        }
    }
}

fn shape(plan: &Plan, rng: &mut StdRng) -> Shape {
    match plan.writers_percent {
        0 => plan.shape,
        percent if rng.random_range(0..100) < percent => Shape::Exclusive,
        _ => plan.shape,
    }
}

impl Window {
    fn holds(&self, now: Instant) -> bool {
        now >= self.from && now < self.until
    }

    fn ns(&self, instant: Instant) -> u64 {
        u64::try_from(instant.since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Recorder {
    fn granted(&self, begun: Begun) {
        let now = BootClock.now();
        if !self.window.holds(now) {
            return;
        }
        let mut outcome = self.locked();
        let urls = outcome.by_url.len();
        outcome.by_url[self.worker % urls] += 1;
        outcome.acquire.record(now.since(begun.due));
        outcome.service.record(now.since(begun.sent));
        if self.logs {
            outcome.grants.push(Grant {
                worker: self.worker,
                granted_ns: self.window.ns(now),
            });
        }
    }

    /// Tells whether it failed.
    fn released(&self, asked: Instant, outcome: Result<(), Failure>) -> bool {
        let now = BootClock.now();
        match outcome {
            Ok(()) => {
                if self.window.holds(now) {
                    self.locked().release.record(now.since(asked));
                }
                false
            }
            Err(failure) => {
                self.failed(failure, asked);
                true
            }
        }
    }

    fn failed(&self, failure: Failure, sent: Instant) {
        let now = BootClock.now();
        if !self.window.holds(now) {
            return;
        }
        let mut outcome = self.locked();
        match failure {
            Failure::Refused(word) => {
                outcome.refused.record(now.since(sent));
                *outcome.refusals.entry(word).or_default() += 1;
            }
            Failure::Broken(error) => {
                *outcome.errors.entry(error.to_string()).or_default() += 1;
            }
        }
    }

    /// It waited until the end at least, and is counted so.
    fn never_begun(&self, due: Instant) {
        if due >= self.window.from {
            let mut outcome = self.locked();
            outcome.acquire.record(self.window.until.since(due));
            outcome.unserved += 1;
        }
    }

    fn locked(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().expect("nobody panics while it records")
    }
}
