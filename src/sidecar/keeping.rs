//! PURE: what is written down for a later process of this sidecar, and how that goes on from it.
//! In: claims that change, what an earlier process has written. Out: records, in time before any answer.
//! Never: a claim that an app holds and a later process would not know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desk::{Desk, Rules};
use super::handle::ClaimEventKind;
use super::hold::{Hold, Journal, Key, Stage};
use super::outbox::{AskOf, Purpose};
use super::saved::{Newest, Record, Saved, SavedHold, SavedSession, SavedStage};
use super::session::Session;
use crate::planted::{self, Bug};
use crate::table::attachment::Attachment;
use crate::table::command::{EndCause, Kept, Operation, Return};
use crate::table::id::{ClaimId, Seq};
use crate::world::clock::Instant;

/// Of claims that ended, so many are written when the file is written anew: those to be remembered for longest. A
/// busy pod ends thousands within the minute for which they are, and the directory may have no more than 1 MiB.
const ENDED_RECORDED_MAX: usize = 512;

/// What has changed since the records were last taken.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Whether anything is written down at all.
    on: bool,
    holds: BTreeSet<Key>,
    gone: Vec<ClaimId>,
    session: Option<SavedSession>,
}

/// What an earlier process knew and this one must sort out when it attaches.
#[derive(Debug)]
pub(super) struct Inherited {
    newest: BTreeMap<Seq, Newest>,
}

impl Unsaved {
    /// Notes changes, if they are written down.
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            ..Self::default()
        }
    }
}

impl Desk {
    /// A desk that goes on where an earlier process ended.
    pub fn taken_over(rules: Rules, saved: Saved, now: Instant) -> Self {
        let mut desk = Self::new(rules, now);
        let Some(session) = saved.session.filter(|session| session.id.is_some()) else {
            return desk; // nothing can have been granted
        };
        desk.session = Session::taken_over(desk.session.terms().clone(), session, now);
        desk.inherited = Some(Inherited {
            newest: saved.newest,
        });
        for saved in saved.holds.into_values() {
            let key = desk.new_key();
            let hold = revived(saved, now);
            if let Some(owner) = hold.ask.owner.clone().filter(|_| !hold.has_ended()) {
                desk.own(key, &owner);
            }
            if let Some(seq) = hold.seq {
                desk.by_seq.insert(seq, key);
            }
            match &hold.stage {
                Stage::Ended(_) => desk.dying.push(key),
                Stage::Held { .. } => desk.granted += 1,
                Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. } => desk.queued += 1,
            }
            desk.by_id.insert(hold.id.clone(), key);
            desk.holds.insert(key, Box::new(hold));
            desk.rearm(key);
        }
        desk
    }

    /// What has changed since the last call, to be written before anything follows from it.
    pub fn take_records(&mut self) -> Vec<Record> {
        if !self.unsaved.on {
            return Vec::new();
        }
        let mut records = Vec::new();
        let session = self.session.saved();
        if self.unsaved.session != Some(session) {
            self.unsaved.session = Some(session);
            records.push(Record::Session(session));
        }
        for id in std::mem::take(&mut self.unsaved.gone) {
            // Unless it was claimed anew meanwhile.
            if !self.by_id.contains_key(&id) {
                records.push(Record::Gone(id));
            }
        }
        for key in std::mem::take(&mut self.unsaved.holds) {
            let Some(hold) = self.holds.get_mut(&key) else {
                continue;
            };
            if let Some(saved) = saved(hold) {
                hold.recorded = true;
                records.push(Record::Hold(Box::new(saved)));
            }
        }
        records
    }

    /// All that would have to be written if nothing was yet.
    pub fn all_records(&self, now: Instant) -> Vec<Record> {
        let session = Record::Session(self.session.saved());
        let given = self.spots.iter().filter_map(|(_, spot)| spot.given());
        let newest = given.map(|given| {
            let newest = Newest {
                any: given.newest,
                exclusive: given.newest_exclusive,
            };
            Record::Newest(given.seq, newest)
        });
        let inherited = self
            .inherited
            .iter()
            .flat_map(|inherited| &inherited.newest);
        let inherited = inherited.map(|(seq, newest)| Record::Newest(*seq, *newest));
        let holds = self.holds.values().filter_map(|hold| saved(hold));
        let ended = self.graves.latest(now, ENDED_RECORDED_MAX);
        let ended = ended.filter_map(|hold| saved(&hold));
        let holds = holds.chain(ended);
        let holds = holds.map(|hold| Record::Hold(Box::new(hold)));
        std::iter::once(session)
            .chain(newest)
            .chain(inherited)
            .chain(holds)
            .collect()
    }

    /// A claim has changed in a way that a later process must know.
    pub(super) fn unsaved(&mut self, key: Key) {
        if self.unsaved.on {
            self.unsaved.holds.insert(key);
        }
    }

    /// A claim is forgotten.
    pub(super) fn unsaved_gone(&mut self, id: ClaimId) {
        if self.unsaved.on {
            self.unsaved.gone.push(id);
        }
    }

    /// The first attach after an earlier process: the core's list against what that has written. What
    /// was held under a delegation goes on as plain claims, with the tokens it has; all delegations go
    /// back. True if there was something to sort out.
    pub(super) fn take_stock(&mut self, now: Instant, all: &Attachment) -> bool {
        let Some(Inherited { newest }) = self.inherited.take() else {
            return false;
        };
        self.outbox.start_after(all.seq);
        let place = |seq: Seq| {
            let listed = all.claims.binary_search_by_key(&seq, |c| c.claim.seq);
            listed.ok().map(|place| &all.claims[place])
        };
        let mut under: BTreeMap<Seq, Vec<Key>> = BTreeMap::new();
        let mut renumbered: Vec<Key> = Vec::new();
        let live: Vec<Key> = self.holds.keys().copied().collect();
        for key in live {
            let hold = self.holds.get_mut(&key).expect("nothing was removed");
            hold.news = all.revision;
            if let Some(listed) = hold.seq.and_then(place) {
                if !listed.tokens.is_empty() {
                    self.granted(now, key, listed.tokens.clone());
                }
                if listed.breaking {
                    self.break_asked(now, key);
                }
                // It had waited for the lock in the name of all here, and was given it as a whole.
                if listed.delegation.is_some() {
                    self.by_seq.remove(&listed.claim.seq);
                    under.entry(listed.claim.seq).or_default().push(key);
                }
                continue;
            }
            let delegation = hold
                .under
                .filter(|under| place(*under).is_some_and(|listed| listed.delegation.is_some()));
            if let Some(seq) = hold.seq.take() {
                self.by_seq.remove(&seq);
                // The number goes to another operation now: a process after this one must not take it
                // for this claim's.
                renumbered.push(key);
            }
            match (&mut hold.stage, delegation) {
                (Stage::Held { .. }, Some(delegation)) => {
                    under.entry(delegation).or_default().push(key);
                }
                (Stage::Held { .. }, None) => self.vanished(now, key),
                // Its place in the queue is lost, and it was promised to wait.
                (Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. }, _) => {
                    hold.stage = Stage::Asking;
                    self.outbox.push_ask_again(AskOf::Claim(key), now);
                    self.rearm(key);
                }
                (Stage::Ended(ended), _) => ended.release_at = None,
            }
        }
        if !planted::is(Bug::OldNumbersSaved) {
            renumbered.into_iter().for_each(|key| self.unsaved(key));
        }
        for listed in &all.claims {
            let seq = listed.claim.seq;
            if listed.delegation.is_some() {
                let newest = newest.get(&seq).copied().unwrap_or_default();
                let keys = under.remove(&seq).unwrap_or_default();
                self.return_inherited(seq, newest, &keys);
            } else {
                self.end_inherited(now, seq);
            }
        }
        true
    }

    /// A delegation of an earlier process goes back; claims that hold under it go on as plain ones.
    fn return_inherited(&mut self, delegation: Seq, mut newest: Newest, keys: &[Key]) {
        let kept = keys.iter().filter_map(|key| {
            let hold = self.holds.get(key)?;
            let (Stage::Held { tokens, .. } | Stage::Withheld { tokens }, [want]) =
                (&hold.stage, hold.ask.locks.as_slice())
            else {
                return None;
            };
            let token = *tokens.first()?;
            newest.saw(token, want.mode);
            Some((*key, self.kept(*key, want.mode, token)?))
        });
        let kept = kept.filter(|_| !planted::is(Bug::TakeoverFreesHeld));
        let (keys, kept): (Vec<Key>, Vec<Kept>) = kept.unzip();
        let count = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        let back = Return {
            delegation,
            newest: newest.any,
            newest_exclusive: newest.exclusive,
            grants: 0,
            kept,
            ended: Vec::new(),
        };
        let first = self
            .outbox
            .push_urgent(Operation::Return(back), Purpose::Return(count));
        for (key, seq) in keys.into_iter().zip((first.0..=u64::MAX).map(Seq)) {
            self.by_seq.insert(seq, key);
            if let Some(hold) = self.holds.get_mut(&key) {
                hold.seq = Some(seq);
            }
            self.unsaved(key);
        }
    }

    /// A plain claim of an earlier process that has ended here, or that nobody was told of.
    fn end_inherited(&mut self, now: Instant, claim: Seq) {
        let hold = self.by_seq.get(&claim).and_then(|key| self.holds.get(key));
        let Some(hold) = hold else {
            return self.give_up(now, claim);
        };
        let Stage::Ended(ended) = &hold.stage else {
            return;
        };
        if ended.release_at.is_none() {
            let cause = ended
                .reason
                .map_or(EndCause::Released, super::claim_state::end_cause);
            let waited = hold.waited.unwrap_or_default();
            self.tell_end(now, claim, cause, waited, std::time::Duration::ZERO);
        }
    }
}

/// What a later process must know of a claim: what an app was told of it, or was promised.
fn saved(hold: &Hold) -> Option<SavedHold> {
    let stage = match &hold.stage {
        Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. } if hold.queue => {
            SavedStage::Waiting
        }
        Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. } => return None,
        Stage::Held {
            tokens,
            since,
            until,
        } => SavedStage::Held {
            tokens: tokens.clone(),
            since: *since,
            until: *until,
        },
        Stage::Ended(ended) if ended.used_up || hold.queue || hold.recorded => {
            SavedStage::Ended(ended.clone())
        }
        Stage::Ended(_) => return None,
    };
    Some(SavedHold {
        id: hold.id.clone(),
        ask: (*hold.ask).clone(),
        trace_id: Arc::clone(&hold.trace.id),
        ttl: hold.ttl,
        queue: hold.queue,
        asked: hold.asked,
        waited: hold.waited,
        revision: hold.journal.revision(),
        seq: hold.seq,
        under: hold.under,
        local: hold.local,
        bound: hold.bound > 0,
        value: hold.value.clone(),
        stage,
    })
}

/// The claim as this process goes on with it.
fn revived(saved: SavedHold, now: Instant) -> Hold {
    let mut hold = Hold::new(saved.id, saved.ask, saved.trace_id.into(), saved.asked);
    hold.ttl = saved.ttl;
    hold.queue = saved.queue;
    hold.waited = saved.waited;
    hold.attend_until = now + saved.ttl;
    hold.seq = saved.seq;
    hold.under = saved.under;
    hold.local = saved.local;
    hold.value = saved.value;
    hold.told = true;
    hold.recorded = true;
    hold.journal = Journal::after_revision(saved.revision);
    hold.stage = match saved.stage {
        SavedStage::Waiting => Stage::Waiting {
            ahead: 0,
            behind: None,
        },
        SavedStage::Held {
            tokens,
            since,
            until,
        } => {
            hold.journal.note(ClaimEventKind::Jeopardy);
            // A stream that breaks leaves the claim its whole TTL.
            let until = if saved.bound { now + saved.ttl } else { until };
            Stage::Held {
                tokens,
                since,
                until,
            }
        }
        SavedStage::Ended(ended) => Stage::Ended(ended),
    };
    hold
}
