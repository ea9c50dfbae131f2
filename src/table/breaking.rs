//! An operator takes a lock away: by force at once, else by asking the holders' sidecars.
//! In: breaks. Out: freed locks, or holders marked and asked once. Never: a lock-delay, it is no death.

use std::sync::Arc;

use super::apply::Step;
use super::claim::{CLAIM_IS_LIVE, Ending};
use super::command::{Break, BreakReply, Effect, EndCause};
use super::id::ClaimRef;
use super::state::{HistoryEvent, Key, Stage, Table};

impl Table {
    /// Takes a lock from its holders: at once with `force`, else by asking their sidecars.
    pub(super) fn break_lock(&mut self, step: &mut Step, ask: &Break) -> BreakReply {
        let holders: Vec<ClaimRef> = match self.locks.get(&ask.lock) {
            Some(lock) => lock.holders.iter().copied().collect(),
            None => Vec::new(),
        };
        if holders.is_empty() {
            return BreakReply::NotHeld;
        }
        let note: Arc<str> = format!("{}: {}", ask.by, ask.reason).into();
        for holder in holders {
            if ask.force {
                let ending = Ending {
                    note: note.clone(),
                    ..Ending::of(EndCause::Broken)
                };
                let revision = self.end(step, holder, ending);
                step.effects.push(Effect::ClaimEnded {
                    claim: holder,
                    revision,
                    cause: EndCause::Broken,
                    cycle: Vec::new(),
                });
            } else {
                self.ask_back(step, holder, note.clone());
            }
        }
        if ask.force {
            BreakReply::Freed
        } else {
            BreakReply::Asked
        }
    }

    /// Marks a holder as wanted gone, once, and asks its sidecar to let go.
    fn ask_back(&mut self, step: &mut Step, name: ClaimRef, note: Arc<str>) {
        let claim = self.claims.get_mut(&name).expect(CLAIM_IS_LIVE);
        match &mut claim.stage {
            Stage::Waiting { .. } | Stage::Holding { breaking: true, .. } => return,
            Stage::Holding { breaking, .. } => *breaking = true,
        }
        let wants = claim.locks.clone();
        self.dirty.insert(Key::Claim(name));
        let revision = self.record(step, name, HistoryEvent::BreakAsked { note });
        for want in wants.iter() {
            self.touch(step, &want.name, revision);
        }
        step.effects.push(Effect::BreakAsked {
            claim: name,
            revision,
        });
    }
}
