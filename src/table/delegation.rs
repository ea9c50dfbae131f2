//! A lock that belongs to a session: how it is given, called back and returned.
//! In: delegations asked for, waiters, returns. Out: blocks of tokens, recalls, plain claims again.
//! Never: a delegation of what has a lock-delay, or a token of one block under another delegation.
//!
//! In the table a delegation is a claim that holds its lock, beside which a [`Pledge`] is kept. It keeps
//! others out like any holder, but it is no edge of a deadlock: its sidecar grants local claims under it
//! only to owners that have no other claim, so whoever uses it waits for nothing. An owner that comes to
//! have more takes its claims back into the table first (`Return` with `kept`), where all is exact.

use super::apply::Step;
use super::claim::{CLAIM_IS_LIVE, party_entry};
use super::command::{Delegated, Effect, Grant, OperationReply, Party, User, Want};
use super::id::{ClaimRef, LockName, RenewalNumber, Seq, SessionId};
use super::state::{Key, PartyEntry, Stage, Table};
use super::token::TokenBlock;
use crate::planted::{self, Bug};

/// Most tokens of one block.
pub const BLOCK_MAX: u32 = 1 << 16;
/// A renewal that acknowledges no recall told with the answers to the last so many renewals is refused:
/// whoever renews and hears nothing must not keep what others wait for.
pub const UNHEARD_MAX: u64 = 8;
/// Of local claims that ended under a delegation, so many are told in history when it is returned; a lock
/// that is used thousands of times a second would fill it.
pub const ENDED_TOLD_MAX: usize = 16;
/// Most recalls that are told again with one renewal; the rest when some of these are back.
const RECALLS_TOLD_MAX: usize = 1_024;

/// What is special about a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pledge {
    /// It waits.
    Asked {
        /// To be a delegation with so many tokens; 0 for a plain claim.
        block: u32,
        /// How long.
        patience: Patience,
    },
    /// It is a delegation.
    Given {
        /// Its present block.
        block: TokenBlock,
        /// Whether others wait for it.
        recall: Recall,
    },
}

/// What a waiter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Its turn.
    Turn,
    /// The answers to recalls: it would be refused but for locks that may be kept unused.
    Answers,
    /// Its turn, unless the answers to recalls show that the semaphore is used with another limit.
    Limit,
}

/// How far a recall has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
    /// Nobody waits.
    None,
    /// It was asked for.
    Asked,
    /// It was asked for, and whether it is in use.
    AnswerWanted,
    /// A local claim uses it; it comes back later.
    InUse(Box<User>),
}

impl Table {
    /// The delegation that a claim is, if it is one.
    pub fn pledge(&self, name: ClaimRef) -> Option<&Pledge> {
        self.pledges.get(&name)
    }

    /// Whether a holder is a delegation.
    pub(super) fn is_delegated(&self, name: ClaimRef) -> bool {
        matches!(self.pledges.get(&name), Some(Pledge::Given { .. }))
    }

    /// Whether a delegation is asked back, and its sidecar has not said that it is in use.
    pub fn is_recalled(&self, name: ClaimRef) -> bool {
        self.recalled.contains(&name) && self.may_be_unused(name)
    }

    /// The delegations of a lock.
    pub fn delegations_of(&self, name: &LockName) -> Vec<ClaimRef> {
        let holders = self.locks.get(name).map(|lock| lock.holders.iter());
        let holders = holders.into_iter().flatten().copied();
        holders
            .filter(|holder| self.is_delegated(*holder))
            .collect()
    }

    /// What a waiting claim waits for.
    pub(super) fn patience_of(&self, name: ClaimRef) -> Patience {
        match self.pledges.get(&name) {
            Some(Pledge::Asked { patience, .. }) => *patience,
            Some(Pledge::Given { .. }) | None => Patience::Turn,
        }
    }

    /// Whether a waiting claim may be refused yet, for what the answers to recalls say.
    pub fn is_trial(&self, name: ClaimRef) -> bool {
        self.patience_of(name) != Patience::Turn
    }

    /// Whether a claim holds a lock that may be unused: it was not heard yet that it is.
    pub(super) fn may_be_unused(&self, holder: ClaimRef) -> bool {
        matches!(
            self.pledges.get(&holder),
            Some(Pledge::Given { recall, .. }) if !matches!(recall, Recall::InUse(_))
        )
    }

    /// Notes what is special about a claim that is about to wait.
    pub(super) fn pledge_to(&mut self, name: ClaimRef, block: u32, patience: Patience) {
        if block > 0 || patience != Patience::Turn {
            self.put_pledge(name, Pledge::Asked { block, patience });
        }
    }

    pub(super) fn put_pledge(&mut self, name: ClaimRef, pledge: Pledge) {
        let recalled = match &pledge {
            Pledge::Asked { .. }
            | Pledge::Given {
                recall: Recall::None,
                ..
            } => false,
            Pledge::Given { .. } => true,
        };
        if recalled {
            self.recalled.insert(name);
        } else {
            self.recalled.remove(&name);
        }
        self.pledges.insert(name, pledge);
        self.dirty.insert(Key::Pledge(name));
    }

    pub(super) fn drop_pledge(&mut self, name: ClaimRef) {
        if self.pledges.remove(&name).is_some() {
            self.recalled.remove(&name);
            self.dirty.insert(Key::Pledge(name));
        }
    }

    /// How many tokens a delegation of these locks would get: none where it cannot be one.
    pub(super) fn block_for(&self, locks: &[Want], wanted: u32) -> u32 {
        let [want] = locks else { return 0 };
        if self.lock_delay_of(&want.name) > 0 && !planted::is(Bug::DelayedLockDelegated) {
            return 0;
        }
        let left = u32::try_from(self.counters.left().saturating_sub(1)).unwrap_or(u32::MAX);
        wanted.min(BLOCK_MAX).min(left)
    }

    /// Makes a claim that was just granted the delegation it asked to be.
    pub(super) fn delegate(&mut self, grant: &Grant, locks: &[Want]) -> Option<Delegated> {
        let Some(Pledge::Asked { block, .. }) = self.pledges.get(&grant.claim) else {
            return None;
        };
        // A policy may have come since it was asked for.
        let wanted = self.block_for(locks, *block);
        let block = if wanted > 0 {
            self.counters.reserve(wanted.into())
        } else {
            None
        };
        let Some(block) = block else {
            self.drop_pledge(grant.claim);
            return None;
        };
        let pledge = Pledge::Given {
            block,
            recall: Recall::None,
        };
        self.put_pledge(grant.claim, pledge);
        Some(Delegated {
            grant: grant.clone(),
            block,
        })
    }

    /// Calls back the delegations of a lock for which somebody waits.
    pub(super) fn recall(&mut self, step: &mut Step, name: &LockName) {
        let Some(lock) = self.locks.get(name) else {
            return;
        };
        if lock.queue.is_empty() || self.pledges.is_empty() {
            return;
        }
        let answer = lock.queue.values().any(|waiter| self.is_trial(*waiter));
        let holders: Vec<ClaimRef> = lock.holders.iter().copied().collect();
        for holder in holders {
            let Some(Pledge::Given { block, recall }) = self.pledges.get(&holder) else {
                continue;
            };
            let next = match (recall, answer) {
                (Recall::None, false) => Recall::Asked,
                (Recall::None | Recall::Asked, true) => Recall::AnswerWanted,
                (Recall::Asked, false) | (Recall::AnswerWanted | Recall::InUse(_), _) => continue,
            };
            let block = *block;
            self.put_pledge(
                holder,
                Pledge::Given {
                    block,
                    recall: next,
                },
            );
            self.tell_recall(step, holder);
        }
    }

    /// Calls back the permits of a semaphore that were given under another limit than its policy's: their
    /// sidecars would grant more under the old one.
    pub(super) fn recall_for_limit(&mut self, step: &mut Step, name: &LockName, limit: u32) {
        for holder in self.delegations_of(name) {
            let mode = self.mode_of(holder, name).expect(CLAIM_IS_LIVE);
            let Some(Pledge::Given {
                block,
                recall: Recall::None,
            }) = self.pledges.get(&holder)
            else {
                continue;
            };
            if mode.limit().is_some_and(|given| given != limit) {
                let (block, recall) = (*block, Recall::Asked);
                self.put_pledge(holder, Pledge::Given { block, recall });
                self.tell_recall(step, holder);
            }
        }
    }

    /// Tells a session again of what it is to give back; see [`UNHEARD_MAX`].
    pub(super) fn recall_again(&mut self, step: &mut Step, session: SessionId) -> bool {
        let from = ClaimRef {
            session,
            seq: Seq(0),
        };
        let to = ClaimRef {
            session,
            seq: Seq(u64::MAX),
        };
        let due: Vec<ClaimRef> = self
            .recalled
            .range(from..=to)
            .take(RECALLS_TOLD_MAX)
            .copied()
            .collect();
        for name in &due {
            self.tell_recall(step, *name);
        }
        !due.is_empty()
    }

    fn tell_recall(&self, step: &mut Step, claim: ClaimRef) {
        let Some(Pledge::Given { recall, .. }) = self.pledges.get(&claim) else {
            return;
        };
        let mut locks = self.claims[&claim].locks.iter();
        let first = locks.find_map(|want| self.locks.get(&want.name)?.queue.values().next());
        step.effects.push(Effect::Recalled {
            claim,
            revision: self.counters.revision,
            answer: *recall == Recall::AnswerWanted,
            wanted_by: first.map(|waiter| self.party(*waiter)),
        });
    }

    /// A local claim uses a delegation that others would try for.
    pub(super) fn in_use(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        user: &User,
    ) -> OperationReply {
        if let Some(Pledge::Given { block, .. }) = self.pledges.get(&name) {
            let recall = Recall::InUse(Box::new(user.clone()));
            let pledge = Pledge::Given {
                block: *block,
                recall,
            };
            self.put_pledge(name, pledge);
            let claim = self.claims.get(&name).expect(CLAIM_IS_LIVE);
            step.tried
                .extend(claim.locks.iter().map(|want| want.name.clone()));
        }
        OperationReply::Noted
    }

    /// Another block for a delegation. Its claims' tokens go on ascending: the counter never goes back.
    pub(super) fn refill(&mut self, name: ClaimRef, wanted: u32) -> OperationReply {
        let Some(Pledge::Given { recall, block }) = self.pledges.get(&name) else {
            return OperationReply::Refilled(None);
        };
        if planted::is(Bug::SameBlockAgain) {
            return OperationReply::Refilled(Some(*block));
        }
        let recall = recall.clone();
        let Some(block) = self.counters.reserve(wanted.clamp(1, BLOCK_MAX).into()) else {
            return OperationReply::Refilled(None);
        };
        self.put_pledge(name, Pledge::Given { block, recall });
        OperationReply::Refilled(Some(block))
    }

    /// A waiting claim goes on in another's name and class.
    pub(super) fn rename(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        user: &User,
        priority: u8,
    ) -> OperationReply {
        let Some(claim) = self.claims.get(&name) else {
            return OperationReply::Noted;
        };
        let Stage::Waiting { place, .. } = claim.stage else {
            return OperationReply::Noted;
        };
        self.parties.remove(&party_entry(name, claim));
        let claim = self.claims.get_mut(&name).expect(CLAIM_IS_LIVE);
        claim.claim_id = user.claim_id.clone();
        claim.owner = user.owner.clone();
        claim.trace_id = user.trace_id.clone();
        self.parties.insert(PartyEntry {
            owner: (name.session, user.owner.clone()),
            holds: false,
            seq: name.seq,
        });
        self.dirty.insert(Key::Claim(name));
        if place.rank > 0 {
            self.reclass(step, name, priority);
        }
        step.suspects.insert((name.session, user.owner.clone()));
        OperationReply::Noted
    }

    /// Who uses a delegation, as far as its sidecar has said.
    pub(super) fn user_of(&self, name: ClaimRef) -> Option<Party> {
        let Some(Pledge::Given {
            recall: Recall::InUse(user),
            ..
        }) = self.pledges.get(&name)
        else {
            return None;
        };
        Some(Party {
            claim: name,
            claim_id: user.claim_id.clone(),
            owner: user.owner.clone(),
            identity: self.identity_of(name.session),
            trace_id: user.trace_id.clone(),
        })
    }

    /// Whether a renewal may count; see [`UNHEARD_MAX`].
    pub(super) fn hears(
        listed: Option<RenewalNumber>,
        number: RenewalNumber,
        heard: RenewalNumber,
    ) -> bool {
        if planted::is(Bug::RenewsUnheard) {
            return true;
        }
        listed
            .is_none_or(|listed| heard >= listed || number.0 - listed.0.min(number.0) < UNHEARD_MAX)
    }
}
