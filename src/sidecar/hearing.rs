//! PURE: what the cores tell: who leads, what became of renewals and operations, what happened.
//! In: frames of streams. Out: grants told, claims ended, deadlines moved. Never: anything from a
//! superseded stream or session, or news of a claim that are not newer than what is known of it.

use rand::Rng;

use super::desk::{Answer, Desk, Link};
use super::frame::{
    FrameIn, LeaderNews, News, OperationNews, ReadRefusal, RenewalNews, RenewalOutcome,
};
use super::handle::{ClaimError, Reason};
use super::hold::Key;
use super::outbox::Purpose;
use super::reads::Outcome;
use super::session::{Attach, PAUSE, StreamRef};
use super::sight::Sight;
use crate::table::attachment::Attachment;
use crate::table::command::{OperateReply, OperationReply};
use crate::table::id::{Revision, Seq, SessionKey};
use crate::world::clock::Instant;

impl Desk {
    /// A stream to a node stands.
    pub fn stream_up(&mut self, now: Instant, stream: StreamRef) {
        self.change_links(now, |desk| {
            // A node that was not known at the start.
            if desk.links.len() <= stream.node {
                desk.links.resize(stream.node + 1, Link::default());
            }
            let link = &mut desk.links[stream.node];
            link.stream = Some(stream.number);
            link.serving = false;
        });
    }

    /// A stream is gone.
    pub fn stream_down(&mut self, now: Instant, stream: StreamRef) {
        self.reads.stream_down(stream);
        if !self.is_current(stream) {
            return;
        }
        self.change_links(now, |desk| {
            let link = &mut desk.links[stream.node];
            link.stream = None;
            link.serving = false;
        });
        // Perhaps the node took a majority along: ask at once rather than at the next renewal.
        self.session.renew_by(now);
    }

    /// A frame of a node.
    pub fn hear(&mut self, now: Instant, stream: StreamRef, frame: FrameIn) {
        if !self.is_current(stream) {
            return;
        }
        if let Some(news) = frame.leader {
            self.hear_leader(now, stream, news);
        }
        if let Some(attachment) = frame.attached {
            self.hear_attached(now, stream, &attachment);
        }
        for news in frame.renewals {
            if self.session.is_attached_to(stream) {
                self.hear_renewal(now, news);
            }
        }
        let (last, events): (Vec<_>, Vec<_>) = frame
            .events
            .into_iter()
            .partition(|news| matches!(news, News::SessionEnded { .. }));
        // What happened comes before the replies of the same frame: a release that finds its claim gone
        // then knows why. The end of the session comes last: it voids all the rest.
        for news in events {
            if self.session.is_attached_to(stream) {
                self.hear_event(now, news);
            }
        }
        for news in frame.replies {
            if self.session.is_attached_to(stream) {
                self.hear_reply(now, news);
            }
        }
        for news in last {
            if self.session.is_attached_to(stream) {
                self.hear_event(now, news);
            }
        }
        for news in frame.queries {
            self.hear_query(now, stream, news);
        }
    }

    /// Runs a change of links; if the serving node is another one afterwards, nothing goes to the old one.
    fn change_links(&mut self, now: Instant, change: impl FnOnce(&mut Self)) {
        let before = self.home();
        change(self);
        let home = self.home();
        if before != home {
            self.session.detach(None);
        }
        if home.is_none() {
            self.quorum.doubt(now);
        }
    }

    fn hear_leader(&mut self, now: Instant, stream: StreamRef, news: LeaderNews) {
        let link = self.links[stream.node];
        // A node that led, lost the lead and won it again has forgotten its streams' sessions.
        let led_anew = link.serving && (!news.serving || link.term != news.term);
        if led_anew && self.session.is_attached_to(stream) {
            self.session.detach(None);
        }
        self.change_links(now, |desk| {
            let link = &mut desk.links[stream.node];
            link.serving = news.serving;
            link.term = news.term;
        });
        if self.home().is_none() {
            self.quorum.doubt_for(now, news.silent);
        }
        if news.serving {
            self.reads.retry(stream);
            // It says so again: it could not do what was asked of it just then, so ask again.
            if self.session.is_opening_on(stream) {
                self.session.detach(Some(now + PAUSE));
            }
        }
    }

    fn hear_attached(&mut self, now: Instant, stream: StreamRef, all: &Attachment) {
        let attach = self
            .session
            .attached(now, stream, all.session, all.generation, all.renewal);
        match attach {
            None => return,
            Some(Attach::Opened) => self.outbox.start_after(all.seq),
            Some(Attach::Replaced) => {
                self.lose_claims(now, Reason::SessionLost);
                self.outbox.start_after(all.seq);
            }
            Some(Attach::Resumed) if self.take_stock(now, all) => {}
            Some(Attach::Resumed) => self.compare(now, all),
        }
        // All that is unanswered goes again, with the same numbers; renewals never do.
        self.outbox.rewind_anew(now);
        self.proven(now);
    }

    /// The core's list against ours, after the stream was another for a while.
    fn compare(&mut self, now: Instant, all: &Attachment) {
        for (claim, key) in self.by_seq.clone() {
            let Some(hold) = self.holds.get_mut(&key) else {
                continue;
            };
            if hold.news >= all.revision && hold.news != Revision(0) {
                continue;
            }
            hold.news = all.revision;
            let listed = all.claims.binary_search_by_key(&claim, |c| c.claim.seq);
            let listed = listed.ok().map(|place| &all.claims[place]);
            match listed {
                Some(listed) => {
                    if !listed.tokens.is_empty() {
                        self.granted(now, key, listed.tokens.clone());
                    }
                    if listed.breaking {
                        self.break_asked(now, key);
                    }
                }
                // Not applied yet: it goes again.
                None if claim > all.seq => {}
                None => self.vanished(now, key),
            }
        }
        self.compare_spots(now, all);
        self.give_back_unknown(now, all);
    }

    /// What the core thinks we hold and we do not know is given back.
    fn give_back_unknown(&mut self, now: Instant, all: &Attachment) {
        for listed in &all.claims {
            let claim = listed.claim.seq;
            if !self.by_seq.contains_key(&claim) && self.spots.of_seq(claim).is_none() {
                self.give_up(now, claim);
            }
        }
    }

    fn hear_renewal(&mut self, now: Instant, news: RenewalNews) {
        if self.session.id() != Some(news.session) {
            return;
        }
        match news.outcome {
            RenewalOutcome::Renewed(ttl) => {
                let was_uncertain = self.session.certain(now).is_none();
                let safe_again = self.session.renewed(now, news.number, ttl);
                self.proven(now);
                if was_uncertain && self.session.certain(now).is_some() {
                    self.certain_again(now, safe_again);
                    self.settle_stalled(now);
                }
            }
            RenewalOutcome::UnknownSession => {
                self.proven(now);
                self.lose_session_anew(now, Reason::SessionExpired);
            }
            // A later one was applied before; or another generation attached, and then the deadline passes.
            RenewalOutcome::Superseded => self.proven(now),
            RenewalOutcome::NotLeader => self.session.renew_by(now + PAUSE),
        }
    }

    fn hear_event(&mut self, now: Instant, news: News) {
        // It follows from an entry that a majority has: whoever hears it does not say that there is none.
        self.proven(now);
        match news {
            News::Granted {
                claim,
                revision,
                tokens,
            } => {
                if let Some(id) = self.spots.of_seq(claim) {
                    self.given(now, id, revision, &tokens, None);
                } else if let Some(key) = self.newer(claim, revision) {
                    self.granted(now, key, tokens);
                }
            }
            News::ClaimEnded {
                claim,
                revision,
                cause,
                cycle,
            } => {
                if let Some(id) = self.spots.of_seq(claim) {
                    self.taken(now, id, cause, &cycle);
                } else if let Some(key) = self.newer(claim, revision) {
                    self.ended_by_core(now, key, cause, cycle);
                }
            }
            News::BreakAsked { claim, revision } => {
                if let Some(id) = self.spots.of_seq(claim) {
                    self.break_asked_here(now, id);
                } else if let Some(key) = self.newer(claim, revision) {
                    self.break_asked(now, key);
                }
            }
            News::Delegated { .. }
            | News::Recalled { .. }
            | News::Wanted { .. }
            | News::Refused { .. } => self.hear_of_lock(now, news),
            News::SessionEnded { session, cause: _ } => {
                if self.session.id() == Some(session) {
                    self.lose_session_anew(now, Reason::SessionExpired);
                }
            }
        }
    }

    /// The claim these news are about, if they are newer than what is known of it.
    pub(super) fn newer(&mut self, claim: Seq, revision: Revision) -> Option<Key> {
        let key = *self.by_seq.get(&claim)?;
        let hold = self.holds.get_mut(&key)?;
        if revision <= hold.news {
            return None;
        }
        hold.news = revision;
        Some(key)
    }

    fn hear_reply(&mut self, now: Instant, news: OperationNews) {
        let reply = match news.reply {
            // Nothing is known of it: it goes again, under the same number.
            None => return self.outbox.rewind_later(now, &mut self.rng),
            Some(OperateReply::Gap { expected }) if expected < self.outbox.first_open() => {
                // It has forgotten what it acknowledged: that is not our session.
                return self.lose_session_anew(now, Reason::SessionLost);
            }
            Some(OperateReply::Gap { .. }) => {
                return self.outbox.rewind_later(now, &mut self.rng);
            }
            Some(OperateReply::Superseded) => return self.session.detach(Some(now + PAUSE)),
            Some(OperateReply::UnknownSession) => {
                return self.lose_session_anew(now, Reason::SessionExpired);
            }
            Some(OperateReply::Forgotten) => None,
            Some(OperateReply::Applied(reply)) => Some(reply),
        };
        let Some((purpose, took)) = self.outbox.answered(news.seq, now) else {
            return;
        };
        if let Some(took) = took {
            self.sight(|| Sight::CoreAnswered(took));
        }
        self.proven(now);
        match purpose {
            Purpose::Ask(key) => self.hear_asked(now, key, news.seq, reply),
            Purpose::End(claim) => self.hear_ended(now, claim, reply),
            Purpose::Delegate(id) => self.hear_delegated(now, id, news.seq, reply),
            Purpose::Return(kept) => self.hear_returned(now, news.seq, kept, reply.as_ref()),
            Purpose::Refill(id) => {
                let block = match reply {
                    Some(OperationReply::Refilled(block)) => block,
                    Some(_) | None => None,
                };
                self.refilled(now, id, block);
            }
            Purpose::Note => {}
            Purpose::Publish(key, caller) => {
                let view = match self.holds.get(&key) {
                    Some(hold) if !hold.has_ended() => Ok(self.view(now, hold)),
                    Some(hold) => Err(ClaimError::Ended(Box::new(self.view(now, hold)))),
                    None => return,
                };
                self.answer(caller, Answer::Renew(view));
            }
            Purpose::PublishLate => {}
            Purpose::Close(caller) => self.answer(caller, Answer::Closed),
        }
    }

    fn hear_query(&mut self, now: Instant, stream: StreamRef, news: super::frame::QueryNews) {
        let proof = news.linearizable && news.reply.is_ok();
        let refused = matches!(
            news.reply,
            Err(ReadRefusal::Forbidden | ReadRefusal::Delegate)
        );
        let ended = self.reads.answered(stream, news);
        // Also if nobody waits for the answer any more.
        if proof {
            self.proven(now);
        } else if refused && self.home().is_some() && !self.awaits_quorum() {
            self.quorum.answered(now);
        }
        let Some((over, outcome)) = ended else {
            return;
        };
        if let Some(timer) = over.timer {
            self.wheel.cancel(timer);
        }
        let answer = match outcome {
            Outcome::Answered(read) => {
                self.remember(now, &read);
                Ok(read)
            }
            Outcome::Unavailable => Err(self.unavailable()),
            Outcome::Forbidden => Err(super::handle::Unavailable::Forbidden),
            Outcome::NoDelegate => Err(super::handle::Unavailable::NoDelegate {
                retry_after: self.estimates.unavailable(&mut self.rng),
            }),
        };
        self.answer(over.caller, Answer::Read(answer));
    }

    /// A majority has just acknowledged something.
    pub(super) fn proven(&mut self, now: Instant) {
        let more = self.awaits_quorum();
        self.quorum.prove(now, more);
        self.settle_stalled(now);
    }

    /// Whether something is unanswered that a quorum would have answered.
    fn awaits_quorum(&self) -> bool {
        !self.outbox.is_idle() || self.session.has_open_renewals() || self.reads.has_pressing()
    }

    /// The session is gone; the next opens under a new key.
    fn lose_session_anew(&mut self, now: Instant, reason: Reason) {
        let key = SessionKey(self.rng.random());
        self.session.lost(key);
        self.lose_claims(now, reason);
    }

    fn lose_claims(&mut self, now: Instant, reason: Reason) {
        self.lose_session(now, reason);
        // Claims that were never sent go to the next session; without one the doubt goes on.
        self.quorum.doubt(now);
    }
}
