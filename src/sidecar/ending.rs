//! PURE: how claims end, and what is remembered of them.
//! In: a claim and the reason. Out: what the core is told, what its callers and watchers are told.
//! Never: a second end of one claim.

use std::time::Duration;

use super::desk::{Answer, Desk, REMEMBERED_LEAST, kind_of, millis};
use super::handle::{ClaimEventKind, ClaimState, Reason};
use super::hold::{Ended, Key, Stage};
use super::outbox::Purpose;
use super::spot::SpotId;
use crate::planted::{self, Bug};
use crate::table::command::{EndCause, LocalEnd, Operation, Release};
use crate::table::id::{ClaimId, Seq};
use crate::world::clock::Instant;

impl Desk {
    /// Ends a claim. `cause` is what the core is told, if it knows the claim and must be told.
    pub(super) fn end(&mut self, now: Instant, key: Key, how: Ending) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        let waited = *hold.waited.get_or_insert_with(|| now.since(hold.asked));
        let holding = matches!(hold.stage, Stage::Held { .. });
        let (tokens, held) = match &mut hold.stage {
            Stage::Held { tokens, since, .. } => (std::mem::take(tokens), now.since(*since)),
            Stage::Withheld { tokens } => (std::mem::take(tokens), Duration::ZERO),
            Stage::Asking | Stage::Waiting { .. } => (Vec::new(), Duration::ZERO),
            Stage::Ended(_) => return,
        };
        let remembered = (hold.ttl + hold.ask.wait).max(REMEMBERED_LEAST);
        let seq = hold.seq;
        let ended = Ended {
            state: how.state,
            reason: how.reason,
            tokens,
            used_up: how.used_up,
            release_at: how.release_at,
            forget_at: now + remembered,
        };
        if !held.is_zero() {
            self.estimates.saw_hold(held);
        }
        let spot = hold.spot.take();
        if let (Some(spot), Some(cause)) = (spot, how.cause) {
            self.tell_local_end(key, spot, cause, waited, held);
        }
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        if let [want] = hold.ask.locks.as_slice()
            && holding
        {
            self.habits.released(&want.name, now);
        }
        self.sight_end(key, &how, holding.then_some(held));
        self.set_stage(key, Stage::Ended(ended));
        self.disown(key);
        if let Some(spot) = spot {
            let returned = self.leave_spot(now, key, spot);
            if let Some(hold) = self.holds.get_mut(&key) {
                hold.returned = returned;
            }
        }
        if how.release_at.is_none() {
            match (seq, how.cause) {
                (Some(claim), Some(cause)) => self.tell_end(now, claim, cause, waited, held),
                (Some(claim), None) => self.core_forgot(claim),
                (None, _) => {}
            }
        }
        self.note(key, kind_of_end(how.state));
        self.dying.push(key);
        self.rearm(key);
    }

    /// Notes the end of a claim that held under a delegation, for the history of its return.
    fn tell_local_end(
        &mut self,
        key: Key,
        spot: SpotId,
        cause: EndCause,
        waited: Duration,
        held: Duration,
    ) {
        let Some(user) = self.user(key) else {
            return;
        };
        let Some(spot) = self.spots.get_mut(spot) else {
            return;
        };
        let using = spot.users.iter().find(|using| using.key == key).copied();
        if let (Some(using), Some(given)) = (using, spot.given_mut()) {
            given.tell_end(LocalEnd {
                user,
                mode: using.mode,
                token: using.token,
                cause,
                waited_ms: millis(waited),
                held_ms: millis(held),
            });
        }
    }

    /// Sends the core the end of a claim.
    pub(super) fn tell_end(
        &mut self,
        now: Instant,
        claim: Seq,
        cause: EndCause,
        waited: Duration,
        held: Duration,
    ) {
        if self.inherited.is_some() {
            return; // the core is told when its list is compared with ours
        }
        let release = Release {
            claim,
            cause,
            waited_ms: millis(waited),
            held_ms: millis(held),
        };
        self.outbox
            .push_urgent(Operation::Release(release), Purpose::End(claim));
        self.quorum.doubt(now);
    }

    /// Ends what the core granted, or may yet grant, and nobody was or will be told of.
    pub(super) fn give_up(&mut self, now: Instant, claim: Seq) {
        let cause = EndCause::GrantTooLate;
        if planted::is(Bug::LateGrantKept) {
            return;
        }
        self.tell_end(now, claim, cause, Duration::ZERO, Duration::ZERO);
    }

    /// The core knows this claim no more.
    pub(super) fn core_forgot(&mut self, claim: Seq) {
        if let Some(key) = self.by_seq.remove(&claim)
            && let Some(hold) = self.holds.get_mut(&key)
        {
            hold.seq = None;
            self.dying.push(key);
        }
    }

    /// Removes a claim as if it had never been.
    pub(super) fn remove(&mut self, key: Key) {
        self.disown(key);
        let Some(hold) = self.holds.remove(&key) else {
            return;
        };
        if hold.recorded {
            self.unsaved_gone(hold.id.clone());
        }
        if let Some(timer) = hold.timer {
            self.wheel.cancel(timer);
        }
        if self.by_id.get(&hold.id) == Some(&key) {
            self.by_id.remove(&hold.id);
        }
        for caller in self.watchers.remove(&key).unwrap_or_default() {
            self.answer(caller, Answer::Changed);
        }
        let (held, ended) = kind_of(&hold.stage);
        self.granted -= u64::from(held);
        self.queued -= u64::from(!held && !ended);
    }

    /// Remembers ended claims in little memory, once nothing else is due for them.
    pub(super) fn bury(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.dying) {
            let Some(hold) = self.holds.get(&key) else {
                continue;
            };
            let Stage::Ended(ended) = &hold.stage else {
                continue;
            };
            let due = ended.release_at.is_some() || hold.seq.is_some() || !hold.callers.is_empty();
            if due || self.watchers.contains_key(&key) {
                continue; // it comes again, or is forgotten in time as it is
            }
            if let Some(hold) = self.holds.remove(&key) {
                if let Some(timer) = hold.timer {
                    self.wheel.cancel(timer);
                }
                self.by_id.remove(&hold.id);
                self.graves.bury(*hold);
            }
        }
        for id in self.graves.forget(now) {
            self.unsaved_gone(id);
        }
    }

    /// The claim of this id as it ended, if it is remembered, for as long as this step lasts.
    pub(super) fn exhume(&mut self, now: Instant, id: &ClaimId) -> Option<Key> {
        let hold = self.graves.exhume(id, now)?;
        let key = self.new_key();
        self.by_id.insert(hold.id.clone(), key);
        self.holds.insert(key, Box::new(hold));
        self.rearm(key);
        self.dying.push(key);
        Some(key)
    }
}

/// How a claim ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) state: ClaimState,
    pub(super) reason: Option<Reason>,
    /// What to tell the core; `None` if it knows.
    pub(super) cause: Option<EndCause>,
    /// Whether the id is used up.
    pub(super) used_up: bool,
    /// Tell the core only then.
    pub(super) release_at: Option<Instant>,
}

fn kind_of_end(state: ClaimState) -> ClaimEventKind {
    match state {
        ClaimState::Released => ClaimEventKind::Released,
        ClaimState::Expired => ClaimEventKind::Expired,
        ClaimState::Lost => ClaimEventKind::Lost,
        ClaimState::Revoked => ClaimEventKind::Revoked,
        ClaimState::Cancelled | ClaimState::Queued | ClaimState::Granted | ClaimState::Jeopardy => {
            ClaimEventKind::Cancelled
        }
    }
}
