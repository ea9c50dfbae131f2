//! One claim's legal moves: asked -> waiting -> holding -> ended, and any of them to ended.
//! In: operations of a live session, deaths. Out: replies, history, locks to be served.
//! Never: part of a claim: it waits in all its queues or holds all its locks.

use std::sync::Arc;

use super::apply::Step;
use super::command::{
    Acquire, CycleEdge, Effect, EndCause, Grant, OperationReply, Party, Refusal, Release, Was,
};
use super::delegation::Patience;
use super::history::told;
use super::id::{ClaimRef, LockName, OwnerId, Revision, Token};
use super::state::{
    Claim, Closed, HistoryEvent, Key, Lock, OwnerKey, PartyEntry, Place, Stage, Table,
};
use crate::planted::{self, Bug};

/// The invariant behind every look-up of a claim by a name found in a queue or among holders.
pub(super) const CLAIM_IS_LIVE: &str = "queues, holders and parties name live claims only";

/// How a claim ended, for history.
pub(super) struct Ending {
    pub(super) cause: EndCause,
    /// As measured by the sidecar: waited, held.
    pub(super) measured: Option<(u64, u64)>,
    pub(super) note: Arc<str>,
    /// Of a deadlock.
    pub(super) cycle: Arc<[CycleEdge]>,
    /// Whether history is to tell it.
    pub(super) told: bool,
}

impl Ending {
    pub(super) fn of(cause: EndCause) -> Self {
        Self {
            cause,
            measured: None,
            note: Arc::default(),
            cycle: Arc::default(),
            told: true,
        }
    }
}

impl Table {
    /// Grants, queues or refuses a new claim, which is to be a delegation with a block of so many tokens
    /// (0: a plain claim).
    pub(super) fn acquire(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        ask: &Acquire,
        block: u32,
    ) -> OperationReply {
        if let Err(refusal) = self.check(ask) {
            return OperationReply::Refused(refusal);
        }
        let place = self.next_place(ask.priority);
        let block = self.block_for(&ask.locks, block);
        let patience = self.patience_for(&ask.locks, ask.wait, place);
        let blocked = ask
            .locks
            .iter()
            .find(|want| !self.admits_at(want, place) || self.limit_is_open(want, place));
        let Some(blocked) = blocked else {
            self.enroll(name, ask, place);
            let owner = self.owner_of(name);
            step.suspects.insert(owner); // others may wait for it now while another of its claims waits
            self.pledge_to(name, block, Patience::Turn);
            let grant = self.grant(step, name).0;
            return match self.delegate(&grant, &ask.locks) {
                Some(delegated) => OperationReply::Delegated(delegated),
                None => OperationReply::Granted(grant),
            };
        };
        if !ask.wait && !self.may_be_free(&ask.locks, place) {
            return OperationReply::Refused(self.in_the_way(&blocked.name));
        }
        if let Some(refusal) = self.queue_full(&ask.locks) {
            return OperationReply::Refused(refusal);
        }
        let behind = self
            .blocker(&blocked.name, None)
            .map(|other| self.party(other));
        self.enroll(name, ask, place);
        self.enqueue(name, &ask.locks, place);
        self.pledge_to(name, block, patience);
        let owner = self.owner_of(name);
        if let Some(deadlock) = self.find_deadlock(&owner)
            && deadlock.victim == name
        {
            let cycle = told(&deadlock.cycle);
            self.record(step, name, HistoryEvent::Deadlocked { cycle });
            self.withdraw(name, place);
            return OperationReply::Refused(Refusal::Deadlock(deadlock.cycle));
        }
        self.counters.arrival = place.arrival;
        self.dirty.insert(Key::Claim(name));
        let revision = self.record(step, name, HistoryEvent::Queued);
        for want in &ask.locks {
            self.touch(step, &want.name, revision);
            if patience != Patience::Turn && want.mode.limit().is_some() {
                self.suspect_waiters(step, &want.name);
            }
        }
        step.suspects.insert(owner);
        OperationReply::Queued {
            revision,
            ahead: self.ahead(&ask.locks, place),
            behind,
        }
    }

    /// Ends a claim at the wish of its own session. What is gone already stays as it ended.
    pub(super) fn release(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        release: &Release,
    ) -> OperationReply {
        let Some(claim) = self.claims.get(&name) else {
            return OperationReply::Ended {
                revision: self.counters.revision,
                was: Was::Gone,
            };
        };
        let was = match claim.stage {
            Stage::Waiting { .. } => Was::Waiting,
            Stage::Holding { .. } => Was::Held,
        };
        let ending = Ending {
            measured: Some((release.waited_ms, release.held_ms)),
            ..Ending::of(release.cause)
        };
        let revision = self.end(step, name, ending);
        OperationReply::Ended { revision, was }
    }

    /// Publishes a value; only a holder may.
    pub(super) fn set_value(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        value: &Arc<str>,
    ) -> OperationReply {
        let Some(claim) = self.claims.get_mut(&name) else {
            return OperationReply::ValueSet(false);
        };
        if matches!(claim.stage, Stage::Waiting { .. }) {
            return OperationReply::ValueSet(false);
        }
        claim.value = Some(value.clone());
        let wants = claim.locks.clone();
        self.dirty.insert(Key::Claim(name));
        let revision = self.bump();
        for want in wants.iter() {
            self.touch(step, &want.name, revision);
        }
        OperationReply::ValueSet(true)
    }

    /// Ends a claim that waits, without a word to its session.
    pub(super) fn leave(&mut self, step: &mut Step, name: ClaimRef, cause: EndCause) -> Revision {
        self.end(step, name, Ending::of(cause))
    }

    /// Ends a live claim: history, then out of its queues or locks, which are to be served. After a
    /// death its locks stay closed for their delay.
    pub(super) fn end(&mut self, step: &mut Step, name: ClaimRef, ending: Ending) -> Revision {
        let claim = self.claims.get(&name).expect(CLAIM_IS_LIVE);
        let event = match &claim.stage {
            Stage::Waiting { .. } => HistoryEvent::Left {
                cause: ending.cause,
                cycle: ending.cycle,
            },
            Stage::Holding { tokens, .. } => HistoryEvent::Ended {
                tokens: tokens.clone(),
                cause: ending.cause,
                waited_ms: ending.measured.map(|(waited, _)| waited),
                held_ms: ending.measured.map(|(_, held)| held),
                note: ending.note,
            },
        };
        let revision = if ending.told {
            self.record(step, name, event)
        } else {
            self.bump()
        };
        self.drop_pledge(name);
        let claim = self.unenroll(name);
        if planted::is(Bug::TokensStartAnew) && self.claims.is_empty() {
            self.counters.token = 0;
        }
        self.dirty.insert(Key::Claim(name));
        for want in claim.locks.iter() {
            let lock = self.lock_mut(&want.name);
            lock.limits.remove(want.mode);
            match claim.stage {
                Stage::Waiting { place, .. } => {
                    lock.queue.remove(&place);
                }
                Stage::Holding { .. } => {
                    lock.holders.remove(&name);
                    lock.used.remove(want.mode);
                    if ending.cause.is_death() {
                        self.close(step, &want.name);
                    }
                }
            }
            self.touch(step, &want.name, revision);
            step.freed.insert(want.name.clone());
        }
        revision
    }

    /// Grants a claim out of the queue and tells its session. True if that promoted a waiter.
    pub(super) fn grant_waiting(&mut self, step: &mut Step, name: ClaimRef) -> bool {
        let locks = self.claims.get(&name).expect(CLAIM_IS_LIVE).locks.clone();
        let (grant, promoted) = self.grant(step, name);
        let effect = match self.delegate(&grant, &locks) {
            Some(delegated) => Effect::Delegated(delegated),
            None => Effect::Granted(grant),
        };
        step.effects.push(effect);
        promoted
    }

    /// The owner of a live claim.
    pub(super) fn owner_of(&self, name: ClaimRef) -> OwnerKey {
        let claim = self.claims.get(&name).expect(CLAIM_IS_LIVE);
        (name.session, claim.owner.clone())
    }

    /// A live claim as shown to others.
    pub fn party(&self, name: ClaimRef) -> Party {
        let claim = self.claims.get(&name).expect(CLAIM_IS_LIVE);
        Party {
            claim: name,
            claim_id: claim.claim_id.clone(),
            owner: claim.owner.clone(),
            identity: self.identity_of(name.session),
            trace_id: claim.trace_id.clone(),
        }
    }

    /// Notes a visible change of a lock: watchers are told once for each command.
    pub(super) fn touch(&mut self, step: &mut Step, name: &LockName, revision: Revision) {
        let Some(lock) = self.locks.get_mut(name) else {
            return;
        };
        if !self.free.is_empty() {
            self.free.remove(&(lock.revision, name.clone()));
        }
        lock.revision = revision;
        if !self.pledges.is_empty() {
            step.tried.insert(name.clone());
        }
        if step.changed.insert(name.clone()) {
            self.dirty.insert(Key::Lock(name.clone()));
        }
    }

    /// Makes an accepted claim live, as one that waits.
    fn enroll(&mut self, name: ClaimRef, ask: &Acquire, place: Place) {
        let is_own = ask.owner.as_str() == ask.claim_id.as_str();
        let claim = Claim {
            claim_id: ask.claim_id.clone(),
            owner: if is_own {
                OwnerId::of(&ask.claim_id)
            } else {
                ask.owner.clone()
            },
            locks: ask.locks.as_slice().into(),
            priority: ask.priority,
            metadata: ask.metadata.clone(),
            value: ask.value.clone(),
            trace_id: ask.trace_id.clone(),
            stage: Stage::Waiting { place, passed: 0 },
        };
        for want in claim.locks.iter() {
            self.lock_mut(&want.name).limits.add(want.mode);
        }
        self.parties.insert(party_entry(name, &claim));
        self.claims.insert(name, Box::new(claim));
    }

    /// Takes a claim out of the maps that name it; its locks are the caller's.
    fn unenroll(&mut self, name: ClaimRef) -> Box<Claim> {
        let claim = self.claims.remove(&name).expect(CLAIM_IS_LIVE);
        self.parties.remove(&party_entry(name, &claim));
        claim
    }

    /// Undoes `enroll` and `enqueue` of a claim that nobody has seen.
    fn withdraw(&mut self, name: ClaimRef, place: Place) {
        self.drop_pledge(name);
        let claim = self.unenroll(name);
        for want in claim.locks.iter() {
            let lock = self.lock_mut(&want.name);
            lock.limits.remove(want.mode);
            lock.queue.remove(&place);
            if lock.is_idle() && lock.newest.any.is_none() {
                self.locks.remove(&want.name);
            }
        }
    }

    /// Makes a waiting (or just enrolled) claim a holder of all its locks, with a token for each.
    fn grant(&mut self, step: &mut Step, name: ClaimRef) -> (Grant, bool) {
        let claim = self.claims.get(&name).expect(CLAIM_IS_LIVE);
        let Stage::Waiting { place, .. } = claim.stage else {
            unreachable!("only waiting claims are granted: serve() takes them from queues");
        };
        let wants = claim.locks.clone();
        let priority = claim.priority;
        let waiting = party_entry(name, claim);
        let block = self.counters.reserve(wants.len() as u64);
        let tokens: Arc<[Token]> = block
            .expect("has_tokens() was asked first")
            .tokens()
            .collect();
        let event = HistoryEvent::Granted {
            tokens: tokens.clone(),
        };
        let revision = self.record(step, name, event);
        for (want, token) in wants.iter().zip(tokens.iter()) {
            let lock = self.lock_mut(&want.name);
            lock.queue.remove(&place);
            lock.holders.insert(name);
            lock.used.add(want.mode);
            lock.newest.granted(want.mode, *token);
            self.touch(step, &want.name, revision);
        }
        self.note_order(step, name, &wants, revision);
        self.parties.remove(&waiting);
        self.parties.insert(PartyEntry {
            holds: true,
            ..waiting
        });
        let claim = self.claims.get_mut(&name).expect(CLAIM_IS_LIVE);
        claim.stage = Stage::Holding {
            tokens: tokens.clone(),
            granted: revision,
            breaking: false,
        };
        self.dirty.insert(Key::Claim(name));
        let promoted = self.pass(step, &wants, priority, place.arrival);
        let grant = Grant {
            claim: name,
            revision,
            tokens: tokens.to_vec(),
        };
        (grant, promoted)
    }

    /// Closes a lock after a death. A delay that runs already is never shortened.
    fn close(&mut self, step: &mut Step, name: &LockName) {
        let delay_ms = self.lock_delay_of(name);
        if delay_ms == 0 || planted::is(Bug::LockDelaySkipped) {
            return;
        }
        self.counters.delay.0 += 1;
        let delay = self.counters.delay;
        let lock = self.lock_mut(name);
        let before = lock.closed.map_or(0, |closed| closed.delay_ms);
        let delay_ms = if planted::is(Bug::LockDelayShortened) {
            delay_ms
        } else {
            before.max(delay_ms)
        };
        lock.closed = Some(Closed { delay, delay_ms });
        step.effects.push(Effect::DelayTimer {
            lock: name.clone(),
            delay,
            delay_ms,
        });
    }

    pub(super) fn lock_mut(&mut self, name: &LockName) -> &mut Lock {
        self.locks.entry(name.clone()).or_default()
    }
}

impl Lock {
    /// Whether nobody holds it, waits for it, or waits for it to open.
    pub(super) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty() && self.closed.is_none()
    }
}

/// Under which a claim is found by its owner.
pub(super) fn party_entry(name: ClaimRef, claim: &Claim) -> PartyEntry {
    PartyEntry {
        owner: (name.session, claim.owner.clone()),
        holds: matches!(claim.stage, Stage::Holding { .. }),
        seq: name.seq,
    }
}
