//! PURE: claims on locks that this sidecar asks the core for as one, and grants itself while it has them.
//! In: claims on one lock, delegations that come and are called back. Out: local grants, refusals.
//! Never: a local grant past the session's deadline, in read-only, or to an owner that has another claim
//! (those are the core's business, where deadlocks are found exactly); see `table/delegation.rs`.

use super::desk::{Answer, Desk, Now};
use super::handle::{ClaimAnswer, ClaimAsk, ClaimError, Contention, Reason, SidecarMode};
use super::hold::{CallerId, Key};
use super::outbox::{AskOf, Purpose};
use super::spot::{SpotId, Stage};
use crate::planted::{self, Bug};
use crate::table::command::{Mode, Operation, Party, Want};
use crate::table::id::{ClaimRef, Seq, SessionId};
use crate::table::policy::WAITERS_MAX;
use crate::world::clock::Instant;

type Claimed = Result<ClaimAnswer, ClaimError>;

impl Desk {
    /// How a claim can be granted here, if it can. Claims over several locks, with a value or a minimum
    /// hold, and of owners that have another claim are the core's business.
    pub(super) fn mode_here(&mut self, now: Instant, ask: &ClaimAsk) -> Option<Mode> {
        let [want] = ask.locks.as_slice() else {
            return None;
        };
        if !self.habits.enabled() {
            return None;
        }
        let plain = ask.value.is_none() && ask.min_hold.is_zero();
        if !plain || self.has_other_claims(ask) {
            return None;
        }
        let spot = self.spots.of(&want.name);
        let of_permits = spot
            .and_then(|id| self.spots.get(id))
            .map(|spot| spot.is_of_permits());
        let wants_permits = matches!(want.mode, Mode::Semaphore { .. });
        if of_permits.is_some_and(|of_permits| of_permits != wants_permits) {
            return None;
        }
        let habits = &self.habits;
        if wants_permits {
            let here = habits.keeps(&want.name, now) || self.free_permits(want).is_some();
            return here.then_some(want.mode);
        }
        if habits.keeps(&want.name, now) {
            return Some(want.mode);
        }
        let given = spot.and_then(|id| self.spots.get(id)?.given()).is_some();
        // Readers of a lock that is not kept have no turns to share: in one line they would be asked for,
        // and granted, one after the other.
        let together = match want.mode {
            Mode::Exclusive => spot.is_some() || habits.lines_up(&want.name, now),
            Mode::Shared | Mode::Semaphore { .. } => given,
        };
        together.then_some(want.mode)
    }

    /// Permits of a semaphore that are kept here unused.
    fn free_permits(&self, want: &Want) -> Option<SpotId> {
        self.spots.all_of(&want.name).find(|id| {
            let spot = self.spots.get(*id);
            spot.is_some_and(|spot| spot.is_free_for(want.mode))
        })
    }

    /// Where a claim stands in line: all of a lock together, but each for its own permits of a semaphore,
    /// since there may be more of those elsewhere.
    fn spot_for(&self, want: &Want) -> Option<SpotId> {
        match want.mode {
            Mode::Semaphore { .. } => self.free_permits(want),
            Mode::Exclusive | Mode::Shared => self.spots.of(&want.name),
        }
    }

    /// Puts a new claim in line for its lock. It is granted at once if nothing stands in the way.
    pub(super) fn claim_here(
        &mut self,
        now: Instant,
        key: Key,
        caller: CallerId,
        mode: Mode,
    ) -> Now<Claimed> {
        let hold = self.holds.get_mut(&key).expect("just made");
        let want = hold.ask.locks[0].clone();
        let name = want.name.clone();
        let priority = hold.ask.priority;
        let id = match self.spot_for(&want) {
            Some(id) => id,
            None => {
                let id = self.spots.insert(name.clone());
                if !self.outbox.push_ask(AskOf::Spot(id), now) {
                    self.spots.remove(id);
                    self.remove(key);
                    return Now::Done(Err(self.overloaded().into()));
                }
                self.quorum.doubt(now);
                id
            }
        };
        let full = self
            .spots
            .get(id)
            .is_some_and(|spot| spot.waiters() >= WAITERS_MAX as usize);
        if full {
            self.remove(key);
            return Now::Done(Err(ClaimError::QueueFull {
                lock: name,
                waiters_max: WAITERS_MAX,
                policy: "".into(),
            }));
        }
        let hold = self.holds.get_mut(&key).expect("just made");
        hold.spot = Some(id);
        if let Some(spot) = self.spots.get_mut(id) {
            spot.push(key, mode, priority);
        }
        self.spots.set_idle(id, None);
        self.rename(id);
        self.settle(now, id);
        self.rearm(key);
        // If that decided it, its answer needs no detour.
        match self.answers.iter().position(|(to, _)| *to == caller) {
            Some(place) => match self.answers.remove(place).1 {
                Answer::Claim(answer) => {
                    if let Some(hold) = self.holds.get_mut(&key) {
                        (hold.told, hold.telling) = (true, 0);
                    }
                    Now::Done(answer)
                }
                other => {
                    self.answers.push((caller, other));
                    Now::Later(caller)
                }
            },
            None => Now::Later(caller),
        }
    }

    /// Grants what can be granted of a lock, and does what follows: refuses tries, answers recalls, asks for
    /// tokens, gives the lock back. Tells the return that this set off.
    pub(super) fn settle(&mut self, now: Instant, id: SpotId) -> Option<Seq> {
        let standing = match self.mode_at(now) {
            SidecarMode::Normal => true,
            SidecarMode::ReadOnly => planted::is(Bug::GrantInReadOnly),
            SidecarMode::Jeopardy => planted::is(Bug::GrantPastDeadline),
        };
        let certain = self.session.certain(now).is_some();
        let may_grant = standing && (certain || planted::is(Bug::GrantPastDeadline));
        while may_grant && let Some(turn) = self.spots.get_mut(id).and_then(|s| s.next_turn()) {
            let spot = self.spots.get(id);
            let (under, freed) = (spot.and_then(|it| it.given()), spot.and_then(|it| it.freed));
            if let Some(hold) = self.holds.get_mut(&turn.key) {
                hold.handed_over = freed.map(|freed| now.since(freed.max(hold.asked)));
                hold.local = turn.local;
                self.granted_locally += u64::from(turn.local);
                hold.under = under.map(|given| given.seq);
            }
            self.tell(now, turn.key, vec![turn.token]);
        }
        self.refill(id);
        let spot = self.spots.get(id)?;
        let Some(given) = spot.given() else {
            self.tell_waiters(now, id);
            return None;
        };
        if !spot.users.is_empty() {
            self.answer_recall(id);
            self.tell_waiters(now, id);
            return None;
        }
        let kept = !given.recalled && !self.draining && self.habits.keeps(spot.name(), now);
        if spot.waiters() == 0 && kept {
            self.spots.set_idle(id, Some(now));
            return None;
        }
        // Whoever waits and cannot be granted now is not helped by waiting for a clearer moment, if
        // others wait too.
        let stuck = may_grant && !spot.awaits_tokens();
        if spot.waiters() == 0 || given.recalled || stuck {
            return Some(self.give_back(now, id));
        }
        self.stalled |= !may_grant;
        None
    }

    /// Settles all locks whose claims could not be granted for want of certainty.
    pub(super) fn settle_stalled(&mut self, now: Instant) {
        if self.mode_at(now) == SidecarMode::Normal && std::mem::take(&mut self.stalled) {
            for id in self.spots.ids() {
                self.settle(now, id);
            }
        }
    }

    /// A claim that waited for a lock here, or used it, has ended. Tells the return that this set off.
    pub(super) fn leave_spot(&mut self, now: Instant, key: Key, id: SpotId) -> Option<Seq> {
        let spot = self.spots.get_mut(id)?;
        if spot.remove(key) {
            spot.freed = Some(now);
        }
        if spot.given().is_some() {
            return self.settle(now, id);
        }
        if spot.waiters() > 0 {
            self.rename(id);
            return None;
        }
        if let Some(asked) = spot.asked() {
            let seq = asked.seq;
            self.give_up(now, seq);
        }
        self.spots.remove(id);
        None
    }

    /// The request under way goes on in the name of the best who waits here now.
    fn rename(&mut self, id: SpotId) {
        let Some(spot) = self.spots.get(id) else {
            return;
        };
        let (Some(asked), Some(best)) = (spot.asked(), spot.best()) else {
            return;
        };
        let priority = spot.priority();
        if spot.has_waiter(asked.named) && asked.priority == priority {
            return;
        }
        let (claim, named) = (asked.seq, best.key);
        let Some(user) = self.user(named) else {
            return;
        };
        let rename = Operation::Rename {
            claim,
            user,
            priority,
        };
        self.outbox.push_urgent(rename, Purpose::Note);
        if let Some(asked) = self.spots.get_mut(id).and_then(|spot| spot.asked_mut()) {
            asked.named = named;
            asked.priority = priority;
        }
    }

    fn refill(&mut self, id: SpotId) {
        let Some(given) = self.spots.get_mut(id).and_then(|spot| spot.given_mut()) else {
            return;
        };
        let low = given.tokens() < u64::from(given.refill) / 16;
        if !low || given.refilling || given.recalled || !given.spare.is_empty() {
            return;
        }
        given.refilling = true;
        let refill = Operation::Refill {
            delegation: given.seq,
            block: given.refill,
        };
        self.outbox.push_urgent(refill, Purpose::Refill(id));
    }

    fn answer_recall(&mut self, id: SpotId) {
        let Some(spot) = self.spots.get_mut(id) else {
            return;
        };
        let user = spot.users.first().map(|user| user.key);
        let Some(given) = spot.given_mut() else {
            return;
        };
        if !std::mem::take(&mut given.answer_due) {
            return;
        }
        let delegation = given.seq;
        if planted::is(Bug::NoAnswerToTry) {
            return;
        }
        if let Some(user) = user.and_then(|key| self.user(key)) {
            let told = Operation::InUse { delegation, user };
            self.outbox.push_urgent(told, Purpose::Note);
        }
    }

    /// Tells those that came since the last time that they wait; refuses those that would not.
    pub(super) fn tell_waiters(&mut self, now: Instant, id: SpotId) {
        let Some(spot) = self.spots.get_mut(id) else {
            return;
        };
        if !spot.is_decided() {
            return;
        }
        let fresh = std::mem::take(&mut spot.fresh);
        for key in fresh {
            let Some(spot) = self.spots.get(id) else {
                return;
            };
            if !spot.has_waiter(key) {
                continue; // a refusal before made room for it
            }
            let lock = spot.name().clone();
            let before = u32::try_from(spot.before(key)).unwrap_or(u32::MAX);
            let waiters = u32::try_from(spot.waiters()).unwrap_or(u32::MAX);
            let (ahead, behind) = match &spot.stage {
                Stage::Queued { ahead, behind, .. } => (*ahead, behind.clone()),
                _ => (0, self.party_using(id).map(Box::new)),
            };
            if self.would_wait(key) {
                self.queued(now, key, ahead.saturating_add(before), behind);
                continue;
            }
            let retry_after = self.estimates.held(waiters, &mut self.rng);
            let held = ClaimError::Held(Contention {
                lock,
                holder: behind,
                waiters: waiters.saturating_sub(1),
                retry_after,
            });
            self.answer_claim(key, &Err(held));
            self.cancel(now, key, Reason::Refused);
            self.remove_unless_known(key);
        }
    }

    pub(super) fn would_wait(&self, key: Key) -> bool {
        self.holds.get(&key).is_some_and(|hold| hold.would_wait())
    }

    /// One of those that use a lock here.
    fn party_using(&self, id: SpotId) -> Option<Party> {
        let spot = self.spots.get(id)?;
        let key = spot
            .users
            .first()
            .map(|user| user.key)
            .or_else(|| spot.waiting().next())?;
        let seq = spot.given().map_or(Seq(0), |given| given.seq);
        let user = self.user(key)?;
        Some(Party {
            claim: ClaimRef {
                session: self.session.id().unwrap_or(SessionId(0)),
                seq,
            },
            claim_id: user.claim_id,
            owner: user.owner,
            identity: self.session.identity().clone(),
            trace_id: user.trace_id,
        })
    }
}
