//! PURE: whether the cell can decide: what was last proven, and since when it is in doubt.
//! In: needs, proofs, losses. Out: normal | jeopardy | read-only. Never: a guess that outlives its bound.

use std::time::Duration;

use super::handle::{SidecarMode, Standing};
use crate::world::clock::Instant;

/// What is known of the cell's quorum. Silence proves nothing either way: doubt begins when something
/// that needs a quorum is asked and not answered, or when no leader is at hand.
#[derive(Debug)]
pub struct Quorum {
    bound: Duration,
    born: Instant,
    proven: Option<Instant>,
    doubt_since: Option<Instant>,
    refusing: bool,
    standing: Standing,
    mode_since: Instant,
}

impl Quorum {
    /// In doubt from the start: nothing is proven yet.
    pub fn new(now: Instant, bound: Duration) -> Self {
        Self {
            bound,
            born: now,
            proven: None,
            doubt_since: Some(now),
            refusing: false,
            standing: Standing {
                mode: SidecarMode::Normal,
                why: None,
            },
            mode_since: now,
        }
    }

    /// How long requests are held while in doubt.
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// When a quorum was last proven.
    pub fn proven_at(&self) -> Option<Instant> {
        self.proven
    }

    /// Something needs a quorum from now on, or the leader is gone.
    pub fn doubt(&mut self, now: Instant) {
        self.doubt_since.get_or_insert(now);
    }

    /// The leader has been gone for so long already, unless something was proven since.
    pub fn doubt_for(&mut self, now: Instant, silent: Duration) {
        let since = Instant::from_boot(now.since_boot().saturating_sub(silent));
        let since = since.max(self.proven.unwrap_or(self.born));
        self.doubt_since = Some(self.doubt_since.map_or(since, |doubt| doubt.min(since)));
    }

    /// A majority acknowledged something; `more`: something else still awaits its answer.
    pub fn prove(&mut self, now: Instant, more: bool) {
        self.proven = Some(now);
        self.doubt_since = more.then_some(now);
        self.refusing = false;
    }

    /// The last that was in doubt was answered, though the answer proves nothing.
    pub fn answered(&mut self, now: Instant) {
        if !self.is_lost(now) {
            self.doubt_since = None;
        }
    }

    /// No quorum was seen for longer than the bound.
    pub fn is_lost(&self, now: Instant) -> bool {
        self.doubt_since
            .is_some_and(|since| now >= since + self.bound)
    }

    /// True once when it is lost: what is held back must be refused now.
    pub fn starts_refusing(&mut self, now: Instant) -> bool {
        let starts = !self.refusing && self.is_lost(now);
        self.refusing |= starts;
        starts
    }

    /// When it will be lost unless it is proven.
    pub fn due(&self) -> Option<Instant> {
        if self.refusing {
            return None;
        }
        self.doubt_since.map(|since| since + self.bound)
    }

    /// The mode at this moment, worst first.
    pub fn mode(&self, now: Instant, jeopardy: bool) -> SidecarMode {
        if self.is_lost(now) {
            SidecarMode::ReadOnly
        } else if jeopardy {
            SidecarMode::Jeopardy
        } else {
            SidecarMode::Normal
        }
    }

    /// Notes how the sidecar stands by now.
    pub fn note(&mut self, now: Instant, standing: Standing) {
        if self.standing.mode != standing.mode {
            self.mode_since = now;
        }
        self.standing = standing;
    }

    /// As noted last.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How long the noted mode has lasted.
    pub fn lasted(&self, now: Instant) -> Duration {
        now.since(self.mode_since)
    }
}
