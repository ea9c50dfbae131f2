//! PURE: when an open loop's operations are due, whatever becomes of those before.
//! In: a rate, a worker's place among all. Out: due times since the start. Never: a clock.

use std::time::Duration;

/// The due times of one worker: an equal share of the rate, evenly staggered among the workers.
#[derive(Debug, Clone)]
pub struct Schedule {
    first: Duration,
    interval: Duration,
    begun: u32,
}

impl Schedule {
    /// For `worker` of `workers`, who together begin `per_second` operations a second.
    pub fn new(per_second: f64, worker: usize, workers: usize) -> Self {
        let between = Duration::from_secs_f64(1.0 / per_second.max(1e-9));
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            first: between * count(worker),
            interval: between * count(workers.max(1)),
            begun: 0,
        }
    }

    /// When the next operation is due.
    pub fn due(&self) -> Duration {
        self.first + self.interval * self.begun
    }

    /// The next one is begun.
    pub fn advance(&mut self) {
        self.begun += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_rate_evenly_and_in_turn() {
        let mut all = Vec::new();
        for worker in 0..4 {
            let mut schedule = Schedule::new(1000.0, worker, 4);
            while schedule.due() < Duration::from_millis(100) {
                all.push(schedule.due());
                schedule.advance();
            }
        }
        all.sort_unstable();
        let wanted: Vec<_> = (0..100).map(Duration::from_millis).collect();
        assert_eq!(all, wanted);
    }

    #[test]
    fn a_late_operation_does_not_move_the_next_one() {
        let mut schedule = Schedule::new(10.0, 0, 1);
        // However long the first three take, the fourth was due at 300 ms.
        for _ in 0..3 {
            schedule.advance();
        }
        assert_eq!(schedule.due(), Duration::from_millis(300));
    }
}
