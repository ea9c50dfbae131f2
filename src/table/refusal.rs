//! Why a claim is not accepted: what the edge cannot check, limits and bounds, who is in the way.
//! In: an ask. Out: its refusal, or nothing. Never: a change.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::command::{Acquire, Mode, Refusal, Want};
use super::id::{ClaimRef, LockName, PRIORITY_MAX};
use super::state::{Place, Table};

impl Table {
    /// What the edge cannot check for us, and the limit of a semaphore.
    pub(super) fn check(&self, ask: &Acquire) -> Result<(), Refusal> {
        if ask.locks.is_empty() {
            return Err(Refusal::Invalid(Arc::from(
                "a claim needs at least one lock",
            )));
        }
        if ask.priority > PRIORITY_MAX {
            return Err(Refusal::Invalid(Arc::from("priority must be 0 to 9")));
        }
        if !self.has_tokens(ask.locks.len()) {
            return Err(Refusal::Invalid(Arc::from(
                "the shard has no fencing tokens left",
            )));
        }
        let mut names = BTreeSet::new();
        for want in &ask.locks {
            if ask.locks.len() > 1 && !names.insert(&want.name) {
                return Err(Refusal::Invalid(Arc::from("a lock is named twice")));
            }
            if let Mode::Semaphore { permits, limit } = want.mode {
                if permits == 0 || permits > limit {
                    return Err(Refusal::Invalid(Arc::from(
                        "permits must be 1 to the limit",
                    )));
                }
                let lock = self.locks.get(&want.name).map(Box::as_ref);
                let in_force = self.limit_of(&want.name, lock).unwrap_or(limit);
                // Permits that are kept and not used fix no limit; see `trial.rs`.
                let open = self.firm_limit(want, Place::LAST).is_none();
                if in_force != limit && !open {
                    return Err(Refusal::SemaphoreLimit {
                        lock: want.name.clone(),
                        limit: in_force,
                    });
                }
            }
        }
        Ok(())
    }

    /// Who keeps a claim from a lock: its delay, else a holder, else the first who waits.
    pub(super) fn in_the_way(&self, name: &LockName) -> Refusal {
        self.in_the_way_of(name, None)
    }

    /// As [`Self::in_the_way`], for a claim that waits already.
    pub(super) fn in_the_way_of(&self, name: &LockName, waiter: Option<ClaimRef>) -> Refusal {
        let lock = self.locks.get(name).expect("a lock that blocks exists");
        if let Some(closed) = lock.closed {
            return Refusal::LockDelay {
                lock: name.clone(),
                delay_ms: closed.delay_ms,
            };
        }
        let other = self.blocker(name, waiter);
        let other = other.expect("a lock that blocks and is not closed is held or waited for");
        let waiting = lock.queue.len() - usize::from(waiter.is_some());
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        Refusal::Held {
            lock: name.clone(),
            holder: self.user_of(other).unwrap_or_else(|| self.party(other)),
            holders: count(lock.holders.len()),
            waiters: count(waiting),
        }
    }

    /// A claim that keeps others from a lock: a holder, else the first who waits.
    pub(super) fn blocker(&self, name: &LockName, waiter: Option<ClaimRef>) -> Option<ClaimRef> {
        let lock = self.locks.get(name)?;
        let mut waiting = lock.queue.values().filter(|other| Some(**other) != waiter);
        lock.holders.first().or_else(|| waiting.next()).copied()
    }

    /// The first lock for which too many wait already.
    pub(super) fn queue_full(&self, wants: &[Want]) -> Option<Refusal> {
        wants.iter().find_map(|want| {
            // A lock that nobody has used yet has an empty queue, which can be too long already.
            let lock = self.locks.get(&want.name);
            let waiting = lock.map_or(0, |lock| lock.queue.len());
            let (waiters_max, policy) = self.waiters_max_of(&want.name);
            (waiting >= waiters_max as usize).then(|| Refusal::QueueFull {
                lock: want.name.clone(),
                waiters_max,
                policy,
            })
        })
    }
}
