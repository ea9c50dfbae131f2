//! Claims that may be refused only once it is known whether what is kept at sidecars is in use.
//! In: claims that would not wait, or that state another limit than permits kept. Out: their refusals.
//! Never: a refusal because of a lock, or of a limit, that nobody uses.

use super::apply::Step;
use super::claim::CLAIM_IS_LIVE;
use super::command::{Effect, EndCause, Refusal, Want};
use super::delegation::Patience;
use super::id::{ClaimRef, LockName};
use super::queue::Load;
use super::state::{Lock, Place, Stage, Table};
use crate::planted::{self, Bug};

impl Table {
    /// Whether a claim that is blocked and would not wait may be free to go: as far as is known, only
    /// locks that may be unused keep it.
    pub(super) fn may_be_free(&self, locks: &[Want], place: Place) -> bool {
        locks
            .iter()
            .all(|want| self.admits_at(want, place) || self.awaits_answers(want, place))
    }

    /// Whether all that keeps a claim from a lock are delegations that may be unused, and tries that wait
    /// for the same answers.
    fn awaits_answers(&self, want: &Want, place: Place) -> bool {
        let Some(lock) = self.locks.get(&want.name) else {
            return false;
        };
        if planted::is(Bug::TryGuesses) {
            return false;
        }
        if lock.closed.is_some() || !lock.holders.iter().any(|it| self.may_be_unused(*it)) {
            return false;
        }
        let mut load = Load::default();
        for claim in self.firm(lock, place) {
            load.add(self.mode_of(claim, &want.name).expect(CLAIM_IS_LIVE));
        }
        load.admits(want.mode, self.policy_limit_of(&want.name))
    }

    /// The claims before a place that hold or wait, whatever the answers to recalls.
    fn firm<'a>(&'a self, lock: &'a Lock, place: Place) -> impl Iterator<Item = ClaimRef> + 'a {
        let holders = lock.holders.iter().copied();
        let waiters = lock.queue.range(..place).map(|(_, waiter)| *waiter);
        holders
            .filter(|holder| !self.may_be_unused(*holder))
            .chain(waiters.filter(|waiter| !self.is_trial(*waiter)))
    }

    /// Another limit than the claim's own that is in force, whatever the answers to recalls.
    pub(super) fn firm_limit(&self, want: &Want, place: Place) -> Option<u32> {
        let own = want.mode.limit()?;
        let others = |limit: &u32| *limit != own;
        if let Some(limit) = self.policy_limit_of(&want.name) {
            return Some(limit).filter(others);
        }
        let lock = self.locks.get(&want.name)?;
        if !lock.limits.has_other_than(own) {
            return None;
        }
        self.firm(lock, place)
            .filter_map(|claim| self.mode_of(claim, &want.name)?.limit())
            .find(others)
    }

    /// What an accepted claim would wait for.
    pub(super) fn patience_for(&self, locks: &[Want], waits: bool, place: Place) -> Patience {
        if !waits {
            return Patience::Answers;
        }
        if locks.iter().any(|want| self.limit_is_open(want, place)) {
            return Patience::Limit;
        }
        Patience::Turn
    }

    /// Whether it is not known yet if a claim's own limit is the one in force: permits kept under another
    /// one may be unused, or a claim before it tries for another.
    pub(super) fn limit_is_open(&self, want: &Want, place: Place) -> bool {
        let (Some(own), None) = (want.mode.limit(), self.policy_limit_of(&want.name)) else {
            return false;
        };
        let Some(lock) = self.locks.get(&want.name) else {
            return false;
        };
        let open = |claim: ClaimRef| {
            let limit = self.mode_of(claim, &want.name).and_then(|m| m.limit());
            limit.is_some_and(|limit| limit != own)
        };
        let kept = lock.holders.iter().filter(|it| self.may_be_unused(**it));
        let tries = lock.queue.range(..place).map(|(_, waiter)| waiter);
        lock.limits.has_other_than(own)
            && kept
                .chain(tries.filter(|waiter| self.is_trial(**waiter)))
                .any(|claim| open(*claim))
    }

    /// Whether a waiter must not be granted yet although it fits: its limit is not the one in force.
    pub(super) fn waits_for_limit(&self, waiter: ClaimRef, name: &LockName, place: Place) -> bool {
        let mode = self.mode_of(waiter, name).expect(CLAIM_IS_LIVE);
        let want = Want {
            name: name.clone(),
            mode,
        };
        self.is_trial(waiter)
            && !planted::is(Bug::LimitsMix)
            && (self.limit_is_open(&want, place) || self.firm_limit(&want, place).is_some())
    }

    /// Refuses the tries of a lock that need not wait for an answer any more.
    pub(super) fn refuse_trials(&mut self, step: &mut Step, name: &LockName) {
        let Some(lock) = self.locks.get(name) else {
            return;
        };
        let decided = |waiter: &ClaimRef| Some((*waiter, self.refusal_of(*waiter)?));
        let Some((waiter, refusal)) = lock.queue.values().find_map(decided) else {
            return;
        };
        let revision = self.leave(step, waiter, EndCause::Cancelled);
        step.effects.push(Effect::Refused {
            claim: waiter,
            revision,
            refusal,
        });
    }

    /// Why a try is refused by now, if it is.
    fn refusal_of(&self, waiter: ClaimRef) -> Option<Refusal> {
        let patience = self.patience_of(waiter);
        let claim = self.claims.get(&waiter).expect(CLAIM_IS_LIVE);
        let Stage::Waiting { place, .. } = claim.stage else {
            return None;
        };
        if patience == Patience::Turn {
            return None;
        }
        let other_limit = |want: &Want| Some((want.name.clone(), self.firm_limit(want, place)?));
        if let Some((lock, limit)) = claim.locks.iter().find_map(other_limit) {
            return Some(Refusal::SemaphoreLimit { lock, limit });
        }
        if patience == Patience::Limit || self.may_be_free(&claim.locks, place) {
            return None;
        }
        let blocked = claim.locks.iter().find(|want| !self.admits_at(want, place));
        let blocked = &blocked.expect("whoever could be granted was").name;
        Some(self.in_the_way_of(blocked, Some(waiter)))
    }
}
