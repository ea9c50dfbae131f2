//! PURE: what happens by itself: leases that run out, waits that end, deadlines that pass.
//! In: now. Out: ends, refusals, events. Never: an end before its time (the deadline is read again here).

use super::desk::{Answer, Desk};
use super::ending::Ending;
use super::handle::{
    ClaimAnswer, ClaimError, ClaimEventKind, ClaimState, Contention, Reason, ReleaseAnswer,
    Unavailable,
};
use super::hold::{Key, Stage};
use super::outbox::Purpose;
use super::sight::Sight;
use crate::table::command::EndCause;
use crate::table::id::Seq;
use crate::world::clock::Instant;

impl Desk {
    /// Looks at one claim: does what is due for it, and sets its timer anew.
    pub(super) fn fire_claim(&mut self, now: Instant, key: Key) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        match &mut hold.stage {
            Stage::Asking => self.fire_asking(now, key),
            Stage::Waiting { .. } => self.fire_waiting(now, key, |caller| caller.until <= now),
            Stage::Withheld { .. } => {
                self.fire_waiting(now, key, |caller| caller.silent_until <= now);
            }
            Stage::Held { until, .. } => {
                if hold.bound == 0 && *until <= now {
                    let how = Ending {
                        state: ClaimState::Expired,
                        reason: Some(Reason::TtlExpired),
                        cause: Some(EndCause::LeaseExpired),
                        used_up: true,
                        release_at: None,
                    };
                    self.end(now, key, how);
                } else {
                    self.rearm(key);
                }
            }
            Stage::Ended(ended) => {
                if ended.release_at.is_some_and(|at| at <= now) {
                    ended.release_at = None;
                    let waited = hold.waited.unwrap_or_default();
                    let held = hold.ask.min_hold;
                    if let Some(claim) = hold.seq {
                        self.tell_end(now, claim, EndCause::Released, waited, held);
                    }
                    self.rearm(key);
                } else if ended.forget_at <= now && ended.release_at.is_none() {
                    self.remove(key);
                } else {
                    self.rearm(key);
                }
            }
        }
    }

    /// The core has said nothing for too long.
    fn fire_asking(&mut self, now: Instant, key: Key) {
        let due = self.take_callers(key, |caller| caller.silent_until <= now);
        if !due.is_empty() {
            let silent = match self.quorum.is_lost(now) || self.home().is_none() {
                true => self.unavailable(),
                false => self.overloaded(),
            };
            for caller in due {
                let refused = Err(silent.clone().into());
                self.answer(caller, Answer::Claim(refused));
            }
            self.left_alone(now, key, Reason::WaitTimeout);
        }
        self.fire_queue(now, key);
    }

    /// Waits that are over.
    fn fire_waiting(
        &mut self,
        now: Instant,
        key: Key,
        over: impl Fn(&super::hold::Caller) -> bool,
    ) {
        let due = self.take_callers(key, over);
        if !due.is_empty() {
            let over = self.wait_over(now, key);
            for caller in due {
                self.answer(caller, Answer::Claim(Err(over.clone())));
            }
            self.left_alone(now, key, Reason::WaitTimeout);
        }
        self.fire_queue(now, key);
    }

    /// The end of a claim that queues by itself.
    fn fire_queue(&mut self, now: Instant, key: Key) {
        let watched = self.watchers.contains_key(&key);
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        if !hold.queue || hold.has_ended() {
            self.rearm(key);
            return;
        }
        let attended = watched || hold.bound > 0 || !hold.callers.is_empty();
        if hold.wait_until().is_some_and(|until| until <= now) && hold.callers.is_empty() {
            self.cancel(now, key, Reason::WaitTimeout);
        } else if hold.attend_until > now {
            self.rearm(key);
        } else if attended {
            hold.attend(now);
            self.rearm(key);
        } else {
            self.cancel(now, key, Reason::Unattended);
        }
    }

    /// What a caller reads whose wait is over.
    fn wait_over(&mut self, now: Instant, key: Key) -> ClaimError {
        let hold = &self.holds[&key];
        let (ahead, behind) = match &hold.stage {
            Stage::Waiting { ahead, behind } => (*ahead, behind.clone()),
            // It was granted, and cannot be told of it: the session is past its deadline.
            Stage::Withheld { .. } => {
                let retry_after = self.estimates.unavailable(&mut self.rng);
                return Unavailable::Jeopardy { retry_after }.into();
            }
            Stage::Asking | Stage::Held { .. } | Stage::Ended(_) => (0, None),
        };
        let waited = now.since(hold.asked);
        let lock = hold.ask.locks.first().map(|want| want.name.clone());
        match lock {
            Some(lock) => ClaimError::WaitTimeout {
                waited,
                contention: Contention {
                    lock,
                    holder: behind,
                    waiters: ahead,
                    retry_after: self.estimates.held(ahead, &mut self.rng),
                },
            },
            None => ClaimError::NotFound(hold.id.clone()),
        }
    }

    fn take_callers(
        &mut self,
        key: Key,
        due: impl Fn(&super::hold::Caller) -> bool,
    ) -> Vec<super::hold::CallerId> {
        let Some(hold) = self.holds.get_mut(&key) else {
            return Vec::new();
        };
        let taken = hold.callers.extract_if(.., |caller| due(caller));
        taken.map(|caller| caller.id).collect()
    }

    /// Deadlines of the session, the bound on doubt, pauses that are over.
    pub(super) fn fire_session(&mut self, now: Instant) {
        if self.outbox.resend_at().is_some_and(|at| at <= now) {
            self.outbox.rewind();
        }
        if self.session.falls_into_jeopardy(now) {
            self.sight(|| Sight::Jeopardy);
            for key in self.held() {
                self.note(key, ClaimEventKind::Jeopardy);
            }
            self.release_later();
        }
        if self.quorum.starts_refusing(now) {
            self.refuse_all(now);
        }
        let standing = self.standing_at(now);
        self.quorum.note(now, standing);
    }

    /// A read's time is over.
    pub(super) fn fire_read(&mut self, now: Instant, id: u64) {
        if let Some(over) = self.reads.expire(id) {
            self.answer_unread(now, &over);
        }
    }

    /// Claims that the core knows and the apps hold.
    pub(super) fn held(&self) -> Vec<Key> {
        let is_held = |key: &&Key| {
            let hold = self.holds.get(key).map(|hold| &hold.stage);
            matches!(hold, Some(Stage::Held { .. }))
        };
        let here = self.spots.iter().flat_map(|(_, spot)| &spot.users);
        let here = here.map(|user| user.key);
        here.chain(self.by_seq.values().filter(is_held).copied())
            .collect()
    }

    /// No quorum for longer than the bound: whatever was held back for it is refused, releases are
    /// accepted and go out when the core is back.
    fn refuse_all(&mut self, now: Instant) {
        let refused = Err(ClaimError::from(self.unavailable()));
        for key in self.outbox.open_asks() {
            let stage = self.holds.get(&key).map(|hold| &hold.stage);
            if matches!(stage, Some(Stage::Asking)) {
                self.answer_claim(key, &refused);
                self.cancel(now, key, Reason::Refused);
                self.remove_unless_known(key);
            }
        }
        self.refuse_waiters(now, &refused);
        self.outbox.drop_unsent_asks();
        self.release_later();
        for over in self.reads.quorum_lost() {
            if let Some(timer) = over.timer {
                self.wheel.cancel(timer);
            }
            self.answer_unread(now, &over);
        }
    }

    /// Claims that wait for a lock of which the core has not said that it queued them.
    fn refuse_waiters(&mut self, now: Instant, refused: &Result<ClaimAnswer, ClaimError>) {
        let undecided = self.spots.iter().filter(|(_, spot)| !spot.is_decided());
        let keys: Vec<Key> = undecided.flat_map(|(_, spot)| spot.waiting()).collect();
        for key in keys {
            self.answer_claim(key, refused);
            self.cancel(now, key, Reason::Refused);
            self.remove_unless_known(key);
        }
    }

    /// Calls that wait for a release learn that it will be delivered.
    fn release_later(&mut self) {
        let waiting: Vec<Seq> = self.releasing.keys().copied().collect();
        for claim in waiting {
            self.answer_release(claim, &Ok(ReleaseAnswer::Accepted));
        }
    }

    /// A try that came to nothing leaves no record, unless its end must still be told to the core.
    pub(super) fn remove_unless_known(&mut self, key: Key) {
        let watched = self.watchers.contains_key(&key);
        let Some(hold) = self.holds.get(&key) else {
            return;
        };
        let holds = matches!(hold.stage, Stage::Held { .. });
        if hold.seq.is_none() && !hold.queue && !watched && !holds {
            self.remove(key);
        }
    }

    /// The session is gone, and with it all that the core knew of its claims.
    pub(super) fn lose_session(&mut self, now: Instant, reason: Reason) {
        for purpose in self.outbox.reset() {
            self.void(purpose);
        }
        let released: Vec<Seq> = self.releasing.keys().copied().collect();
        for claim in released {
            // It was certain when it was released, and nobody holds it now.
            self.answer_release(claim, &Ok(ReleaseAnswer::Released));
        }
        let retry_after = self.estimates.unavailable(&mut self.rng);
        let mut here = self.lose_spots();
        if self.inherited.take().is_some() {
            here.extend(self.holds.keys());
        }
        for key in std::mem::take(&mut self.by_seq).into_values().chain(here) {
            let Some(hold) = self.holds.get_mut(&key) else {
                continue;
            };
            hold.seq = None;
            let held = match &mut hold.stage {
                Stage::Held { .. } => true,
                Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. } => false,
                Stage::Ended(ended) => {
                    ended.release_at = None;
                    self.rearm(key);
                    continue;
                }
            };
            let how = Ending {
                state: ClaimState::Lost,
                reason: Some(reason),
                cause: None,
                used_up: held,
                release_at: None,
            };
            self.end(now, key, how);
            let lost = Unavailable::SessionLost { retry_after };
            self.answer_claim(key, &Err(lost.into()));
        }
    }

    /// What will never be answered by the core is answered here.
    fn void(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Publish(_, caller) => {
                let retry_after = self.estimates.unavailable(&mut self.rng);
                let lost = Unavailable::SessionLost { retry_after };
                self.answer(caller, Answer::Renew(Err(lost.into())));
            }
            Purpose::Close(caller) => self.answer(caller, Answer::Closed),
            // Claims and releases are answered by what becomes of their claims.
            Purpose::Ask(_)
            | Purpose::End(_)
            | Purpose::PublishLate
            | Purpose::Delegate(_)
            | Purpose::Return(_)
            | Purpose::Refill(_)
            | Purpose::Note => {}
        }
    }
}
