//! A bound on how often one line of code logs, so that an outage does not bury its own cause.
//! In: events. Out: leave to be written, and how many of a place were held back. Never: a bound on errors of
//! different places together.
//!
//! Crates that do this tell events apart by their fields; a thousand sidecars that fail alike have a thousand
//! values. Here the place in the code is what counts: a token bucket for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::world::clock::{Instant, SharedClock};

/// So many at once.
const BURST: u32 = 50;
/// And one more each.
const EVERY: Duration = Duration::from_millis(200);

/// The filter.
pub(super) struct Throttle {
    clock: SharedClock,
    places: Mutex<HashMap<Identifier, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    filled: Instant,
    held_back: u64,
}

impl Throttle {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            places: Mutex::default(),
        }
    }

    /// Whether an event of this place may be written, and how many were held back before it.
    fn admit(&self, place: Identifier) -> Option<u64> {
        let now = self.clock.now();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = places.entry(place).or_insert(Bucket {
            left: BURST,
            filled: now,
            held_back: 0,
        });
        bucket.fill(now);
        if bucket.left == 0 {
            bucket.held_back += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.held_back))
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let passed = now.since(self.filled).as_millis() / EVERY.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > 0 {
            self.left = self.left.saturating_add(passed).min(BURST);
            self.filled = self.filled + EVERY * passed;
        }
    }
}

impl<S: Subscriber> Filter<S> for Throttle {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let place = event.metadata();
        // Its own line is as rare as what it counts.
        if place.target() == module_path!() {
            return true;
        }
        match self.admit(place.callsite()) {
            None => false,
            Some(0) => true,
            Some(held_back) => {
                let (file, line) = (place.file().unwrap_or(""), place.line().unwrap_or(0));
                tracing::warn!(
                    held_back,
                    file,
                    line,
                    "lines like the next were not written"
                );
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::world::clock::Clock;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Instant {
            Instant::from_boot(Duration::from_millis(self.0.load(Ordering::Relaxed)))
        }
    }

    #[test]
    fn a_place_may_burst_and_then_trickle() {
        let hand = Arc::new(Hand::default());
        let throttle = Throttle::new(hand.clone());
        let metadata = tracing::metadata! {
            name: "place", target: "t", level: tracing::Level::WARN, fields: &[],
            callsite: &PLACE, kind: tracing::metadata::Kind::EVENT
        };
        static PLACE: Place = Place;
        let place = || metadata.callsite();
        let written = (0..1_000)
            .filter(|_| throttle.admit(place()).is_some())
            .count();
        assert_eq!(written, BURST as usize);
        hand.0.store(199, Ordering::Relaxed);
        assert_eq!(throttle.admit(place()), None);
        hand.0.store(400, Ordering::Relaxed);
        assert_eq!(throttle.admit(place()), Some(951), "and how many were not");
        assert_eq!(throttle.admit(place()), Some(0));
        assert_eq!(throttle.admit(place()), None);
    }

    struct Place;

    impl tracing::Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("only its identity is asked for")
        }
    }
}
