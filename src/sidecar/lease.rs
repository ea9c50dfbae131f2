//! PURE: how long a session's hold is certain. The one place that computes a safe deadline.
//! In: when a renewal was sent, the ttl its acknowledgement states. Out: instants. Never: a clock.

use std::time::Duration;

use crate::planted::{self, Bug};
use crate::world::clock::Instant;

/// One million parts are the whole.
const MILLION: u64 = 1_000_000;

/// What is assumed about clocks, and kept in reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caution {
    /// Bound of the rate error between any two clocks, in parts per million (10_000 is 1 %).
    pub rho_ppm: u32,
    /// Taken off besides: time to act on what was just read.
    pub margin: Duration,
}

/// Design 5.1: until when a session is certain to stand in the core, by the acknowledgement of a renewal.
/// `sent` must be read *before* the renewal leaves: early is safe, late is a lost lock. Rounds down.
pub fn safe_until(sent: Instant, ttl: Duration, caution: Caution) -> Instant {
    let kept_ppm = MILLION.saturating_sub(u64::from(caution.rho_ppm));
    let (kept_ppm, margin) = if planted::is(Bug::RatesIgnored) {
        (MILLION, Duration::ZERO)
    } else {
        (kept_ppm, caution.margin)
    };
    let ttl_us = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
    // Divide first: exact to a microsecond below, and no product can overflow.
    let certain_us = (ttl_us / MILLION) * kept_ppm + (ttl_us % MILLION) * kept_ppm / MILLION;
    let certain = Duration::from_micros(certain_us);
    sent + certain.saturating_sub(margin)
}

/// What is left of a deadline; `None` once it is not ahead any more.
pub fn left(deadline: Instant, now: Instant) -> Option<Duration> {
    (deadline > now).then(|| deadline.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sent, ttl, rho in ppm, margin -> deadline; all times in milliseconds.
    const WORKED: &[(u64, u64, u32, u64, u64)] = &[
        (0, 10_000, 10_000, 100, 9_800),
        (5_000, 10_000, 10_000, 100, 14_800),
        (0, 10_000, 0, 0, 10_000),
        (0, 1_000, 50_000, 0, 950),
        // A margin larger than what is left promises nothing, but never reaches behind the send.
        (700, 100, 10_000, 500, 700),
        // Nonsense rates promise nothing.
        (700, 10_000, 1_000_000, 0, 700),
        (700, 10_000, u32::MAX, 0, 700),
        (0, 86_400_000, 10_000, 100, 85_535_900),
    ];

    #[test]
    fn rule_5_1_worked_table() {
        for (sent, ttl, rho_ppm, margin, expected) in WORKED.iter().copied() {
            let caution = Caution {
                rho_ppm,
                margin: Duration::from_millis(margin),
            };
            let sent = Instant::from_boot(Duration::from_millis(sent));
            let until = safe_until(sent, Duration::from_millis(ttl), caution);
            assert_eq!(until, Instant::from_boot(Duration::from_millis(expected)));
        }
    }

    #[test]
    fn an_endless_ttl_does_not_overflow() {
        let caution = Caution {
            rho_ppm: 10_000,
            margin: Duration::ZERO,
        };
        let until = safe_until(Instant::default(), Duration::MAX, caution);
        assert!(until > Instant::default());
    }
}
