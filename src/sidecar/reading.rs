//! PURE: where a read is answered: here, by the leader, by any replica, or from what was seen last.
//! In: questions. Out: answers at once, or callers that wait for one. Never: a stale answer to a question
//! that asked for a current one.

use super::desk::{Answer, Desk, Now, Timer};
use super::frame::{ReadAsk, ReadReply};
use super::handle::{Consistency, Page, Read, Unavailable};
use super::reads::{Over, Reads};
use crate::world::clock::Instant;

impl Desk {
    /// Takes a read; see [`super::handle::Sidecar::lock`].
    pub fn read(
        &mut self,
        now: Instant,
        ask: ReadAsk,
        consistency: Consistency,
    ) -> Now<Result<Read<ReadReply>, Unavailable>> {
        if let Some(known) = self.known_here(now, &ask) {
            return Now::Done(Ok(known));
        }
        let lost = self.quorum.is_lost(now);
        if lost && let Some(known) = self.held_here(now, &ask) {
            return Now::Done(Ok(known));
        }
        let nobody = !self.reaches_any();
        if lost && consistency == Consistency::Linearizable {
            return Now::Done(Err(self.unavailable()));
        }
        if lost && nobody {
            let stale = self.remembered(now, &ask, consistency);
            // Whoever waits for a change waits on: it may come with the core.
            if stale.is_some() || !ask.waits() {
                return Now::Done(stale.ok_or_else(|| self.unavailable()));
            }
        }
        let caller = self.new_caller();
        let until = Reads::deadline(now, &ask, self.quorum.bound());
        // Before any node has answered, a leader may yet be the first.
        let leader = !lost && (self.home().is_some() || nobody);
        let Some(id) = self.reads.begin(caller, ask, consistency, leader) else {
            return Now::Done(Err(self.overloaded()));
        };
        let timer = self.wheel.set(until, Timer::Read(id));
        self.reads.set_timer(id, timer);
        if self.reads.has_pressing() {
            self.quorum.doubt(now);
        }
        Now::Later(caller)
    }

    /// What may be remembered of an answer of the core.
    pub(super) fn remember(&mut self, now: Instant, read: &Read<ReadReply>) {
        let seen = Instant::from_boot(now.since_boot().saturating_sub(read.age));
        match &read.value {
            ReadReply::Lock(view) => self.memory.note(view, seen),
            ReadReply::Locks(page) => page
                .items
                .iter()
                .for_each(|view| self.memory.note(view, seen)),
            ReadReply::History(_)
            | ReadReply::Verified(_)
            | ReadReply::Broken(_)
            | ReadReply::Found(_) => {}
        }
    }

    /// Nobody can answer any more: what was seen last, if that will do, or a refusal.
    pub(super) fn answer_unread(&mut self, now: Instant, over: &Over) {
        let stale = self.remembered(now, &over.ask.without_wait(), over.consistency);
        let answer = stale.ok_or_else(|| self.unavailable());
        self.answer(over.caller, Answer::Read(answer));
    }

    fn remembered(
        &self,
        now: Instant,
        ask: &ReadAsk,
        consistency: Consistency,
    ) -> Option<Read<ReadReply>> {
        if consistency == Consistency::Linearizable {
            return None;
        }
        match ask {
            ReadAsk::Lock { name, after, .. } => {
                let seen = self.memory.lock(name, now);
                let read = match self.own_hold(now, name) {
                    Some(own) => self.with_what_was_seen(own, seen),
                    None => seen?,
                };
                let news = after.is_none_or(|after| read.value.revision > after);
                news.then(|| read.map(ReadReply::Lock))
            }
            ReadAsk::Locks {
                prefix,
                state,
                limit,
                after,
            } => {
                let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
                let page = self.memory.locks(prefix, *state, limit, after, now)?;
                Some(page.map(|page: Page<_>| ReadReply::Locks(page)))
            }
            ReadAsk::History { .. }
            | ReadAsk::Verify { .. }
            | ReadAsk::Survey(_)
            | ReadAsk::Break { .. } => None,
        }
    }
}
