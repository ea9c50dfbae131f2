//! The lease between one sidecar and this shard: opened once, renewed by number, ended by compare.
//! In: opens, renewals, expiries, operations with their seq. Out: replies, timers to start.
//! Never: an operation twice or out of order; a claim that outlives its session.

use std::ops::Bound;
use std::sync::Arc;

use super::apply::Step;
use super::command::{
    Effect, EndCause, OpenSession, Operate, OperateReply, Operation, OperationReply, Refusal,
    Renewal, RenewalReply, Reply,
};
use super::id::{ClaimRef, RenewalNumber, Seq, SessionId, SessionKey};
use super::state::{Claim, Key, Session, Stage, Table};
use crate::planted::{self, Bug};

/// How many replies are kept for resends, at most. A sidecar must have fewer operations under way
/// without an acknowledged reply; beyond, the oldest reply is forgotten.
pub const REPLIES_MAX: u64 = 16_384;
/// Most held claims that one command ends when their session is over. The rest stay held until further
/// ones, so that what others ask for meanwhile need not wait for a hundred thousand of them.
pub const ENDED_AT_ONCE_MAX: usize = 1_024;

impl Table {
    /// Opens a session, or finds the one opened with the same key. A found one is not renewed: its
    /// lease runs from the first open, so a sidecar counts from its first send or renews. A later
    /// process that takes it over shuts out the operations and renewals of the earlier ones.
    pub(super) fn open_session(&mut self, step: &mut Step, open: &OpenSession) -> Reply {
        if let Some(id) = self.keys.get(&open.key).copied() {
            return self.take_over(id, open);
        }
        let id = SessionId(self.bump().0); // a revision is never reused
        let generation = open.generation;
        let session = Session {
            key: open.key,
            identity: open.identity.clone(),
            principal: open.principal.clone(),
            ttl_ms: open.ttl_ms,
            generation,
            renewal: RenewalNumber(0),
            listed: None,
            seq: Seq(0),
            acked: Seq(0),
            ending: None,
        };
        self.sessions.insert(id, session);
        self.keys.insert(open.key, id);
        self.dirty.insert(Key::Session(id));
        step.effects.push(Effect::SessionTimer {
            session: id,
            number: RenewalNumber(0),
            ttl_ms: open.ttl_ms,
        });
        Reply::SessionOpened {
            session: id,
            generation,
            ttl_ms: open.ttl_ms,
        }
    }

    /// Whether an open by this principal would find the session of this key, or make it.
    pub fn may_find(&self, key: SessionKey, principal: Option<&Arc<str>>) -> bool {
        let session = self.keys.get(&key).and_then(|id| self.sessions.get(id));
        let owner = session.and_then(|session| session.principal.as_ref());
        owner.is_none() || owner == principal
    }

    /// One that began before there were principals belongs to the first who shows one.
    fn take_over(&mut self, id: SessionId, open: &OpenSession) -> Reply {
        let generation = open.generation;
        let session = self.sessions.get_mut(&id).expect("keys lead to sessions");
        let of_another = session.principal.is_some() && session.principal != open.principal;
        if of_another && !planted::is(Bug::AnybodysSession) {
            return Reply::SessionOfAnother;
        }
        if generation < session.generation {
            return Reply::SessionTakenOver;
        }
        if session.principal != open.principal {
            session.principal.clone_from(&open.principal);
            self.dirty.insert(Key::Session(id));
        }
        let (anew, applied) = (generation > session.generation, session.seq);
        session.generation = generation;
        let ttl_ms = session.ttl_ms;
        if anew {
            self.dirty.insert(Key::Session(id));
            // Who would read these replies is gone.
            self.forget(id, applied);
        }
        Reply::SessionOpened {
            session: id,
            generation,
            ttl_ms,
        }
    }

    /// Applies one renewal: only a greater number, and only of the generation in force.
    pub(super) fn renew(&mut self, step: &mut Step, renewal: &Renewal) -> RenewalReply {
        let Some(session) = self.live_session(renewal.session) else {
            return RenewalReply::UnknownSession;
        };
        let old = renewal.number <= session.renewal && !planted::is(Bug::OldRenewalCounts);
        if renewal.generation != session.generation || old {
            return RenewalReply::Superseded;
        }
        if !Self::hears(session.listed, renewal.number, renewal.heard) {
            return RenewalReply::Superseded;
        }
        if session.listed.is_some_and(|listed| renewal.heard >= listed) {
            session.listed = None;
        }
        session.renewal = renewal.number;
        let ttl_ms = session.ttl_ms;
        if self.recall_again(step, renewal.session)
            && let Some(session) = self.sessions.get_mut(&renewal.session)
        {
            session.listed.get_or_insert(renewal.number);
        }
        self.dirty.insert(Key::Session(renewal.session));
        step.effects.push(Effect::SessionTimer {
            session: renewal.session,
            number: renewal.number,
            ttl_ms,
        });
        RenewalReply::Renewed {
            number: renewal.number,
            ttl_ms,
        }
    }

    /// Ends a session if `number` is still its last renewal, or more of what is left of one that is over.
    /// True if it did.
    pub(super) fn expire(&mut self, step: &mut Step, id: SessionId, number: RenewalNumber) -> bool {
        let left = self.sessions.get(&id);
        if let Some(cause) = left.and_then(|session| session.ending) {
            self.end_some(step, id, cause);
            return true;
        }
        let last = left.map(|session| session.renewal);
        let stale = planted::is(Bug::ExpireWithoutCompare) && last.is_some();
        let due = last == Some(number) || stale;
        if due {
            self.end_session(step, id, EndCause::SessionExpired);
        }
        due
    }

    /// Applies an operation once and in order, or tells what became of it before.
    pub(super) fn operate(&mut self, step: &mut Step, operate: &Operate) -> OperateReply {
        let Some(session) = self.live_session(operate.session) else {
            return OperateReply::UnknownSession;
        };
        let shut_out = operate.generation != session.generation;
        if shut_out && !planted::is(Bug::DeadProcessCounts) {
            return OperateReply::Superseded;
        }
        let expected = Seq(session.seq.0 + 1);
        if operate.seq > expected {
            return OperateReply::Gap { expected };
        }
        if operate.seq < expected && planted::is(Bug::AppliedTwice) {
            return OperateReply::Applied(self.perform(step, operate));
        }
        if operate.seq < expected {
            self.forget(operate.session, operate.acked);
            return match self.replies.get(&(operate.session, operate.seq)) {
                Some(kept) => OperateReply::Applied(kept.clone()),
                None => OperateReply::Forgotten,
            };
        }
        let last = Seq(expected.0 + operate.operation.further_seqs());
        session.seq = last;
        let overflow = Seq(last.0.saturating_sub(REPLIES_MAX));
        self.dirty.insert(Key::Session(operate.session));
        self.forget(
            operate.session,
            operate.acked.min(Seq(expected.0 - 1)).max(overflow),
        );
        let reply = self.perform(step, operate);
        if self.session(operate.session).is_some() {
            let key = (operate.session, operate.seq);
            if planted::is(Bug::RepliesForgotten) {
                return OperateReply::Applied(reply);
            }
            self.replies.insert(key, reply.clone());
            self.dirty.insert(Key::Reply(key.0, key.1));
            for further in expected.0 + 1..=last.0 {
                let key = (operate.session, Seq(further));
                self.replies.insert(key, OperationReply::Noted);
                self.dirty.insert(Key::Reply(key.0, key.1));
            }
        }
        OperateReply::Applied(reply)
    }

    fn perform(&mut self, step: &mut Step, operate: &Operate) -> OperationReply {
        let named = |seq| ClaimRef {
            session: operate.session,
            seq,
        };
        match &operate.operation {
            Operation::Acquire(ask) => self.acquire(step, named(operate.seq), ask, 0),
            Operation::Delegate { acquire, block } => {
                self.acquire(step, named(operate.seq), acquire, *block)
            }
            Operation::Return(back) => {
                self.return_delegation(step, operate.session, operate.seq, back)
            }
            Operation::InUse { delegation, user } => self.in_use(step, named(*delegation), user),
            Operation::Refill { delegation, block } => self.refill(named(*delegation), *block),
            Operation::Rename {
                claim,
                user,
                priority,
            } => self.rename(step, named(*claim), user, *priority),
            Operation::Release(release) => self.release(step, named(release.claim), release),
            Operation::SetValue { claim, value } => self.set_value(step, named(*claim), value),
            Operation::Close => {
                self.end_session(step, operate.session, EndCause::SessionClosed);
                OperationReply::Closed
            }
            Operation::Denied(lock) => {
                OperationReply::Refused(Refusal::Denied { lock: lock.clone() })
            }
        }
    }

    /// Drops the replies that the sidecar has, never one of an operation that is yet to come.
    fn forget(&mut self, id: SessionId, acked: Seq) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let acked = acked.min(session.seq);
        if acked <= session.acked {
            return;
        }
        let from = session.acked;
        session.acked = acked;
        self.dirty.insert(Key::Session(id));
        for seq in from.0 + 1..=acked.0 {
            if self.replies.remove(&(id, Seq(seq))).is_some() {
                self.dirty.insert(Key::Reply(id, Seq(seq)));
            }
        }
    }

    fn live_session(&mut self, id: SessionId) -> Option<&mut Session> {
        let session = self.sessions.get_mut(&id);
        session.filter(|session| session.ending.is_none())
    }

    /// Ends a session: nothing more is heard of it, and its claims leave every queue before anything is
    /// granted. What it holds ends with it, of very many a part at a time.
    fn end_session(&mut self, step: &mut Step, id: SessionId, cause: EndCause) {
        let replies = (
            Bound::Included((id, Seq(0))),
            Bound::Included((id, Seq(u64::MAX))),
        );
        let replies: Vec<_> = self.replies.range(replies).map(|(key, _)| *key).collect();
        for key in replies {
            self.replies.remove(&key);
            self.dirty.insert(Key::Reply(key.0, key.1));
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ending = Some(cause);
            session.acked = session.seq;
            self.keys.remove(&session.key);
        }
        self.dirty.insert(Key::Session(id));
        step.effects
            .push(Effect::SessionEnded { session: id, cause });
        let waits = |(_, claim): &(_, &Claim)| matches!(claim.stage, Stage::Waiting { .. });
        let waiting = self.claims_of(id).filter(waits);
        let waiting: Vec<ClaimRef> = waiting.map(|(name, _)| name).collect();
        if !planted::is(Bug::DeadStayInLine) {
            waiting
                .into_iter()
                .for_each(|claim| _ = self.leave(step, claim, cause));
        }
        self.end_some(step, id, cause);
    }

    /// Ends claims of a session that is over, and forgets it when none is left. Else a timer that is due
    /// at once asks for the rest.
    fn end_some(&mut self, step: &mut Step, id: SessionId, cause: EndCause) {
        let holds = |(_, claim): &(_, &Claim)| matches!(claim.stage, Stage::Holding { .. });
        let held = self.claims_of(id).filter(holds);
        let mut held: Vec<ClaimRef> = held
            .map(|(name, _)| name)
            .take(ENDED_AT_ONCE_MAX + 1)
            .collect();
        let more = held.len() > ENDED_AT_ONCE_MAX;
        held.truncate(ENDED_AT_ONCE_MAX);
        for claim in held {
            self.leave(step, claim, cause);
        }
        if !more {
            self.sessions.remove(&id);
            self.dirty.insert(Key::Session(id));
        } else if let Some(session) = self.sessions.get(&id) {
            step.effects.push(Effect::SessionTimer {
                session: id,
                number: session.renewal,
                ttl_ms: 0,
            });
        }
    }

    /// Who a session is, for people.
    pub(super) fn identity_of(&self, session: SessionId) -> Arc<str> {
        self.sessions
            .get(&session)
            .map_or_else(|| Arc::from(""), |session| session.identity.clone())
    }
}
