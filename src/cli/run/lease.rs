//! PURE: when `run` must renew, and when its command must be gone.
//! In: when a request was sent, and the two figures of its answer. Out: instants. Never: a clock.

use std::time::Duration;

use crate::world::clock::Instant;

/// Most time that the command gets between SIGTERM and SIGKILL.
const GRACE_MAX: Duration = Duration::from_secs(2);
/// Between SIGKILL and the deadline: time for the kernel to end the group, and for our own wake-up.
const MARGIN_MAX: Duration = Duration::from_millis(200);

/// What one answered request is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    sent: Instant,
    window: Duration,
}

impl Lease {
    /// `sent` is read before the request leaves: early is safe. The hold is certain for the lesser
    /// of the app's lease and the session's safe time.
    pub fn new(sent: Instant, expires_in: Duration, safe_for: Duration) -> Self {
        Self {
            sent,
            window: expires_in.min(safe_for),
        }
    }

    /// A third of the window: two more tries fit in.
    pub fn renew_at(self) -> Instant {
        self.sent + self.window / 3
    }

    /// SIGTERM, so that the command has a quarter of the window, at most 2 s, to end by itself.
    pub fn term_at(self) -> Instant {
        let kill_at = self.kill_at().since(self.sent);
        self.sent + kill_at.saturating_sub((self.window / 4).min(GRACE_MAX))
    }

    /// SIGKILL: before the deadline by a tenth of the window, at most 200 ms.
    pub fn kill_at(self) -> Instant {
        self.sent
            + self
                .window
                .saturating_sub((self.window / 10).min(MARGIN_MAX))
    }

    /// The later of the two: answers may overtake each other.
    pub fn latest(self, other: Self) -> Self {
        if other.kill_at() > self.kill_at() {
            other
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_boot(Duration::from_millis(ms))
    }

    #[test]
    fn instants_keep_their_order() {
        // sent, expires_in, safe_for -> renew, term, kill
        for (sent, expires_in, safe_for, renew, term, kill) in [
            (0, 10_000, 9_800, 3_266, 7_600, 9_600),
            (1_000, 10_000, 6_000, 3_000, 5_300, 6_800),
            (0, 500, 9_000, 166, 325, 450),
            (0, 60_000, 0, 0, 0, 0),
        ] {
            let ms = Duration::from_millis;
            let lease = Lease::new(at(sent), ms(expires_in), ms(safe_for));
            let whole = |instant: Instant| instant.since_boot().as_millis();
            let got = (
                whole(lease.renew_at()),
                whole(lease.term_at()),
                whole(lease.kill_at()),
            );
            assert_eq!(got, (renew, term, kill), "{sent} {expires_in} {safe_for}");
            assert!(lease.kill_at() <= at(sent) + ms(expires_in.min(safe_for)));
        }
    }

    #[test]
    fn an_older_answer_never_shortens_the_hold() {
        let newer = Lease::new(at(3_000), Duration::from_secs(10), Duration::from_secs(9));
        let older = Lease::new(at(0), Duration::from_secs(10), Duration::from_secs(9));
        assert_eq!(newer.latest(older), newer);
        assert_eq!(older.latest(newer), newer);
    }
}
