//! PURE: claims that have ended and need only be remembered, in as little memory as that takes.
//! In: ended claims. Out: the same again, when somebody asks. Never: one beyond its time, or too many.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::handle::{ClaimAsk, ClaimEventKind, ClaimState, Reason, Trace};
use super::hold::{Ended, Hold, Journal, Stage};
use super::view::nobody;
use crate::table::command::Want;
use crate::table::id::{ClaimId, Token};
use crate::world::clock::Instant;

/// Most ended claims that are remembered; beyond, the oldest is forgotten early and its id may be claimed
/// anew. Enough for 8,000 claims a second over the minute that they should be remembered.
pub const ENDED_MAX: usize = 500_000;
/// They are forgotten together for so much time, none early.
const SLOT: Duration = Duration::from_millis(100);

/// What is left of a claim.
#[derive(Debug)]
struct Grave {
    locks: Box<[Want]>,
    tokens: Box<[Token]>,
    journal: LastEvents,
    waited_us: u64,
    forget_at: Instant,
    state: ClaimState,
    reason: Option<Reason>,
    used_up: bool,
    queue: bool,
    local: bool,
    recorded: bool,
}

/// The last few changes of a claim: enough for a stream that was open at its end.
#[derive(Debug, Clone, Copy)]
struct LastEvents {
    revision: u64,
    kinds: [Option<ClaimEventKind>; 4],
}

/// All of them.
#[derive(Debug, Default)]
pub struct Graves {
    by_id: HashMap<ClaimId, Grave>,
    /// Ids by the slot of time in which they may be forgotten. Some are not there any more.
    by_time: BTreeMap<u64, Vec<ClaimId>>,
}

impl Graves {
    /// Takes an ended claim in; its stage must say how it ended.
    pub fn bury(&mut self, hold: Hold) {
        let Stage::Ended(ended) = hold.stage else {
            return;
        };
        let slot = slot(ended.forget_at) + 1;
        self.by_time.entry(slot).or_default().push(hold.id.clone());
        let waited = hold.waited.unwrap_or_default();
        let grave = Grave {
            locks: hold.ask.locks.into_boxed_slice(),
            tokens: ended.tokens.into_boxed_slice(),
            journal: LastEvents::of(&hold.journal),
            waited_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
            forget_at: ended.forget_at,
            state: ended.state,
            reason: ended.reason,
            used_up: ended.used_up,
            queue: hold.queue,
            local: hold.local,
            recorded: hold.recorded,
        };
        self.by_id.insert(hold.id, grave);
    }

    /// Gives a claim back, if it is remembered.
    pub fn exhume(&mut self, id: &ClaimId, now: Instant) -> Option<Hold> {
        let (id, grave) = self.by_id.remove_entry(id)?;
        Some(revive(id, grave, now))
    }

    /// Forgets those whose time is over, and the oldest beyond the bound. Tells which of them were written
    /// down.
    pub fn forget(&mut self, now: Instant) -> Vec<ClaimId> {
        let mut gone = Vec::new();
        while let Some(first) = self.by_time.first_entry()
            && (*first.key() <= slot(now) || self.by_id.len() > ENDED_MAX)
        {
            let early = *first.key() > slot(now);
            for id in first.remove() {
                // It may have been claimed anew and ended again since.
                let over = |grave: &Grave| early || grave.forget_at <= now;
                if self.by_id.get(&id).is_some_and(over)
                    && self.by_id.remove(&id).is_some_and(|grave| grave.recorded)
                {
                    gone.push(id);
                }
            }
        }
        gone
    }

    /// Those that are to be remembered for longest, at most so many, as they were.
    pub fn latest(&self, now: Instant, most: usize) -> impl Iterator<Item = Hold> {
        let ids = self.by_time.values().rev().flat_map(|ids| ids.iter().rev());
        let graves = ids.filter_map(|id| self.by_id.get_key_value(id));
        graves.take(most).map(move |(id, grave)| {
            let copy = Grave {
                locks: grave.locks.clone(),
                tokens: grave.tokens.clone(),
                ..*grave
            };
            revive(id.clone(), copy, now)
        })
    }
}

impl LastEvents {
    fn of(journal: &Journal) -> Self {
        let mut last = journal.newest();
        let mut kinds = [None; 4];
        kinds.iter_mut().rev().for_each(|kind| *kind = last.next());
        Self {
            revision: journal.revision(),
            kinds,
        }
    }
}

impl From<LastEvents> for Journal {
    fn from(last: LastEvents) -> Self {
        let kinds = last.kinds.into_iter().flatten();
        let mut journal = Self::after_revision(last.revision - kinds.clone().count() as u64);
        kinds.for_each(|kind| journal.note(kind));
        journal
    }
}

fn revive(id: ClaimId, grave: Grave, now: Instant) -> Hold {
    let ask = ClaimAsk {
        locks: grave.locks.into_vec(),
        ..nobody(&id)
    };
    let mut hold = Hold::new(id, ask, Trace::default(), now);
    hold.waited = Some(Duration::from_micros(grave.waited_us));
    hold.queue = grave.queue;
    hold.local = grave.local;
    hold.recorded = grave.recorded;
    hold.journal = grave.journal.into();
    hold.stage = Stage::Ended(Ended {
        state: grave.state,
        reason: grave.reason,
        tokens: grave.tokens.into_vec(),
        used_up: grave.used_up,
        release_at: None,
        forget_at: grave.forget_at,
    });
    hold
}

fn slot(at: Instant) -> u64 {
    u64::try_from(at.since_boot().as_millis() / SLOT.as_millis()).unwrap_or(u64::MAX)
}
