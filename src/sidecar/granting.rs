//! PURE: claims on locks that this sidecar asks the core for as one, and grants itself while it has them.
//! In: claims on one lock, delegations that come and are called back. Out: local grants, returns.
//! Never: a local grant past the session's deadline, in read-only, or to an owner that has another claim
//! (those are the core's business, where deadlocks are found exactly); see `table/delegation.rs`.

use std::time::Duration;

use super::desk::{Answer, Desk, Now};
use super::habit::BLOCK_FIRST;
use super::handle::{
    ClaimAnswer, ClaimAsk, ClaimError, ClaimEventKind, Contention, Reason, SidecarMode,
};
use super::hold::{CallerId, Key, Stage as HoldStage};
use super::outbox::{AskOf, Purpose};
use super::spot::{Given, SpotId, Stage};
use crate::table::command::{EndCause, Kept, Mode, Operation, Party, Refusal, Return, User};
use crate::table::delegation::BLOCK_MAX;
use crate::table::id::{ClaimRef, LockName, Revision, Seq, SessionId, Token};
use crate::table::policy::WAITERS_MAX;
use crate::table::token::TokenBlock;
use crate::world::clock::Instant;

type Claimed = Result<ClaimAnswer, ClaimError>;

/// A lock that was kept and not used for so long goes back: its pod is done with it, most likely.
pub const IDLE_KEPT: Duration = Duration::from_secs(60);
/// Most locks kept unused; beyond, the one unused for longest goes back.
pub const KEPT_MAX: usize = 100_000;

impl Desk {
    /// How a claim can be granted here, if it can. Claims over several locks, with a value or a minimum
    /// hold, of semaphores, and of owners that have another claim are the core's business.
    pub(super) fn mode_here(&mut self, now: Instant, ask: &ClaimAsk) -> Option<Mode> {
        let [want] = ask.locks.as_slice() else {
            return None;
        };
        if !self.habits.enabled() {
            return None;
        }
        let plain = ask.value.is_none() && ask.min_hold.is_zero();
        if !plain || matches!(want.mode, Mode::Semaphore { .. }) || self.has_other_claims(ask) {
            return None;
        }
        let kept = self.habits.keeps(&want.name, now) || self.spots.of(&want.name).is_some();
        kept.then_some(want.mode)
    }

    fn has_other_claims(&self, ask: &ClaimAsk) -> bool {
        let owner = ask.owner.as_ref();
        owner.is_some_and(|owner| {
            self.by_owner
                .get(owner)
                .is_some_and(|keys| !keys.is_empty())
        })
    }

    /// A claim is about to become the core's business: so do all others of its owner, and all of its
    /// locks. Nothing of it is kept here meanwhile.
    pub(super) fn surrender_for(&mut self, now: Instant, ask: &ClaimAsk) {
        let owned = ask
            .owner
            .as_ref()
            .and_then(|owner| self.by_owner.get(owner));
        let owned: Vec<Key> = owned.into_iter().flatten().copied().collect();
        let of_owner = owned.iter().filter_map(|key| self.holds.get(key)?.spot);
        let of_locks = ask
            .locks
            .iter()
            .filter_map(|want| self.spots.of(&want.name));
        let spots: Vec<SpotId> = of_owner.chain(of_locks).collect();
        for id in spots {
            self.surrender(now, id);
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
        let name = hold.ask.locks[0].name.clone();
        let priority = hold.ask.priority;
        let id = match self.spots.of(&name) {
            Some(id) => id,
            None => {
                let id = self.spots.insert(name.clone());
                if !self.outbox.push_ask(AskOf::Spot(id)) {
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
        let may_grant =
            self.mode_at(now) == SidecarMode::Normal && self.session.certain(now).is_some();
        while may_grant && let Some(turn) = self.spots.get_mut(id).and_then(|s| s.next_turn()) {
            if let Some(hold) = self.holds.get_mut(&turn.key) {
                hold.local = turn.local;
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
                if self
                    .spots
                    .get(id)
                    .is_some_and(|spot| spot.given().is_some())
                {
                    self.settle(now, id);
                }
            }
        }
    }

    /// Gives a delegation back that nobody uses. Those that still wait ask for it anew.
    pub(super) fn give_back(&mut self, now: Instant, id: SpotId) -> Seq {
        let seq = self.push_return(now, id, Vec::new());
        self.ask_anew_or_forget(now, id);
        seq
    }

    fn push_return(&mut self, now: Instant, id: SpotId, kept: Vec<Kept>) -> Seq {
        let spot = self.spots.get(id).expect("the caller has it");
        let given = spot.given().expect("only a delegation is given back");
        if given.recalled {
            self.habits.recalled(spot.name(), given.hits, now);
        }
        let back = Return {
            delegation: given.seq,
            newest: given.newest,
            newest_exclusive: given.newest_exclusive,
            grants: given.hits,
            kept,
        };
        self.quorum.doubt(now);
        self.outbox
            .push_urgent(Operation::Return(back), Purpose::Return)
    }

    pub(super) fn ask_anew_or_forget(&mut self, now: Instant, id: SpotId) {
        if self.spots.get(id).is_some_and(|spot| spot.waiters() > 0) {
            self.spots.ask_again(id);
            self.outbox.push_ask_again(AskOf::Spot(id));
            self.quorum.doubt(now);
        } else {
            self.spots.remove(id);
        }
    }

    /// Makes all claims on a lock the core's business, in one operation for those that hold.
    pub(super) fn surrender(&mut self, now: Instant, id: SpotId) {
        let Some(spot) = self.spots.get(id) else {
            return;
        };
        let waiting: Vec<Key> = spot.waiting().collect();
        let mut plain: Vec<(Key, Seq)> = Vec::new();
        match &spot.stage {
            Stage::Unsent => {}
            Stage::Sent(asked) | Stage::Queued { asked, .. } => {
                let (seq, named, waits) = (asked.seq, asked.named, asked.waits);
                if spot.fits(asked) {
                    if let Some(hold) = self.holds.get_mut(&named) {
                        hold.asked_to_wait = waits;
                    }
                    plain.push((named, seq));
                } else {
                    self.tell_end(
                        now,
                        seq,
                        EndCause::GrantTooLate,
                        Duration::ZERO,
                        Duration::ZERO,
                    );
                }
            }
            Stage::Given(_) => {
                let users = spot.users.clone();
                let kept = users
                    .iter()
                    .filter_map(|user| self.kept(user.key, user.mode, user.token));
                let kept: Vec<Kept> = kept.collect();
                let first = self.push_return(now, id, kept);
                plain.extend(
                    (first.0..)
                        .zip(&users)
                        .map(|(seq, user)| (user.key, Seq(seq))),
                );
            }
        }
        self.spots.remove(id);
        for (key, seq) in &plain {
            self.by_seq.insert(*seq, *key);
            if let Some(hold) = self.holds.get_mut(key) {
                hold.spot = None;
                hold.seq = Some(*seq);
            }
        }
        for key in waiting {
            if plain.iter().any(|(known, _)| *known == key) {
                continue;
            }
            if let Some(hold) = self.holds.get_mut(&key) {
                hold.spot = None;
                hold.stage = HoldStage::Asking;
                self.outbox.push_ask_again(AskOf::Claim(key));
                self.rearm(key);
            }
        }
    }

    /// A claim that is known to the core by name turned out to be a delegation there: it stays a plain one.
    pub(super) fn keep_plain(&mut self, claim: Seq, token: Token) {
        let Some(key) = self.by_seq.get(&claim).copied() else {
            return;
        };
        if self.holds.get(&key).is_none_or(|hold| hold.has_ended()) {
            return; // given up meanwhile: its end is under way
        }
        self.by_seq.remove(&claim);
        let mode = self.holds.get(&key).map(|hold| hold.ask.locks[0].mode);
        let kept = mode.and_then(|mode| self.kept(key, mode, token));
        let back = Return {
            delegation: claim,
            newest: Some(token),
            newest_exclusive: (mode == Some(Mode::Exclusive)).then_some(token),
            grants: 0,
            kept: kept.into_iter().collect(),
        };
        let seq = self
            .outbox
            .push_urgent(Operation::Return(back), Purpose::Return);
        self.by_seq.insert(seq, key);
        if let Some(hold) = self.holds.get_mut(&key) {
            hold.seq = Some(seq);
            hold.news = Revision(0);
        }
    }

    fn kept(&self, key: Key, mode: Mode, token: Token) -> Option<Kept> {
        let hold = self.holds.get(&key)?;
        Some(Kept {
            user: self.user(key)?,
            mode,
            token,
            priority: hold.ask.priority,
            metadata: hold.ask.metadata.clone(),
        })
    }

    fn user(&self, key: Key) -> Option<User> {
        let hold = self.holds.get(&key)?;
        Some(User {
            claim_id: hold.id.clone(),
            owner: hold.owner(),
            trace_id: hold.trace_id.clone(),
        })
    }

    /// A claim that waited for a lock here, or used it, has ended. Tells the return that this set off.
    pub(super) fn leave_spot(&mut self, now: Instant, key: Key, id: SpotId) -> Option<Seq> {
        let spot = self.spots.get_mut(id)?;
        spot.remove(key);
        if spot.given().is_some() {
            return self.settle(now, id);
        }
        if spot.waiters() > 0 {
            self.rename(id);
            return None;
        }
        if let Some(asked) = spot.asked() {
            let seq = asked.seq;
            self.tell_end(
                now,
                seq,
                EndCause::GrantTooLate,
                Duration::ZERO,
                Duration::ZERO,
            );
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

    /// The core gave the lock.
    pub(super) fn given(
        &mut self,
        now: Instant,
        id: SpotId,
        revision: Revision,
        tokens: &[Token],
        block: Option<TokenBlock>,
    ) {
        let Some(asked) = self.spots.get(id).and_then(|spot| spot.asked().cloned()) else {
            return;
        };
        let [first] = *tokens else {
            return;
        };
        match block {
            Some(block) if !asked.absent => {
                if let Some(spot) = self.spots.get_mut(id) {
                    spot.stage =
                        Stage::Given(Given::new(&asked, revision, first, block, BLOCK_FIRST * 8));
                }
                self.settle(now, id);
            }
            _ => self.granted_plain(now, id, &asked, revision, first),
        }
    }

    /// The lock cannot be delegated: the claim in whose name it was asked has it, the others ask again.
    fn granted_plain(
        &mut self,
        now: Instant,
        id: SpotId,
        asked: &super::spot::Asked,
        revision: Revision,
        token: Token,
    ) {
        let waits = self.spots.get(id).is_some_and(|spot| spot.fits(asked));
        if asked.absent || !waits {
            // Granted in the name of one that is gone, or gone itself: nobody was or will be told.
            self.tell_end(
                now,
                asked.seq,
                EndCause::GrantTooLate,
                Duration::ZERO,
                Duration::ZERO,
            );
            return self.ask_anew_or_forget(now, id);
        }
        if let Some(spot) = self.spots.get_mut(id) {
            spot.remove(asked.named);
        }
        self.ask_anew_or_forget(now, id);
        self.by_seq.insert(asked.seq, asked.named);
        if let Some(hold) = self.holds.get_mut(&asked.named) {
            hold.spot = None;
            hold.seq = Some(asked.seq);
            hold.news = revision;
            self.granted(now, asked.named, vec![token]);
        }
    }

    /// The core has queued the request. If it was a try, only until it knows more.
    pub(super) fn queued_here(
        &mut self,
        now: Instant,
        id: SpotId,
        ahead: u32,
        behind: Option<Party>,
    ) {
        let Some(spot) = self.spots.get_mut(id) else {
            return;
        };
        let Stage::Sent(asked) = &spot.stage else {
            return;
        };
        if asked.absent {
            return self.ask_anew_or_forget(now, id);
        }
        spot.stage = Stage::Queued {
            asked: asked.clone(),
            ahead,
            behind: behind.map(Box::new),
        };
        self.tell_waiters(now, id);
    }

    /// The core would not have it.
    pub(super) fn refused_here(&mut self, now: Instant, id: SpotId, refusal: &Refusal) {
        let Some(spot) = self.spots.get(id) else {
            return;
        };
        let Some(asked) = spot.asked().cloned() else {
            return;
        };
        let refused: Vec<Key> = match refusal {
            Refusal::Held { .. } | Refusal::LockDelay { .. } => {
                let waiting = spot.waiting();
                waiting.filter(|key| !self.would_wait(*key)).collect()
            }
            Refusal::Deadlock(_) => vec![asked.named],
            Refusal::SemaphoreLimit { .. } | Refusal::QueueFull { .. } | Refusal::Invalid(_) => {
                spot.waiting().collect()
            }
        };
        if let Some(spot) = self.spots.get_mut(id) {
            for key in &refused {
                spot.remove(*key);
            }
        }
        self.ask_anew_or_forget(now, id);
        for key in refused {
            if let Some(hold) = self.holds.get_mut(&key) {
                hold.spot = None;
                self.refused(now, key, refusal.clone());
            }
        }
    }

    /// The core has taken the delegation, or the place in the queue: by force, or to end a deadlock.
    pub(super) fn taken(
        &mut self,
        now: Instant,
        id: SpotId,
        cause: EndCause,
        cycle: &[crate::table::command::CycleEdge],
    ) {
        let Some(spot) = self.spots.get(id) else {
            return;
        };
        let gone: Vec<Key> = match &spot.stage {
            Stage::Given(_) => spot.users.iter().map(|user| user.key).collect(),
            Stage::Sent(asked) | Stage::Queued { asked, .. } => vec![asked.named]
                .into_iter()
                .filter(|key| spot.has_waiter(*key))
                .collect(),
            Stage::Unsent => Vec::new(),
        };
        if let Some(spot) = self.spots.get_mut(id) {
            for key in &gone {
                spot.remove(*key);
            }
        }
        self.ask_anew_or_forget(now, id);
        for key in gone {
            if let Some(hold) = self.holds.get_mut(&key) {
                hold.spot = None;
                self.ended_by_core(now, key, cause, cycle.to_vec());
            }
        }
    }

    /// An operator wants the lock: its users are told and let go, and it goes back.
    pub(super) fn break_asked_here(&mut self, now: Instant, id: SpotId) {
        let Some(given) = self.spots.get_mut(id).and_then(|spot| spot.given_mut()) else {
            return;
        };
        given.recalled = true;
        let users = self.spots.get(id).map(|spot| spot.users.clone());
        for user in users.unwrap_or_default() {
            self.break_asked(now, user.key);
        }
        if self
            .spots
            .get(id)
            .is_some_and(|spot| spot.given().is_some())
        {
            self.settle(now, id);
        }
    }

    /// Others wait for the lock.
    pub(super) fn recalled(&mut self, now: Instant, id: SpotId, answer: bool) {
        let Some(spot) = self.spots.get_mut(id) else {
            return;
        };
        if let Some(asked) = spot.asked_mut() {
            // Told before the grant itself: its reply is still to come.
            asked.recalled = Some(answer || asked.recalled == Some(true));
            return;
        }
        let Some(given) = spot.given_mut() else {
            return;
        };
        given.answer_due |= answer;
        let first = !std::mem::replace(&mut given.recalled, true);
        let users: Vec<Key> = spot.users.iter().map(|user| user.key).collect();
        if first {
            for key in users {
                self.note(key, ClaimEventKind::RecallRequested);
            }
        }
        self.settle(now, id);
    }

    /// Somebody else reads or watches the lock: all that happens to it goes through the core for a while.
    pub(super) fn wanted(&mut self, now: Instant, id: SpotId) {
        let Some(spot) = self.spots.get(id) else {
            return;
        };
        self.habits.watched(spot.name(), now);
        if spot.given().is_none() {
            return;
        }
        if spot.users.is_empty() {
            self.give_back(now, id);
        } else {
            self.surrender(now, id);
        }
    }

    /// More tokens, or none.
    pub(super) fn refilled(&mut self, now: Instant, id: SpotId, block: Option<TokenBlock>) {
        let Some(given) = self.spots.get_mut(id).and_then(|spot| spot.given_mut()) else {
            return;
        };
        given.refilling = false;
        if let Some(block) = block {
            given.spare = block;
            given.refill = given.refill.saturating_mul(8).min(BLOCK_MAX);
        }
        self.settle(now, id);
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
        if let Some(user) = user.and_then(|key| self.user(key)) {
            let told = Operation::InUse { delegation, user };
            self.outbox.push_urgent(told, Purpose::Note);
        }
    }

    /// Tells those that came since the last time that they wait; refuses those that would not.
    fn tell_waiters(&mut self, now: Instant, id: SpotId) {
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
            let before = spot.waiting().take_while(|other| *other != key).count();
            let before = u32::try_from(before).unwrap_or(u32::MAX);
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
                lock: self.spots.get(id).map_or_else(
                    || LockName::parse("?").expect("a name"),
                    |spot| spot.name().clone(),
                ),
                holder: behind.map(|party| *party),
                waiters: waiters.saturating_sub(1),
                retry_after,
            });
            self.answer_claim(key, &Err(held));
            self.cancel(now, key, Reason::Refused);
            self.remove_unless_known(key);
        }
    }

    fn would_wait(&self, key: Key) -> bool {
        self.holds.get(&key).is_some_and(|hold| hold.would_wait())
    }

    /// One of those that use a lock here.
    pub(super) fn party_using(&self, id: SpotId) -> Option<Party> {
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
        })
    }

    /// Locks kept unused for too long, or too many of them, go back.
    pub(super) fn fire_spots(&mut self, now: Instant) {
        while let Some((since, id)) = self.spots.longest_idle() {
            if since + IDLE_KEPT > now && self.spots.idle() <= KEPT_MAX {
                return;
            }
            self.give_back(now, id);
        }
    }

    /// When [`Self::fire_spots`] has something to do.
    pub(super) fn spots_due(&self) -> Option<Instant> {
        self.spots
            .longest_idle()
            .map(|(since, _)| since + IDLE_KEPT)
    }

    /// The session is gone: delegations and places in queues with it. Claims whose request never left go
    /// to the next session.
    pub(super) fn lose_spots(&mut self) -> Vec<Key> {
        let mut lost = Vec::new();
        for id in self.spots.ids() {
            if self.spots.get(id).is_none_or(|spot| spot.is_unsent()) {
                continue;
            }
            let Some(spot) = self.spots.remove(id) else {
                continue;
            };
            let users = spot.users.iter().map(|user| user.key);
            for key in users.chain(spot.waiting()) {
                if let Some(hold) = self.holds.get_mut(&key) {
                    hold.spot = None;
                }
                lost.push(key);
            }
        }
        lost
    }
}
