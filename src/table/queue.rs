//! Who is next: one rule for all modes, places by priority and arrival, promotion of the passed.
//! In: locks of which something was freed. Out: grants, in order.
//! Never: a waiter overtaken in its own class, or by priority more than 64 times.

use super::apply::Step;
use super::claim::CLAIM_IS_LIVE;
use super::command::{EndCause, Mode, Want};
use super::id::{ClaimRef, LockName, PRIORITY_MAX};
use super::state::{Key, Place, Stage, Table};
use crate::planted::{self, Bug};

/// A waiter that claims of a higher class, come later, were granted one of its locks before so many
/// times goes before them all from then on.
pub const PASSED_MAX: u32 = 64;

/// What some claims take of one lock: its holders, or holders and the waiters before a place. A waiter
/// counts like a holder for those behind it: that alone keeps writers from starving and a claim over
/// several locks in its place in each queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    exclusive: u32,
    shared: u32,
    permits: u64,
}

/// The limits that live semaphore claims of one lock state, each with how many state it. More than one
/// only after a policy changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Limits(Vec<(u32, u32)>);

impl Load {
    pub(super) fn add(&mut self, mode: Mode) {
        match mode {
            Mode::Exclusive => self.exclusive += 1,
            Mode::Shared => self.shared += 1,
            Mode::Semaphore { permits, .. } => self.permits += u64::from(permits),
        }
    }

    pub(super) fn remove(&mut self, mode: Mode) {
        match mode {
            Mode::Exclusive => self.exclusive -= 1,
            Mode::Shared => self.shared -= 1,
            Mode::Semaphore { permits, .. } => self.permits -= u64::from(permits),
        }
    }

    /// Whether a claim of this mode fits besides. A waiter from before the limit was lowered below its
    /// permits needs all of them, not more than there are: it was promised a turn.
    pub(super) fn admits(self, mode: Mode, limit: Option<u32>) -> bool {
        let free_of_others = self.exclusive == 0;
        match mode {
            Mode::Exclusive => free_of_others && self.shared == 0 && self.permits == 0,
            Mode::Shared => free_of_others && self.permits == 0,
            Mode::Semaphore {
                permits,
                limit: own,
            } => {
                let limit = limit.unwrap_or(own);
                let need = u64::from(permits.min(limit));
                free_of_others && self.shared == 0 && self.permits + need <= u64::from(limit)
            }
        }
    }

    /// Whether none of these claims can keep out one of this mode, whatever the limit.
    pub(super) fn is_clear_for(self, mode: Mode) -> bool {
        match mode {
            Mode::Shared => self.exclusive == 0 && self.permits == 0,
            Mode::Exclusive | Mode::Semaphore { .. } => {
                self.exclusive == 0 && self.shared == 0 && self.permits == 0
            }
        }
    }

    /// Whether no claim of any mode can fit besides, so that nobody further back need be looked at.
    pub(super) fn is_full(self, limit: Option<u32>) -> bool {
        self.exclusive > 0
            || (self.shared > 0 && self.permits > 0)
            || (self.permits > 0 && limit.is_some_and(|limit| self.permits >= u64::from(limit)))
    }
}

impl Limits {
    pub(super) fn least(&self) -> Option<u32> {
        self.0.first().map(|(limit, _)| *limit)
    }

    pub(super) fn has_other_than(&self, limit: u32) -> bool {
        self.0.iter().any(|(other, _)| *other != limit)
    }

    pub(super) fn add(&mut self, mode: Mode) {
        let Mode::Semaphore { limit, .. } = mode else {
            return;
        };
        match self.0.binary_search_by_key(&limit, |(limit, _)| *limit) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (limit, 1)),
        }
    }

    pub(super) fn remove(&mut self, mode: Mode) {
        let Mode::Semaphore { limit, .. } = mode else {
            return;
        };
        if let Ok(at) = self.0.binary_search_by_key(&limit, |(limit, _)| *limit) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
        if self.0.is_empty() {
            self.0 = Vec::new(); // gives its memory back: most locks are no semaphores
        }
    }
}

impl Table {
    /// The place of a claim that comes now. Rank 0 is kept for the promoted.
    pub(super) fn next_place(&self, priority: u8) -> Place {
        Place {
            rank: rank_of(priority),
            arrival: self.counters.arrival + 1,
        }
    }

    /// Whether a claim at this place could hold this lock now.
    pub(super) fn admits_at(&self, want: &Want, place: Place) -> bool {
        let Some(lock) = self.locks.get(&want.name) else {
            return true;
        };
        if lock.closed.is_some() {
            return false;
        }
        let limit = self.limit_of(&want.name, Some(lock));
        let mut load = lock.used;
        if want.mode == Mode::Shared && planted::is(Bug::ReadersPassWriters) {
            return load.admits(want.mode, limit);
        }
        // Stops early in all but one case: readers that wait for a second lock of theirs.
        for waiter in lock.queue.range(..place).map(|(_, waiter)| *waiter) {
            if load.is_full(limit) {
                return false;
            }
            load.add(self.mode_of(waiter, &want.name).expect(CLAIM_IS_LIVE));
        }
        load.admits(want.mode, limit)
    }

    /// How many claims go before this place, at most over the locks.
    pub(super) fn ahead(&self, wants: &[Want], place: Place) -> u32 {
        let before = |want: &Want| {
            let queue = &self.locks.get(&want.name)?.queue;
            let is_last = queue
                .last_key_value()
                .is_some_and(|(last, _)| *last <= place);
            // Who comes last, as nearly all do, need not walk over the whole queue.
            if is_last {
                return Some(queue.len() - usize::from(queue.contains_key(&place)));
            }
            Some(queue.range(..place).count())
        };
        let most = wants.iter().filter_map(before).max().unwrap_or(0);
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// Puts a waiting claim into the queue of each of its locks.
    pub(super) fn enqueue(&mut self, name: ClaimRef, wants: &[Want], place: Place) {
        for want in wants {
            let lock = self.locks.entry(want.name.clone()).or_default();
            lock.queue.insert(place, name);
        }
    }

    /// Grants all that can be granted of a lock, first come first. Whoever is passed over because of
    /// another of its locks still counts for those behind it.
    pub(super) fn serve(&mut self, step: &mut Step, name: &LockName) {
        let Some(lock) = self.locks.get(name) else {
            return;
        };
        if lock.closed.is_some() {
            return;
        }
        let limit = self.limit_of(name, Some(lock));
        let mut load = lock.used;
        let mut from = Place {
            rank: 0,
            arrival: 0,
        };
        while !load.is_full(limit)
            && let Some((place, waiter)) = self.first_from(name, from)
        {
            let mode = self.mode_of(waiter, name).expect(CLAIM_IS_LIVE);
            if load.admits(mode, limit) && !self.waits_for_limit(waiter, name, place) {
                if self.session(waiter.session).is_none() {
                    // No grant to the dead: a session takes its claims along when it ends, so this is
                    // the second lock on the door. The lock is served anew without the waiter.
                    self.leave(step, waiter, EndCause::SessionExpired);
                    return;
                }
                if self.admits_elsewhere(waiter, name, place) {
                    let promoted = self.grant_waiting(step, waiter);
                    if promoted {
                        // The queue is in another order now: start again.
                        step.freed.insert(name.clone());
                        return;
                    }
                }
            }
            load.add(mode);
            from = Place {
                rank: place.rank,
                arrival: place.arrival + 1,
            };
        }
    }

    /// Counts a grant against every waiter of an earlier arrival and a lower class that wanted one of
    /// its locks, and promotes those that were passed too often. True if any was.
    ///
    /// This walks over the passed and nobody else, and a waiter is passed 64 times at most: however
    /// long the queues, a claim costs no more than that over its life.
    pub(super) fn pass(
        &mut self,
        step: &mut Step,
        wants: &[Want],
        priority: u8,
        arrival: u64,
    ) -> bool {
        let mut passed: Vec<ClaimRef> = Vec::new();
        for want in wants {
            let Some(lock) = self.locks.get(&want.name) else {
                continue;
            };
            let last_rank = lock.queue.last_key_value().map_or(0, |(last, _)| last.rank);
            for rank in rank_of(priority) + 1..=last_rank {
                let class = Place { rank, arrival: 0 }..Place { rank, arrival };
                passed.extend(lock.queue.range(class).map(|(_, waiter)| *waiter));
            }
        }
        passed.sort_unstable();
        passed.dedup(); // passed once, however many locks the two share
        let mut promoted = false;
        for waiter in passed {
            let claim = self.claims.get_mut(&waiter).expect(CLAIM_IS_LIVE);
            self.dirty.insert(Key::Claim(waiter));
            if let Stage::Waiting { passed, .. } = &mut claim.stage {
                *passed += 1;
                if *passed >= PASSED_MAX && !planted::is(Bug::NoPromotion) {
                    self.promote(step, waiter);
                    promoted = true;
                }
            }
        }
        promoted
    }

    /// Moves a waiter before all that are not promoted. It may be next now, and those it overtook wait
    /// for it now: its locks are served again, and its owner may have closed a cycle.
    fn promote(&mut self, step: &mut Step, name: ClaimRef) {
        self.replace(step, name, 0);
    }

    /// Gives a waiter another rank in all its queues.
    fn replace(&mut self, step: &mut Step, name: ClaimRef, rank: u8) {
        let claim = self.claims.get_mut(&name).expect(CLAIM_IS_LIVE);
        let Stage::Waiting { place, .. } = &mut claim.stage else {
            return;
        };
        let old = *place;
        place.rank = rank;
        let new = *place;
        let wants = claim.locks.clone();
        let revision = self.bump();
        for want in wants.iter() {
            if let Some(lock) = self.locks.get_mut(&want.name) {
                lock.queue.remove(&old);
                lock.queue.insert(new, name);
            }
            self.touch(step, &want.name, revision);
            step.freed.insert(want.name.clone());
        }
        self.dirty.insert(Key::Claim(name));
        let owner = self.owner_of(name);
        step.suspects.insert(owner);
    }

    /// Moves a waiter into another class. It keeps its arrival.
    pub(super) fn reclass(&mut self, step: &mut Step, name: ClaimRef, priority: u8) {
        let claim = self.claims.get_mut(&name).expect(CLAIM_IS_LIVE);
        if claim.priority == priority {
            return;
        }
        claim.priority = priority;
        self.replace(step, name, rank_of(priority));
    }

    fn first_from(&self, name: &LockName, from: Place) -> Option<(Place, ClaimRef)> {
        let (place, waiter) = self.locks.get(name)?.queue.range(from..).next()?;
        Some((*place, *waiter))
    }

    /// Whether a waiter that fits in one lock fits in all its others too, and can be numbered.
    fn admits_elsewhere(&self, waiter: ClaimRef, here: &LockName, place: Place) -> bool {
        let claim = self.claims.get(&waiter).expect(CLAIM_IS_LIVE);
        self.has_tokens(claim.locks.len())
            && claim
                .locks
                .iter()
                .all(|want| want.name == *here || self.has_turn(waiter, want, place))
    }

    /// Whether a waiter could hold this lock of its now.
    fn has_turn(&self, waiter: ClaimRef, want: &Want, place: Place) -> bool {
        self.admits_at(want, place) && !self.waits_for_limit(waiter, &want.name, place)
    }
}

/// Higher classes first; 0 is left for the promoted.
fn rank_of(priority: u8) -> u8 {
    PRIORITY_MAX + 1 - priority.min(PRIORITY_MAX)
}
