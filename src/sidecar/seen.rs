//! What a sidecar's steps look like from outside: metrics, the most contended locks, spans of holds.
//! In: sights of the desk. Out: instruments, a sketch, spans. Never: an answer to anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::handle::Obstacle;
use super::sight::{Held, Sight, Waited};
use crate::table::id::ClaimId;
use crate::telemetry::contention::{Contention, Sample};
use crate::telemetry::names;
use crate::telemetry::sidecar::Instruments;
use crate::telemetry::traces::{self, Trail};
use crate::world::clock::Instant;

/// Whoever looks at the desk's steps.
pub(super) struct Eyes {
    pub(super) instruments: Arc<Instruments>,
    identity: Arc<str>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    contention: Contention,
    /// Spans of claims that hold.
    holds: HashMap<ClaimId, Trail>,
}

impl Eyes {
    pub(super) fn new(instruments: Arc<Instruments>, identity: Arc<str>) -> Self {
        Self {
            instruments,
            identity,
            inner: Mutex::default(),
        }
    }

    /// Notes what a step has set off.
    pub(super) fn see(&self, now: Instant, sights: Vec<Sight>) {
        if sights.is_empty() {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for sight in sights {
            self.see_one(&mut inner, now, sight);
        }
    }

    /// Looks at the most contended locks.
    pub(super) fn contention<R>(&self, look: impl FnOnce(&mut Contention) -> R) -> R {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut inner.contention)
    }

    fn see_one(&self, inner: &mut Inner, now: Instant, sight: Sight) {
        match sight {
            Sight::Queued(lock) => inner.contention.queued(now, &lock),
            Sight::GaveUp { lock, since } => inner.contention.left(now, &lock, since, None),
            Sight::Waited(waited) => self.waited(inner, now, &waited),
            Sight::Held(held) => {
                let trail = hold_trail(&held);
                inner.holds.insert(held.claim_id, trail);
            }
            Sight::Ended {
                lock,
                state,
                reason,
                held,
                traced,
            } => {
                self.instruments.ended(state.word(), held);
                if let Some(held) = held {
                    inner.contention.held(now, &lock, held);
                }
                if let Some(trail) = traced.and_then(|id| inner.holds.remove(&id)) {
                    let held = held.unwrap_or_default();
                    trail.set(names::LOCK_HOLD_DURATION, held.as_secs_f64());
                    trail.set(names::LOCK_END_STATE, state.word());
                    if let Some(reason) = reason {
                        trail.set(names::LOCK_END_REASON, reason.word());
                    }
                }
            }
            Sight::Recalled {
                lock,
                wanted_by,
                users,
            } => {
                self.instruments.recalled();
                inner.contention.recalled(now, &lock);
                for trail in users.iter().filter_map(|id| inner.holds.get(id)) {
                    trail.set(names::LOCK_RECALL, true);
                    let wanted_by = wanted_by.as_ref();
                    trail.link(wanted_by.and_then(|party| {
                        traces::acquire_span(&party.trace_id, party.claim_id.as_str())
                    }));
                }
            }
            Sight::CoreAnswered(took) => self.instruments.core_answered(took),
            Sight::Jeopardy => self.instruments.in_jeopardy(),
        }
    }

    fn waited(&self, inner: &mut Inner, now: Instant, waited: &Waited) {
        self.instruments.waited(waited.waited, &waited.trace_id);
        if let Some(took) = waited.handed_over {
            self.instruments.handed_over(took, &waited.trace_id);
        }
        let sample = Sample {
            claim_id: waited.claim_id.as_str().into(),
            owner: waited.owner.as_str().into(),
            identity: Arc::clone(&self.identity),
            waited: waited.waited,
            behind: behind(&waited.obstacle),
            trace_id: Arc::clone(&waited.trace_id),
            at: now,
        };
        let since = waited.obstacle.since;
        inner
            .contention
            .left(now, &waited.lock, since, Some(sample));
    }
}

fn behind(obstacle: &Obstacle) -> Option<Arc<str>> {
    let party = obstacle.behind.as_ref()?;
    Some(party.claim_id.as_str().into())
}

/// The span of a hold, which lasts until its end. Its id is computed, so that those who wait may link to it.
fn hold_trail(held: &Held) -> Trail {
    let id = traces::hold_span(&held.trace.id, held.claim_id.as_str());
    let id = id.map(|context| context.span_id());
    let trail = Trail::below("lock.hold", held.trace.parent.as_deref(), id);
    trail.set(names::LOCK_NAME, held.lock.to_string());
    trail.set(names::LOCK_MODE, held.mode.word());
    trail.set(names::LOCK_CLAIM_ID, held.claim_id.to_string());
    trail.set_number(names::LOCK_TOKEN, held.token.get());
    trail
}
