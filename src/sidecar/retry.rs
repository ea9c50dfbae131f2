//! PURE: when trying again may make sense.
//! In: observed hold times, queue lengths, a random number. Out: durations with jitter. Never: zero.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::table::id::Seq;

/// Below this a retry only adds load.
const LEAST: Duration = Duration::from_millis(50);
/// Above this an estimate says more about the estimate than about the lock.
const MOST: Duration = Duration::from_secs(5);
/// After "no quorum": about one election.
const ELECTION: Duration = Duration::from_secs(1);
/// Before any hold was seen.
const HOLD_GUESS: Duration = Duration::from_millis(200);

/// Before what was refused for the moment goes again: at most this at first...
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// ...and this after several refusals in a row, or when the budget is used up.
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// Each operation pays for so many operations that go again, in percent.
const BUDGET_PERCENT: i64 = 20;
/// At most so many, so that a long calm does not pay for a storm.
const BUDGET_MAX: i64 = 1_000;

/// When what the core refused for the moment goes again: exponential backoff with full jitter (Brooker,
/// 2015), and a budget of one in five operations. It is always the same operation under the same number.
#[derive(Debug, Default)]
pub struct Retries {
    in_a_row: u32,
    /// In hundredths of an operation.
    budget: i64,
    newest: Seq,
}

impl Retries {
    /// This operation leaves, for the first time or again.
    pub fn sends(&mut self, seq: Seq) {
        if seq > self.newest {
            self.newest = seq;
            self.budget = (self.budget + BUDGET_PERCENT).min(BUDGET_MAX * 100);
        } else {
            self.budget = (self.budget - 100).max(-BUDGET_MAX * 100);
        }
    }

    /// The core takes operations.
    pub fn answered(&mut self) {
        self.in_a_row = 0;
    }

    /// How long to wait before all goes again.
    pub fn pause(&mut self, rng: &mut StdRng) -> Duration {
        let longest = if self.budget < 0 {
            PAUSE_MOST
        } else {
            PAUSE_FIRST
                .saturating_mul(1 << self.in_a_row.min(5))
                .min(PAUSE_MOST)
        };
        self.in_a_row += 1;
        longest.mul_f64(rng.random_range(0.0..1.0))
    }
}

/// What was observed here.
#[derive(Debug)]
pub struct Estimates {
    /// Moving average over the last ten holds or so.
    hold: Duration,
}

impl Default for Estimates {
    fn default() -> Self {
        Self { hold: HOLD_GUESS }
    }
}

impl Estimates {
    /// A hold ended after so long.
    pub fn saw_hold(&mut self, held: Duration) {
        self.hold = self.hold * 9 / 10 + held.min(Duration::from_secs(3_600)) / 10;
    }

    /// For a lock with so many waiters: each holds about as long as those seen here did.
    pub fn held(&self, waiters: u32, rng: &mut StdRng) -> Duration {
        // The present holder is half through on average.
        let turns = waiters.saturating_mul(2).saturating_add(1);
        jitter((self.hold / 2).saturating_mul(turns), rng)
    }

    /// For a cell without a quorum, or a session whose fate is open.
    pub fn unavailable(&self, rng: &mut StdRng) -> Duration {
        jitter(ELECTION, rng)
    }

    /// For too many requests here, each of which waits so long at present: when those before are served.
    pub fn overloaded(&self, delay: Duration, rng: &mut StdRng) -> Duration {
        jitter(delay, rng)
    }
}

/// Between half and one and a half of it, so that those refused together do not return together.
fn jitter(base: Duration, rng: &mut StdRng) -> Duration {
    let base = base.clamp(LEAST, MOST);
    base.mul_f64(rng.random_range(0.5..1.5))
}
