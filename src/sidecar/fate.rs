//! PURE: what becomes of a claim by what the core says: granted, queued, refused, ended, asked for.
//! In: news already found to be new. Out: moves of claims, answers to those who wait. Never: a grant told
//! while the session is not certain, by the clock of that very moment.

use std::sync::Arc;

use super::desk::{Answer, Desk};
use super::ending::Ending;
use super::handle::{
    ClaimAnswer, ClaimError, ClaimEventKind, ClaimState, Obstacle, Reason, ReleaseAnswer,
};
use super::hold::{Key, Stage};
use super::outbox::{AskOf, Purpose};
use super::sight::Sight;
use super::view;
use crate::planted::{self, Bug};
use crate::table::command::{CycleEdge, EndCause, Operation, OperationReply, Party, Refusal, Was};
use crate::table::id::{Seq, Token};
use crate::world::clock::Instant;

impl Desk {
    /// The core has no claim of this name any more.
    pub(super) fn vanished(&mut self, now: Instant, key: Key) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        match &hold.stage {
            // Its kept reply is still to come, and tells how it ended.
            Stage::Asking => hold.absent = true,
            Stage::Waiting { .. } => self.ended_by_core(now, key, EndCause::Deadlock, Vec::new()),
            Stage::Withheld { .. } | Stage::Held { .. } => {
                self.ended_by_core(now, key, EndCause::Broken, Vec::new());
            }
            Stage::Ended(_) => {}
        }
    }

    /// The session is certain (again): what was granted meanwhile may be told.
    pub(super) fn certain_again(&mut self, now: Instant, was_told: bool) {
        let here = self.spots.iter().flat_map(|(_, spot)| &spot.users);
        let keys: Vec<Key> = here
            .map(|user| user.key)
            .chain(self.by_seq.values().copied())
            .collect();
        for key in keys {
            let Some(hold) = self.holds.get_mut(&key) else {
                continue;
            };
            match &mut hold.stage {
                Stage::Held { .. } if was_told => self.note(key, ClaimEventKind::Safe),
                Stage::Withheld { tokens } => {
                    let tokens = std::mem::take(tokens);
                    self.tell(now, key, tokens);
                }
                Stage::Held { .. } | Stage::Asking | Stage::Waiting { .. } | Stage::Ended(_) => {}
            }
        }
    }

    /// The reply to an acquire.
    pub(super) fn hear_asked(
        &mut self,
        now: Instant,
        key: Key,
        claim: Seq,
        reply: Option<OperationReply>,
    ) {
        match reply {
            Some(OperationReply::Granted(grant)) => {
                if self.is_history(now, key, claim, EndCause::Broken) {
                    return;
                }
                if let Some(key) = self.newer(claim, grant.revision) {
                    self.granted(now, key, grant.tokens);
                }
            }
            Some(OperationReply::Queued {
                revision,
                ahead,
                behind,
            }) => {
                if self.is_history(now, key, claim, EndCause::Deadlock) {
                    return;
                }
                if let Some(key) = self.newer(claim, revision) {
                    self.queued(now, key, ahead, behind.map(Box::new));
                }
            }
            Some(OperationReply::Delegated(delegated)) => {
                let grant = delegated.grant;
                self.delegated_plain(now, claim, grant.revision, grant.tokens);
            }
            Some(OperationReply::Refused(refusal)) => {
                self.core_forgot(claim);
                self.refused(now, key, refusal);
            }
            // The core no longer knows what it answered; the claim, if it holds, is given back.
            Some(
                OperationReply::Ended { .. }
                | OperationReply::ValueSet(_)
                | OperationReply::Closed
                | OperationReply::Returned { .. }
                | OperationReply::Refilled(_)
                | OperationReply::Noted,
            )
            | None => self.cancel(now, key, Reason::SessionLost),
        }
    }

    /// Whether a reply is older than an attach that did not list its claim: then it has ended since.
    fn is_history(&mut self, now: Instant, key: Key, claim: Seq, cause: EndCause) -> bool {
        let absent = self.holds.get(&key).is_some_and(|hold| hold.absent);
        if absent && self.by_seq.contains_key(&claim) {
            self.ended_by_core(now, key, cause, Vec::new());
        }
        absent
    }

    /// The reply to a release or cancel.
    pub(super) fn hear_ended(&mut self, now: Instant, claim: Seq, reply: Option<OperationReply>) {
        let gone = matches!(reply, Some(OperationReply::Ended { was: Was::Gone, .. }));
        let key = self.by_seq.get(&claim).copied();
        self.core_forgot(claim);
        if gone && let Some(hold) = key.and_then(|key| self.holds.get_mut(&key)) {
            // Only an operator takes a claim from a session that stands, and its news may have been lost.
            if let Stage::Ended(ended) = &mut hold.stage
                && ended.state == ClaimState::Released
            {
                ended.state = ClaimState::Revoked;
                ended.reason = Some(Reason::Broken);
                let view = self.view(now, &self.holds[&key.expect("it was found by it")]);
                self.answer_release(claim, &Err(ClaimError::Ended(Box::new(view))));
                return;
            }
        }
        self.answer_release(claim, &Ok(ReleaseAnswer::Released));
    }

    /// The core granted it. Nobody is told while the session is not certain, by the clock of this moment.
    pub(super) fn granted(&mut self, now: Instant, key: Key, tokens: Vec<Token>) {
        match self.holds.get(&key).map(|hold| &hold.stage) {
            Some(Stage::Asking | Stage::Waiting { .. }) => {}
            // Given up meanwhile: its end is under way to the core.
            Some(Stage::Withheld { .. } | Stage::Held { .. } | Stage::Ended(_)) | None => return,
        }
        if self.session.certain(now).is_some() {
            self.tell(now, key, tokens);
        } else {
            self.set_stage(key, Stage::Withheld { tokens });
            self.rearm(key);
        }
    }

    /// Tells a grant. The app's lease begins now: later than its request, so never shorter than promised.
    pub(super) fn tell(&mut self, now: Instant, key: Key, tokens: Vec<Token>) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        hold.waited = Some(now.since(hold.asked));
        let twice = u32::from(planted::is(Bug::LeaseTwiceAsLong));
        let until = now + hold.ttl * (1 + twice);
        let value = hold.value.take();
        let spot = hold.spot.filter(|_| value.is_some());
        let token = tokens.first().copied();
        let held = Stage::Held {
            tokens,
            since: now,
            until,
        };
        self.set_stage(key, held);
        self.sight_grant(key, token);
        self.note(key, ClaimEventKind::Granted);
        let granted = ClaimAnswer::Granted(self.view(now, &self.holds[&key]));
        self.answer_claim(key, &Ok(granted));
        self.rearm(key);
        if let Some(spot) = spot {
            // What it publishes is for all to see, so it holds by name.
            self.surrender(now, spot);
        }
        let claim = self.holds.get(&key).and_then(|hold| hold.seq);
        if let Some((claim, value)) = claim.zip(value) {
            let set = Operation::SetValue { claim, value };
            self.outbox.push_urgent(set, Purpose::PublishLate);
        }
    }

    /// The core queued it.
    pub(super) fn queued(
        &mut self,
        now: Instant,
        key: Key,
        ahead: u32,
        behind: Option<Box<Party>>,
    ) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        // A try that is queued waits for no more than the answer to a recall.
        let is_try = hold.spot.is_none() && !hold.asked_to_wait;
        if !matches!(hold.stage, Stage::Asking) || is_try {
            return;
        }
        // It may be queued anew, when it goes to the core by name: it waits since the first time.
        if hold.obstacle.is_none() {
            hold.obstacle = Some(Arc::new(Obstacle {
                since: now,
                ahead,
                behind: behind.as_deref().cloned(),
            }));
            let lock = hold.ask.locks[0].name.clone();
            self.sight(|| Sight::Queued(lock));
        }
        self.set_stage(key, Stage::Waiting { ahead, behind });
        let view = self.view(now, &self.holds[&key]);
        let hold = self.holds.get_mut(&key).expect("still there");
        let queueing = hold.callers.extract_if(.., |caller| caller.queue);
        let queueing: Vec<_> = queueing.map(|caller| caller.id).collect();
        for caller in queueing {
            let answer = Ok(ClaimAnswer::Queued(view.clone()));
            self.answer(caller, Answer::Claim(answer));
        }
        self.left_alone(now, key, Reason::CallerGone);
    }

    /// The core would not have it.
    pub(super) fn refused(&mut self, now: Instant, key: Key, refusal: Refusal) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        if hold.has_ended() {
            return self.remove_unless_known(key);
        }
        let transient = matches!(refusal, Refusal::Held { .. } | Refusal::LockDelay { .. });
        if transient && !hold.asked_to_wait && hold.would_wait() {
            // A try that was joined by a caller who would wait: ask again, this time to be queued.
            if self.outbox.push_ask(AskOf::Claim(key), now) {
                self.quorum.doubt(now);
                return;
            }
        }
        let reason = match refusal {
            Refusal::Deadlock(_) => Reason::Deadlock,
            Refusal::Held { .. }
            | Refusal::LockDelay { .. }
            | Refusal::SemaphoreLimit { .. }
            | Refusal::QueueFull { .. }
            | Refusal::Invalid(_)
            | Refusal::Denied { .. } => Reason::Refused,
        };
        let (estimates, rng) = (&self.estimates, &mut self.rng);
        let error = view::refusal(refusal, &self.prefix, |waiters| {
            estimates.held(waiters, rng)
        });
        self.answer_claim(key, &Err(error));
        let how = Ending {
            state: ClaimState::Cancelled,
            reason: Some(reason),
            cause: None,
            used_up: false,
            release_at: None,
        };
        self.end(now, key, how);
        self.remove_unless_known(key);
    }

    /// The core ended it: an operator's force, or a deadlock.
    pub(super) fn ended_by_core(
        &mut self,
        now: Instant,
        key: Key,
        cause: EndCause,
        cycle: Vec<CycleEdge>,
    ) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        let held = match &mut hold.stage {
            Stage::Held { .. } => true,
            Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. } => false,
            Stage::Ended(ended) => {
                // Released here, held on for its minimum there: nothing is left to release.
                ended.release_at = None;
                self.rearm(key);
                return;
            }
        };
        let deadlock = cause == EndCause::Deadlock;
        let how = Ending {
            state: if held {
                ClaimState::Revoked
            } else {
                ClaimState::Cancelled
            },
            reason: Some(if deadlock {
                Reason::Deadlock
            } else {
                Reason::Broken
            }),
            cause: None,
            used_up: held,
            release_at: None,
        };
        self.end(now, key, how);
        let error = if deadlock {
            ClaimError::Deadlock(self.prefix.cycle(cycle))
        } else {
            ClaimError::Ended(Box::new(self.view(now, &self.holds[&key])))
        };
        self.answer_claim(key, &Err(error));
    }

    /// An operator wants it freed: the app is told, and the core at once.
    pub(super) fn break_asked(&mut self, now: Instant, key: Key) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        let held = match &mut hold.stage {
            Stage::Held { .. } => true,
            Stage::Withheld { .. } => false,
            Stage::Asking | Stage::Waiting { .. } => return,
            Stage::Ended(ended) => {
                // Only held on for its minimum: let it go now.
                if ended.release_at.is_some() {
                    ended.release_at = Some(now);
                    self.rearm(key);
                }
                return;
            }
        };
        let how = Ending {
            state: ClaimState::Revoked,
            reason: Some(Reason::Broken),
            cause: Some(EndCause::Broken),
            used_up: held,
            release_at: None,
        };
        self.end(now, key, how);
        let ended = ClaimError::Ended(Box::new(self.view(now, &self.holds[&key])));
        self.answer_claim(key, &Err(ended));
    }
}
