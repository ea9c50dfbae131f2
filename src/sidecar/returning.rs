//! PURE: how a lock leaves this sidecar: given back unused, or handed over with the claims that hold it.
//! In: recalls, claims that need the core, sessions lost. Out: one operation with all that still holds.
//! Never: something reserved here while the core is asked for the rest.

use std::time::Duration;

use super::desk::Desk;
use super::handle::ClaimAsk;
use super::hold::{Key, Stage as HoldStage};
use super::outbox::{AskOf, Purpose};
use super::spot::{SpotId, Stage};
use crate::planted::{self, Bug};
use crate::table::command::{Kept, Mode, Operation, Return, User, Want};
use crate::table::id::{OwnerId, Revision, Seq, Token};
use crate::world::clock::Instant;

/// A lock that was kept and not used for so long goes back: its pod is done with it, most likely.
pub const IDLE_KEPT: Duration = Duration::from_secs(60);
/// Most locks kept unused; beyond, the one unused for longest goes back.
pub const KEPT_MAX: usize = 100_000;

impl Desk {
    pub(super) fn has_other_claims(&self, ask: &ClaimAsk) -> bool {
        let owner = ask.owner.as_ref();
        if planted::is(Bug::OwnerHasTwoHere) {
            return false;
        }
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
        let of_locks = ask.locks.iter().flat_map(|want| self.in_the_way_of(want));
        let spots: Vec<SpotId> = of_owner.chain(of_locks).collect();
        for id in spots {
            self.surrender(now, id);
        }
    }

    /// What is here of a lock and would keep a claim from it at the core. Permits keep no others away: there
    /// may be more, and if not, they are called back.
    fn in_the_way_of<'a>(&'a self, want: &'a Want) -> impl Iterator<Item = SpotId> + 'a {
        let wants_permits = matches!(want.mode, Mode::Semaphore { .. });
        self.spots.all_of(&want.name).filter(move |id| {
            let spot = self.spots.get(*id);
            spot.is_some_and(|spot| !(wants_permits && spot.is_of_permits()))
        })
    }

    /// Gives a delegation back that nobody uses. Those that still wait ask for it anew.
    pub(super) fn give_back(&mut self, now: Instant, id: SpotId) -> Seq {
        let seq = self.push_return(now, id, Vec::new());
        self.ask_anew_or_forget(now, id);
        seq
    }

    fn push_return(&mut self, now: Instant, id: SpotId, kept: Vec<Kept>) -> Seq {
        let spot = self.spots.get_mut(id).expect("the caller has it");
        let given = spot.given_mut();
        let ended = given.map(|given| std::mem::take(&mut given.ended));
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
            ended: ended.unwrap_or_default().into(),
        };
        let kept = u32::try_from(back.kept.len()).unwrap_or(u32::MAX);
        self.quorum.doubt(now);
        self.outbox
            .push_urgent(Operation::Return(back), Purpose::Return(kept))
    }

    pub(super) fn ask_anew_or_forget(&mut self, now: Instant, id: SpotId) {
        let Some(spot) = self.spots.get(id).filter(|spot| spot.waiters() > 0) else {
            self.spots.remove(id);
            return;
        };
        let kept = self.habits.keeps(spot.name(), now);
        let readers = spot.has_readers();
        self.spots.ask_again(id);
        if readers && !kept {
            // Each for itself: the core lets them all in at once.
            self.surrender(now, id);
        } else {
            self.outbox.push_ask_again(AskOf::Spot(id), now);
        }
        self.quorum.doubt(now);
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
                    self.give_up(now, seq);
                }
            }
            Stage::Given(_) => {
                let kept = spot.users.iter().filter_map(|user| {
                    Some((user.key, self.kept(user.key, user.mode, user.token)?))
                });
                let kept = kept.filter(|_| !planted::is(Bug::ReturnFreesHeld));
                let (keys, kept): (Vec<Key>, Vec<Kept>) = kept.unzip();
                let first = self.push_return(now, id, kept);
                plain.extend(keys.into_iter().zip((first.0..=u64::MAX).map(Seq)));
            }
        }
        self.spots.remove(id);
        for (key, seq) in &plain {
            self.by_seq.insert(*seq, *key);
            if let Some(hold) = self.holds.get_mut(key) {
                hold.spot = None;
                hold.seq = Some(*seq);
            }
            self.unsaved(*key);
        }
        for key in waiting {
            if plain.iter().any(|(known, _)| *known == key) {
                continue;
            }
            if let Some(hold) = self.holds.get_mut(&key) {
                hold.spot = None;
                hold.stage = HoldStage::Asking;
                self.outbox.push_ask_again(AskOf::Claim(key), now);
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
            ended: Vec::new(),
        };
        let seq = self
            .outbox
            .push_urgent(Operation::Return(back), Purpose::Return(1));
        self.by_seq.insert(seq, key);
        if let Some(hold) = self.holds.get_mut(&key) {
            hold.seq = Some(seq);
            hold.under = Some(claim);
            hold.news = Revision(0);
        }
        self.unsaved(key);
    }

    pub(super) fn kept(&self, key: Key, mode: Mode, token: Token) -> Option<Kept> {
        let hold = self.holds.get(&key)?;
        Some(Kept {
            user: self.user(key)?,
            mode,
            token,
            priority: hold.ask.priority,
            metadata: hold.ask.metadata.clone(),
        })
    }

    pub(super) fn user(&self, key: Key) -> Option<User> {
        let hold = self.holds.get(&key)?;
        Some(User {
            claim_id: hold.id.clone(),
            owner: hold.owner(),
            trace_id: hold.trace.id.clone(),
        })
    }

    /// The session is gone: delegations and places in queues with it. Claims whose request never left go
    /// to the next session.
    pub(super) fn lose_spots(&mut self) -> Vec<Key> {
        let mut lost = Vec::new();
        for id in self.spots.ids() {
            let outlives = |spot: &super::spot::Spot| {
                planted::is(Bug::DelegationOutlivesSession) && spot.given().is_some()
            };
            if self
                .spots
                .get(id)
                .is_none_or(|spot| spot.is_unsent() || outlives(spot))
            {
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

    /// A claim that names its owner comes to be.
    pub(super) fn own(&mut self, key: Key, owner: &OwnerId) {
        self.by_owner.entry(owner.clone()).or_default().insert(key);
    }

    /// The claim's owner has one claim less.
    pub(super) fn disown(&mut self, key: Key) {
        let owner = self
            .holds
            .get(&key)
            .and_then(|hold| hold.ask.owner.as_ref());
        let Some(owner) = owner else {
            return;
        };
        if let Some(keys) = self.by_owner.get_mut(owner) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}
