//! One worker of a run: acquires, holds, releases, and writes down what it saw.
//! In: a client, a plan, the time that counts. Out: a tally. Never: an operation left out because it was slow.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sidelock::world::clock::{BootClock, Clock, Instant};

use super::histogram::Latencies;
use super::load::{Locks, Pace, Plan, Window};
use super::schedule::Schedule;
use crate::clients::{Client, Failure, Shape, Want};

/// After a refusal or an error in a closed loop, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(1);

/// A timer fires up to its granularity late. For a worker that was idle when an operation was due, that is
/// no fault of the peer; more than this is one of the machine that all share, and counts.
const TIMER_LATE_MAX: Duration = Duration::from_millis(2);

/// What one worker saw within the time measured.
#[derive(Debug, Default)]
pub struct Tally {
    pub acquire: Latencies,
    pub service: Latencies,
    pub release: Latencies,
    pub refused: Latencies,
    pub refusals: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    pub unserved: u64,
    pub grants: Vec<Grant>,
}

/// A lock that was granted, in nanoseconds since the run began.
#[derive(Debug, Clone)]
pub struct Grant {
    pub worker: usize,
    pub granted_ns: u64,
}

/// When an operation was due, and when a worker was free to begin it.
#[derive(Debug, Clone, Copy)]
struct Begun {
    due: Instant,
    sent: Instant,
}

/// Works until the time is over and the last pair is finished.
pub async fn run(mut client: Box<dyn Client>, number: usize, plan: Plan, window: Window) -> Tally {
    let mut tally = Tally::default();
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
            return tally;
        }
        if BootClock.now() >= window.until {
            tally.never_begun(due, window);
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
                tally.granted(number, begun, window, plan.log_grants);
                if !plan.hold.is_zero() {
                    tokio::time::sleep(plan.hold).await;
                }
                let asked = BootClock.now();
                let released = client.release(&held).await;
                tally.released(asked, released, window)
            }
            Err(failure) => {
                tally.failed(failure, begun.sent, window);
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

impl Tally {
    fn granted(&mut self, worker: usize, begun: Begun, window: Window, log: bool) {
        let now = BootClock.now();
        if !window.holds(now) {
            return;
        }
        self.acquire.record(now.since(begun.due));
        self.service.record(now.since(begun.sent));
        if log {
            self.grants.push(Grant {
                worker,
                granted_ns: window.ns(now),
            });
        }
    }

    /// Tells whether it failed.
    fn released(&mut self, asked: Instant, outcome: Result<(), Failure>, window: Window) -> bool {
        let now = BootClock.now();
        match outcome {
            Ok(()) => {
                if window.holds(now) {
                    self.release.record(now.since(asked));
                }
                false
            }
            Err(failure) => {
                self.failed(failure, asked, window);
                true
            }
        }
    }

    fn failed(&mut self, failure: Failure, sent: Instant, window: Window) {
        let now = BootClock.now();
        if !window.holds(now) {
            return;
        }
        match failure {
            Failure::Refused(word) => {
                self.refused.record(now.since(sent));
                *self.refusals.entry(word).or_default() += 1;
            }
            Failure::Broken(error) => {
                *self.errors.entry(error.to_string()).or_default() += 1;
            }
        }
    }

    /// It waited until the end at least, and is counted so.
    fn never_begun(&mut self, due: Instant, window: Window) {
        if due >= window.from {
            self.acquire.record(window.until.since(due));
            self.unserved += 1;
        }
    }
}
