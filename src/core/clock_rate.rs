//! PURE: how far the clock of leases runs from the raw one.
//! In: readings of both, taken together. Out: the difference of their rates over the last minute, in parts per
//! million. Never: a judgement over less than some seconds, or over a suspend, which only one of them counts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::world::clock::Instant;

/// How often a reading is worth keeping.
const EVERY: Duration = Duration::from_secs(5);
/// Readings of one minute.
const KEPT: usize = 13;
/// Over less than this, the time between the two readings of a pair matters.
const LEAST: Duration = Duration::from_secs(10);
/// No time service slews by so much: that was a suspend.
const SUSPEND_PPM: f64 = 200_000.0;

/// Pairs of readings.
#[derive(Debug, Default)]
pub struct ClockRate {
    /// The clock of leases, the raw one; oldest first.
    readings: VecDeque<(Instant, Instant)>,
}

impl ClockRate {
    /// Takes a pair of readings.
    pub fn read(&mut self, lease: Instant, raw: Instant) {
        let due = |last: &(Instant, Instant)| lease.since(last.0) >= EVERY;
        if !self.readings.back().is_none_or(due) {
            return;
        }
        self.readings.push_back((lease, raw));
        if self.readings.len() > KEPT {
            self.readings.pop_front();
        }
        if self.error_ppm().abs() > SUSPEND_PPM {
            self.readings.clear();
        }
    }

    /// Positive if the clock of leases is the faster one; 0 before anything is known.
    pub fn error_ppm(&self) -> f64 {
        let (Some(first), Some(last)) = (self.readings.front(), self.readings.back()) else {
            return 0.0;
        };
        let (lease, raw) = (last.0.since(first.0), last.1.since(first.1));
        if raw < LEAST {
            return 0.0;
        }
        (lease.as_secs_f64() / raw.as_secs_f64() - 1.0) * 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_boot(Duration::from_millis(ms))
    }

    #[test]
    fn a_slewed_clock_is_seen_within_a_minute() {
        let mut rate = ClockRate::default();
        for second in 0..60_u64 {
            rate.read(at(second * 1_000), at(second * 1_000));
        }
        assert!(rate.error_ppm().abs() < 1.0);
        // Faster by half a thousandth from here on.
        for second in 60..180_u64 {
            rate.read(at(second * 1_000 + (second - 60) / 2), at(second * 1_000));
        }
        assert!(
            (rate.error_ppm() - 500.0).abs() < 50.0,
            "{}",
            rate.error_ppm()
        );
    }

    #[test]
    fn a_suspend_is_no_error_of_rate() {
        let mut rate = ClockRate::default();
        for second in 0..30_u64 {
            rate.read(at(second * 1_000), at(second * 1_000));
        }
        for second in 30..60_u64 {
            rate.read(at(3_600_000 + second * 1_000), at(second * 1_000));
        }
        assert!(rate.error_ppm().abs() < 1.0);
    }
}
