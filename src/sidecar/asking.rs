//! PURE: how claims of apps begin and end: claim, release, give up, drain.
//! In: calls. Out: answers at once, or callers that wait for one. Never: an answer about a claim whose
//! time ran out before the answer (each is looked at first, by the clock of this very call).

use super::desk::{Answer, CLAIMS_MAX, Desk, Now};
use super::ending::Ending;
use super::handle::{
    ClaimAnswer, ClaimAsk, ClaimError, ClaimState, Reason, ReleaseAnswer, SidecarMode, Trace,
    Unavailable,
};
use super::hold::{Caller, CallerId, Hold, Key, Stage};
use super::outbox::{AskOf, Purpose};
use super::view::nobody;
use crate::planted::{self, Bug};
use crate::table::command::{EndCause, Operation};
use crate::table::id::{ClaimId, Seq};
use crate::world::clock::Instant;

type Claimed = Result<ClaimAnswer, ClaimError>;
type Released = Result<ReleaseAnswer, ClaimError>;

impl Desk {
    /// Claims; see [`super::handle::Sidecar::claim`].
    pub fn claim(
        &mut self,
        now: Instant,
        id: ClaimId,
        ask: ClaimAsk,
        trace: impl Into<Trace>,
    ) -> Now<Claimed> {
        if let Some(key) = self.look(now, &id) {
            let hold = &self.holds[&key];
            match &hold.stage {
                // An attempt that was never granted is as if it had not been.
                Stage::Ended(ended) if !ended.used_up || planted::is(Bug::IdUsedAgain) => {
                    self.remove(key);
                }
                Stage::Ended(_) => {
                    let view = self.view(now, hold);
                    return Now::Done(Err(ClaimError::Ended(Box::new(view))));
                }
                Stage::Asking
                | Stage::Waiting { .. }
                | Stage::Withheld { .. }
                | Stage::Held { .. } => return self.claim_again(now, key, &ask),
            }
        }
        match self.admit(now) {
            Ok(()) => self.claim_new(now, id, ask, trace.into()),
            Err(refused) => Now::Done(Err(refused.into())),
        }
    }

    /// Releases or cancels.
    pub fn release(&mut self, now: Instant, id: &ClaimId) -> Now<Released> {
        let Some(key) = self.look(now, id) else {
            return Now::Done(self.use_up(now, id));
        };
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        let seq = hold.seq;
        let queue = hold.queue;
        let min_hold = hold.ask.min_hold;
        let ending = |state, reason, cause, release_at| Ending {
            state,
            reason,
            cause: Some(cause),
            used_up: true,
            release_at,
        };
        let cancel = |cause| ending(ClaimState::Cancelled, Some(Reason::Deleted), cause, None);
        match &mut hold.stage {
            Stage::Ended(ended) => {
                // A try that was never granted leaves nothing to lose; the id is used up by this.
                let fine = ended.state == ClaimState::Released
                    || ended.reason == Some(Reason::Deleted)
                    || (!ended.used_up && !queue);
                if !ended.used_up {
                    ended.used_up = true;
                    if fine {
                        ended.reason = Some(Reason::Deleted);
                    }
                }
                if fine {
                    return self.released_again(now, seq);
                }
                let view = self.view(now, &self.holds[&key]);
                return Now::Done(Err(ClaimError::Ended(Box::new(view))));
            }
            Stage::Asking | Stage::Withheld { .. } => {
                self.end(now, key, cancel(EndCause::GrantTooLate));
            }
            Stage::Waiting { .. } => self.end(now, key, cancel(EndCause::Cancelled)),
            Stage::Held { since, .. } => {
                let until = Some(*since + min_hold).filter(|until| *until > now);
                let how = ending(ClaimState::Released, None, EndCause::Released, until);
                self.end(now, key, how);
                if until.is_some() {
                    return Now::Done(Ok(ReleaseAnswer::Released));
                }
            }
        }
        self.answer_ended(now, key);
        let returned = self.holds.get(&key).and_then(|hold| hold.returned);
        match returned {
            // Others may have the lock once the core knows, and not before.
            Some(returned) => self.released_with(now, returned),
            None => self.released_again(now, seq),
        }
    }

    /// A call was given up. The last one that waits for a claim takes it along, unless it queues.
    pub fn gone(&mut self, now: Instant, caller: CallerId, id: Option<&ClaimId>) {
        let key = id.and_then(|id| self.by_id.get(id).copied());
        if let Some(key) = key {
            self.watchers
                .entry(key)
                .or_default()
                .retain(|c| *c != caller);
            if self.watchers.get(&key).is_some_and(Vec::is_empty) {
                self.watchers.remove(&key);
            }
            let hold = self.holds.get_mut(&key).expect("ids lead to claims");
            let before = hold.callers.len();
            hold.callers.retain(|c| c.id != caller);
            if hold.callers.len() < before {
                self.left_alone(now, key, Reason::CallerGone);
            }
        } else if let Some(timer) = self.reads.forget(caller) {
            self.wheel.cancel(timer);
        }
        // A release or a value goes its way without anyone waiting.
    }

    /// Takes no new claims from now on; those that wait are told.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        let queued: Vec<Key> = self
            .holds
            .iter()
            .filter(|(_, hold)| !hold.has_ended() && !matches!(hold.stage, Stage::Held { .. }))
            .map(|(key, _)| *key)
            .collect();
        for key in queued {
            self.answer_claim(key, &Err(Unavailable::Draining.into()));
            self.cancel(now, key, Reason::Draining);
        }
        if planted::is(Bug::DrainFreesHeld) {
            let held = self.spots.ids().into_iter();
            let held = held.filter(|id| self.spots.get(*id).is_some_and(|s| s.given().is_some()));
            held.collect::<Vec<_>>()
                .into_iter()
                .for_each(|id| _ = self.give_back(now, id));
            return;
        }
        while let Some((_, id)) = self.spots.longest_idle() {
            self.give_back(now, id);
        }
    }

    /// Ends the session, if it is open.
    pub fn close(&mut self, now: Instant) -> Option<CallerId> {
        self.session.id().filter(|_| self.inherited.is_none())?;
        let caller = self.new_caller();
        self.outbox
            .push_urgent(Operation::Close, Purpose::Close(caller));
        self.quorum.doubt(now);
        Some(caller)
    }

    /// The claim of this id, once what is due for it has been done.
    pub(super) fn look(&mut self, now: Instant, id: &ClaimId) -> Option<Key> {
        let key = match self.by_id.get(id) {
            Some(key) => *key,
            None => return self.exhume(now, id),
        };
        if self.holds[&key].due().is_some_and(|due| due <= now) {
            self.fire_claim(now, key);
        }
        // It may have been forgotten by that.
        self.by_id.get(id).copied()
    }

    /// Ends a claim that was never told to be granted.
    pub(super) fn cancel(&mut self, now: Instant, key: Key, reason: Reason) {
        let cause = match self.holds.get(&key).map(|hold| &hold.stage) {
            // The core may have granted it meanwhile, and nobody was or will be told.
            Some(Stage::Asking | Stage::Withheld { .. }) => EndCause::GrantTooLate,
            Some(Stage::Waiting { .. }) => EndCause::Cancelled,
            Some(Stage::Held { .. } | Stage::Ended(_)) | None => return,
        };
        let how = Ending {
            state: ClaimState::Cancelled,
            reason: Some(reason),
            cause: Some(cause),
            used_up: false,
            release_at: None,
        };
        self.end(now, key, how);
        self.answer_ended(now, key);
    }

    /// Cancels a claim for which nobody waits any more, unless it queues by itself.
    pub(super) fn left_alone(&mut self, now: Instant, key: Key, reason: Reason) {
        let Some(hold) = self.holds.get(&key) else {
            return;
        };
        if hold.callers.is_empty() && !hold.queue {
            self.cancel(now, key, reason);
        } else {
            self.rearm(key);
        }
    }

    fn admit(&mut self, now: Instant) -> Result<(), Unavailable> {
        if self.draining {
            return Err(Unavailable::Draining);
        }
        match self.mode_at(now) {
            SidecarMode::Normal => {}
            SidecarMode::Jeopardy => {
                let retry_after = self.estimates.unavailable(&mut self.rng);
                return Err(Unavailable::Jeopardy { retry_after });
            }
            SidecarMode::ReadOnly => return Err(self.unavailable()),
        }
        if self.live() >= CLAIMS_MAX as u64 {
            return Err(self.overloaded());
        }
        Ok(())
    }

    fn claim_new(
        &mut self,
        now: Instant,
        id: ClaimId,
        ask: ClaimAsk,
        trace: Trace,
    ) -> Now<Claimed> {
        if let Err(text) = self.prefix.wants(&ask) {
            return Now::Done(Err(ClaimError::Invalid(text)));
        }
        let here = self.mode_here(now, &ask);
        let key = self.new_key();
        if here.is_none() {
            if !self.outbox.has_room() {
                return Now::Done(Err(self.overloaded().into()));
            }
            self.surrender_for(now, &ask);
        }
        let caller = self.caller(now, &ask);
        if let Some(owner) = &ask.owner {
            self.own(key, owner);
        }
        let mut hold = Hold::new(id.clone(), ask, trace, now);
        hold.callers.push(caller);
        self.by_id.insert(id, key);
        self.holds.insert(key, Box::new(hold));
        self.queued += 1;
        if let Some(mode) = here {
            return self.claim_here(now, key, caller.id, mode);
        }
        self.outbox.push_ask_again(AskOf::Claim(key), now);
        self.quorum.doubt(now);
        self.rearm(key);
        Now::Later(caller.id)
    }

    fn claim_again(&mut self, now: Instant, key: Key, ask: &ClaimAsk) -> Now<Claimed> {
        let caller = self.caller(now, ask);
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        if !hold.is_same(ask) {
            return Now::Done(Err(ClaimError::Conflict(hold.id.clone())));
        }
        hold.attend_until = now + hold.ttl;
        let waits = matches!(hold.stage, Stage::Waiting { .. } | Stage::Withheld { .. });
        if let Stage::Held { .. } = hold.stage {
            let mut view = self.view(now, &self.holds[&key]);
            view.replayed = true;
            return Now::Done(match view.state {
                ClaimState::Jeopardy => Err(ClaimError::Jeopardy(Box::new(view))),
                ClaimState::Granted
                | ClaimState::Queued
                | ClaimState::Released
                | ClaimState::Expired
                | ClaimState::Lost
                | ClaimState::Cancelled
                | ClaimState::Revoked => Ok(ClaimAnswer::AlreadyGranted(view)),
            });
        }
        if ask.queue {
            // The longest that anybody wants it to wait counts, from when that was asked for.
            let wait = now.since(hold.asked) + ask.wait;
            hold.ask.wait = if hold.queue {
                wait.max(hold.ask.wait)
            } else {
                wait
            };
        }
        hold.queue |= ask.queue;
        self.unsaved(key);
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        if ask.queue && waits {
            self.rearm(key);
            let mut view = self.view(now, &self.holds[&key]);
            view.replayed = true;
            return Now::Done(Ok(ClaimAnswer::Queued(view)));
        }
        hold.callers.push(caller);
        self.rearm(key);
        if waits && caller.until <= now {
            // It would not wait, and the claim waits: the timer of the claim answers it at once.
            self.fire_claim(now, key);
        }
        Now::Later(caller.id)
    }

    fn caller(&mut self, now: Instant, ask: &ClaimAsk) -> Caller {
        let bound = self.quorum.bound();
        let patience = if ask.queue {
            bound
        } else {
            bound.max(ask.wait)
        };
        Caller {
            id: self.new_caller(),
            until: now + ask.wait,
            silent_until: now + patience,
            queue: ask.queue,
            waits: ask.queue || !ask.wait.is_zero(),
        }
    }

    /// Calls that wait for a claim learn that it has ended.
    fn answer_ended(&mut self, now: Instant, key: Key) {
        let Some(hold) = self.holds.get(&key) else {
            return;
        };
        if !hold.callers.is_empty() {
            let view = self.view(now, hold);
            self.answer_claim(key, &Err(ClaimError::Ended(Box::new(view))));
        }
    }

    /// A DELETE of an id that was never seen wins over the PUT that it overtook.
    fn use_up(&mut self, now: Instant, id: &ClaimId) -> Released {
        let key = self.new_key();
        let hold = Hold::new(id.clone(), nobody(id), Trace::default(), now);
        self.by_id.insert(id.clone(), key);
        self.holds.insert(key, Box::new(hold));
        self.queued += 1;
        let how = Ending {
            state: ClaimState::Cancelled,
            reason: Some(Reason::Deleted),
            cause: None,
            used_up: true,
            release_at: None,
        };
        self.end(now, key, how);
        Ok(ReleaseAnswer::Released)
    }

    /// The answer to a release whose operation may still be under way: once the core has applied it,
    /// others find the lock free.
    fn released_again(&mut self, now: Instant, seq: Option<Seq>) -> Now<Released> {
        let Some(seq) = seq.filter(|seq| self.by_seq.contains_key(seq)) else {
            return Now::Done(Ok(ReleaseAnswer::Released));
        };
        let lingers = self.by_seq.get(&seq).and_then(|key| self.holds.get(key));
        if let Some(Stage::Ended(ended)) = lingers.map(|hold| &hold.stage)
            && ended.release_at.is_some()
        {
            return Now::Done(Ok(ReleaseAnswer::Released));
        }
        self.released_with(now, seq)
    }

    /// The answer to a release that follows the core's to this operation.
    fn released_with(&mut self, now: Instant, seq: Seq) -> Now<Released> {
        if self.quorum.is_lost(now) || self.session.certain(now).is_none() {
            return Now::Done(Ok(ReleaseAnswer::Accepted));
        }
        let caller = self.new_caller();
        self.releasing.entry(seq).or_default().push(caller);
        Now::Later(caller)
    }

    /// Answers the calls that wait for the release of this claim.
    pub(super) fn answer_release(&mut self, claim: Seq, answer: &Released) {
        for caller in self.releasing.remove(&claim).unwrap_or_default() {
            self.answer(caller, Answer::Release(answer.clone()));
        }
    }
}
