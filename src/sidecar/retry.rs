//! PURE: when trying again may make sense.
//! In: observed hold times, queue lengths, a random number. Out: durations with jitter. Never: zero.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Below this a retry only adds load.
const LEAST: Duration = Duration::from_millis(50);
/// Above this an estimate says more about the estimate than about the lock.
const MOST: Duration = Duration::from_secs(5);
/// After "no quorum": about one election.
const ELECTION: Duration = Duration::from_secs(1);
/// Before any hold was seen.
const HOLD_GUESS: Duration = Duration::from_millis(200);

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

    /// For too many requests here.
    pub fn overloaded(&self, rng: &mut StdRng) -> Duration {
        jitter(ELECTION / 2, rng)
    }
}

/// Between half and one and a half of it, so that those refused together do not return together.
fn jitter(base: Duration, rng: &mut StdRng) -> Duration {
    let base = base.clamp(LEAST, MOST);
    base.mul_f64(rng.random_range(0.5..1.5))
}
