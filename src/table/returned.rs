//! A delegation that comes back: what history learns of it, and the claims that go on as plain ones.
//! In: returns. Out: the lock free for the next, or held by name. Never: a moment at which it is free while
//! one of its claims still holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::apply::Step;
use super::claim::{Ending, party_entry};
use super::command::{EndCause, Kept, Mode, OperationReply, Return, Want};
use super::delegation::{ENDED_TOLD_MAX, Pledge};
use super::id::{ClaimRef, Revision, Seq, SessionId, Token};
use super::state::{Claim, HistoryEvent, Key, Newest, Stage, Table};
use crate::planted::{self, Bug};

/// What a delegation covers. A sidecar that returns more than that has gone wrong, and harms itself alone:
/// none of its claims goes on.
#[derive(Debug, Clone, Copy)]
struct Cover {
    mode: Mode,
    least: Token,
    most: Token,
    /// The newest of the lock so far.
    newest: Newest,
}

impl Cover {
    fn has(self, token: Token) -> bool {
        (self.least..=self.most).contains(&token)
    }

    /// Whether all that is kept could hold side by side under it, after what it says was given before.
    fn covers(self, back: &Return) -> bool {
        let kept = &back.kept;
        let exclusive = self.newest.exclusive.max(back.newest_exclusive);
        let any = self.newest.any.max(back.newest);
        let is_newest = |kept: &Kept| match kept.mode {
            Mode::Exclusive => Some(kept.token) >= any && Some(kept.token) >= exclusive,
            Mode::Shared | Mode::Semaphore { .. } => Some(kept.token) > exclusive,
        };
        let tokens: BTreeSet<Token> = kept.iter().map(|kept| kept.token).collect();
        let shared = kept.iter().all(|kept| kept.mode == Mode::Shared);
        let alone = kept.len() <= 1 && kept.iter().all(|kept| kept.mode == self.mode);
        let fits = match self.mode {
            Mode::Exclusive | Mode::Shared => alone || shared,
            Mode::Semaphore { .. } => alone,
        };
        fits && kept.iter().all(is_newest)
            && tokens.len() == kept.len()
            && tokens.iter().all(|token| self.has(*token))
    }
}

impl Table {
    /// What was given with a delegation: the token of its grant, and all up to the end of its newest block.
    fn cover(&self, name: ClaimRef) -> Option<Cover> {
        let Some(Pledge::Given { block, .. }) = self.pledge(name) else {
            return None;
        };
        let claim = self.claims.get(&name)?;
        let (Stage::Holding { tokens, .. }, [want]) = (&claim.stage, &*claim.locks) else {
            return None;
        };
        Some(Cover {
            mode: want.mode,
            least: *tokens.first()?,
            most: block.last()?,
            newest: self.lock(&want.name)?.newest,
        })
    }

    /// Ends a delegation. Its local claims that still hold become plain ones before anybody else can be
    /// granted the lock.
    pub(super) fn return_delegation(
        &mut self,
        step: &mut Step,
        session: SessionId,
        seq: Seq,
        back: &Return,
    ) -> OperationReply {
        let name = ClaimRef {
            session,
            seq: back.delegation,
        };
        if !self.is_delegated(name) {
            return OperationReply::Returned {
                revision: self.counters.revision,
                kept: false,
            };
        }
        let cover = self.cover(name);
        let covered = cover.is_some_and(|cover| cover.covers(back));
        let kept_on: &[Kept] = if covered && !planted::is(Bug::KeptForgotten) {
            &back.kept
        } else {
            &[]
        };
        let claim = &self.claims[&name];
        let locks = claim.locks.clone();
        let first = claim.claim_id.clone();
        // Of the claim in whose name it was asked for, history has the grant already, and no end if it
        // goes on.
        let goes_on = kept_on.iter().any(|kept| kept.user.claim_id == first);
        let ended = back.ended.iter().any(|end| end.user.claim_id == first);
        let note: Arc<str> = Arc::from(format!("{} local grants", back.grants));
        self.tell_ended(step, name, &locks[0], back, &note);
        let ending = Ending {
            note,
            told: !goes_on && !ended,
            ..Ending::of(EndCause::Released)
        };
        self.end(step, name, ending);
        let mut revision = self.counters.revision;
        for (place, kept) in (0..).zip(kept_on) {
            let claim = ClaimRef {
                session,
                seq: Seq(seq.0 + place),
            };
            let told = kept.user.claim_id != first;
            revision = self.keep(step, claim, &locks[0], kept, told);
        }
        let newest = &mut self.lock_mut(&locks[0].name).newest;
        let told = |token: &Token| {
            !planted::is(Bug::NewestForgotten) && cover.is_some_and(|cover| cover.has(*token))
        };
        let of_delegation = back.newest.filter(told).map(|token| (locks[0].mode, token));
        match of_delegation {
            // Under an exclusive delegation, shared claims may have had the newest.
            Some((Mode::Exclusive, token)) => newest.granted(Mode::Shared, token),
            Some((mode, token)) => newest.granted(mode, token),
            None => {}
        }
        let alone = locks[0].mode == Mode::Exclusive;
        if let Some(token) = back.newest_exclusive.filter(|token| alone && told(token)) {
            newest.granted(Mode::Exclusive, token);
        }
        OperationReply::Returned {
            revision,
            kept: true,
        }
    }

    /// What history is to tell of local claims that are over.
    fn tell_ended(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        want: &Want,
        back: &Return,
        note: &Arc<str>,
    ) {
        let first = self.claims[&name].claim_id.clone();
        let skipped = back.ended.len().saturating_sub(ENDED_TOLD_MAX);
        for (place, end) in back.ended.iter().enumerate().skip(skipped) {
            let locks: Arc<[Want]> = Arc::new([Want {
                name: want.name.clone(),
                mode: end.mode,
            }]);
            let tokens: Arc<[Token]> = Arc::new([end.token]);
            if end.user.claim_id != first {
                let granted = HistoryEvent::Granted {
                    tokens: tokens.clone(),
                };
                self.record_of(step, name, end.user.clone(), locks.clone(), granted);
            }
            let last = place + 1 == back.ended.len();
            let event = HistoryEvent::Ended {
                tokens,
                cause: end.cause,
                waited_ms: Some(end.waited_ms),
                held_ms: Some(end.held_ms),
                note: if last { note.clone() } else { Arc::from("") },
            };
            self.record_of(step, name, end.user.clone(), locks, event);
        }
    }

    /// A local claim as a plain one that holds; `told`: history is to tell of its grant.
    fn keep(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        want: &Want,
        kept: &Kept,
        told: bool,
    ) -> Revision {
        let want = Want {
            name: want.name.clone(),
            mode: kept.mode,
        };
        let claim = Claim {
            claim_id: kept.user.claim_id.clone(),
            owner: kept.user.owner.clone(),
            locks: Arc::new([want.clone()]),
            priority: kept.priority,
            metadata: kept.metadata.clone(),
            value: None,
            trace_id: kept.user.trace_id.clone(),
            stage: Stage::Holding {
                tokens: Arc::new([kept.token]),
                granted: self.counters.revision,
                breaking: false,
            },
        };
        self.parties.insert(party_entry(name, &claim));
        self.claims.insert(name, Box::new(claim));
        self.dirty.insert(Key::Claim(name));
        let revision = if told {
            let tokens = Arc::new([kept.token]);
            self.record(step, name, HistoryEvent::Granted { tokens })
        } else {
            self.bump()
        };
        let lock = self.lock_mut(&want.name);
        lock.holders.insert(name);
        lock.used.add(want.mode);
        lock.limits.add(want.mode);
        lock.newest.granted(want.mode, kept.token);
        self.touch(step, &want.name, revision);
        step.suspects
            .insert((name.session, kept.user.owner.clone()));
        revision
    }
}
