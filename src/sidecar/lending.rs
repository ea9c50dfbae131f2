//! PURE: what the core says of a lock that this sidecar asks for as one: given, queued, refused, called back.
//! In: news of a delegation or of the request for one. Out: what becomes of the claims here.
//! Never: a claim told granted in another mode than the core granted.

use super::desk::Desk;
use super::frame::News;
use super::habit::BLOCK_FIRST;
use super::handle::{ClaimEventKind, ReleaseAnswer};
use super::hold::Key;
use super::spot::{Asked, Given, SpotId, Stage};
use crate::planted::{self, Bug};
use crate::table::attachment::Attachment;
use crate::table::command::{CycleEdge, EndCause, OperationReply, Party, Refusal};
use crate::table::delegation::BLOCK_MAX;
use crate::table::id::{Revision, Seq, Token};
use crate::table::token::TokenBlock;
use crate::world::clock::Instant;

impl Desk {
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
        asked: &Asked,
        revision: Revision,
        token: Token,
    ) {
        let waits = self.spots.get(id).is_some_and(|spot| spot.fits(asked));
        if asked.absent || !waits {
            // Granted in the name of one that is gone, or gone itself: nobody was or will be told.
            self.give_up(now, asked.seq);
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

    /// A claim that is known to the core by name was granted as a delegation there: it goes on as a plain one.
    pub(super) fn delegated_plain(
        &mut self,
        now: Instant,
        claim: Seq,
        revision: Revision,
        tokens: Vec<Token>,
    ) {
        if let Some(key) = self.newer(claim, revision)
            && let [token] = *tokens
        {
            self.keep_plain(claim, token);
            self.granted(now, key, tokens);
        }
    }

    /// The core has queued the request. If it was a try, only until it knows more.
    fn queued_here(&mut self, now: Instant, id: SpotId, ahead: u32, behind: Option<Party>) {
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
    fn refused_here(&mut self, now: Instant, id: SpotId, refusal: &Refusal) {
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
            Refusal::SemaphoreLimit { .. }
            | Refusal::QueueFull { .. }
            | Refusal::Invalid(_)
            | Refusal::Denied { .. } => spot.waiting().collect(),
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
    pub(super) fn taken(&mut self, now: Instant, id: SpotId, cause: EndCause, cycle: &[CycleEdge]) {
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
        self.settle(now, id);
    }

    /// Others wait for the lock.
    fn recalled(&mut self, now: Instant, id: SpotId, answer: bool, wanted_by: Option<Party>) {
        let Some(spot) = self.spots.get_mut(id) else {
            return;
        };
        if let Some(asked) = spot.asked_mut() {
            if planted::is(Bug::EarlyRecallLost) {
                return;
            }
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
            self.sight_recall(id, wanted_by);
            for key in users {
                self.note(key, ClaimEventKind::RecallRequested);
            }
        }
        self.settle(now, id);
    }

    /// Somebody else reads or watches the lock: all that happens to it goes through the core for a while.
    fn wanted(&mut self, now: Instant, id: SpotId) {
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
        match block {
            Some(block) => {
                given.spare = block;
                given.refill = given.refill.saturating_mul(8).min(BLOCK_MAX);
            }
            // There are none to be had: nothing more is asked for.
            None => given.refill = 0,
        }
        self.settle(now, id);
    }

    /// News of a lock as a whole, or of a try that waited for one.
    pub(super) fn hear_of_lock(&mut self, now: Instant, news: News) {
        match news {
            News::Delegated {
                claim,
                revision,
                tokens,
                block,
            } => match self.spots.of_seq(claim) {
                Some(id) => self.given(now, id, revision, &tokens, Some(block)),
                None => self.delegated_plain(now, claim, revision, tokens),
            },
            News::Recalled {
                claim,
                revision: _,
                answer,
                wanted_by,
            } => {
                // What is not here any more is on its way back.
                if let Some(id) = self.spots.of_seq(claim) {
                    self.recalled(now, id, answer, wanted_by);
                }
            }
            News::Wanted { claim } => {
                if let Some(id) = self.spots.of_seq(claim) {
                    self.wanted(now, id);
                }
            }
            News::Refused {
                claim,
                revision,
                refusal,
            } => match self.spots.of_seq(claim) {
                Some(id) => self.refused_here(now, id, &refusal),
                None => {
                    if let Some(key) = self.newer(claim, revision) {
                        self.core_forgot(claim);
                        self.refused(now, key, refusal);
                    }
                }
            },
            News::Granted { .. }
            | News::ClaimEnded { .. }
            | News::BreakAsked { .. }
            | News::SessionEnded { .. } => {}
        }
    }

    /// The same for locks that were asked for as a whole.
    pub(super) fn compare_spots(&mut self, now: Instant, all: &Attachment) {
        for id in self.spots.ids() {
            let Some(spot) = self.spots.get_mut(id) else {
                continue;
            };
            let seq = match (spot.asked(), spot.given()) {
                (Some(asked), _) => asked.seq,
                (None, Some(given)) => given.seq,
                (None, None) => continue,
            };
            let listed = all.claims.binary_search_by_key(&seq, |c| c.claim.seq);
            let Some(listed) = listed.ok().map(|place| &all.claims[place]) else {
                if seq > all.seq {
                    continue; // not applied yet: it goes again
                }
                match &mut spot.stage {
                    // Its kept reply is still to come, and is history.
                    Stage::Sent(asked) => asked.absent = true,
                    // It ended there, and the news of it were lost with the stream.
                    Stage::Queued { .. } => self.ask_anew_or_forget(now, id),
                    Stage::Given(_) | Stage::Unsent => self.taken(now, id, EndCause::Broken, &[]),
                }
                continue;
            };
            if !listed.tokens.is_empty() {
                let block = listed.delegation.as_ref().map(|held| held.block);
                self.given(now, id, all.revision, &listed.tokens, block);
            }
            if let Some(held) = listed.delegation.as_ref().filter(|held| held.recalled) {
                self.recalled(now, id, held.answer, None);
            }
            if listed.breaking {
                self.break_asked_here(now, id);
            }
        }
    }

    /// The reply to the return of a delegation.
    pub(super) fn hear_returned(
        &mut self,
        now: Instant,
        seq: Seq,
        kept: u32,
        reply: Option<&OperationReply>,
    ) {
        self.answer_release(seq, &Ok(ReleaseAnswer::Released));
        if !matches!(reply, Some(OperationReply::Returned { kept: false, .. })) {
            return;
        }
        // Only an operator takes a delegation from a session that stands: its claims went with it.
        for claim in seq.0..seq.0.saturating_add(u64::from(kept)) {
            if let Some(key) = self.by_seq.get(&Seq(claim)).copied() {
                self.vanished(now, key);
            }
        }
    }

    /// The reply to the request for a lock as a whole.
    pub(super) fn hear_delegated(
        &mut self,
        now: Instant,
        id: SpotId,
        claim: Seq,
        reply: Option<OperationReply>,
    ) {
        if self.spots.of_seq(claim) != Some(id) {
            // It was handed to one claim meanwhile, or given up; then its end is under way.
            if let Some(key) = self.by_seq.get(&claim).copied() {
                self.hear_asked(now, key, claim, reply);
            }
            return;
        }
        match reply {
            Some(OperationReply::Granted(grant)) => {
                self.given(now, id, grant.revision, &grant.tokens, None);
            }
            Some(OperationReply::Delegated(delegated)) => {
                let grant = delegated.grant;
                self.given(
                    now,
                    id,
                    grant.revision,
                    &grant.tokens,
                    Some(delegated.block),
                );
            }
            Some(OperationReply::Queued { ahead, behind, .. }) => {
                self.queued_here(now, id, ahead, behind);
            }
            Some(OperationReply::Refused(refusal)) => self.refused_here(now, id, &refusal),
            Some(
                OperationReply::Ended { .. }
                | OperationReply::ValueSet(_)
                | OperationReply::Closed
                | OperationReply::Returned { .. }
                | OperationReply::Refilled(_)
                | OperationReply::Noted,
            )
            | None => self.taken(now, id, EndCause::Broken, &[]),
        }
    }
}
