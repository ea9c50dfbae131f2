//! One record for each transition, for people and auditors, the newest ten thousand.
//! In: what happened to which claim. Out: the revision at which it became true. Never: unbounded.

use std::sync::Arc;

use super::apply::Step;
use super::claim::CLAIM_IS_LIVE;
use super::command::{CycleEdge, EndCause, User, Want};
use super::id::{ClaimRef, Revision};
use super::state::{HistoryEvent, HistoryRecord, Table};

/// How many records are kept. The leader drops old ones by age besides (`TrimHistory`).
pub const HISTORY_MAX: usize = 10_000;

/// Most edges of a deadlock that its record keeps. A cycle of more owners is no mistake of one program but of
/// the way that all of them take their locks, which the first edges show as well.
pub const CYCLE_TOLD_MAX: usize = 32;

impl HistoryEvent {
    /// The cycle, if this is the end of a deadlock's victim.
    pub fn cycle(&self) -> Option<&Arc<[CycleEdge]>> {
        match self {
            Self::Deadlocked { cycle }
            | Self::Left {
                cause: EndCause::Deadlock,
                cycle,
            } => Some(cycle),
            Self::Queued
            | Self::Granted { .. }
            | Self::Ended { .. }
            | Self::Left { .. }
            | Self::BreakAsked { .. } => None,
        }
    }
}

/// What history keeps of a cycle.
pub(super) fn told(cycle: &[CycleEdge]) -> Arc<[CycleEdge]> {
    cycle.iter().take(CYCLE_TOLD_MAX).cloned().collect()
}

impl Table {
    /// The next revision: every transition has its own.
    pub(super) fn bump(&mut self) -> Revision {
        self.counters.revision = Revision(self.counters.revision.0 + 1);
        self.counters.revision
    }

    /// Appends a record about a live claim. Its revision is when the event became true.
    pub(super) fn record(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        event: HistoryEvent,
    ) -> Revision {
        let claim = self.claims.get(&name).expect(CLAIM_IS_LIVE);
        let user = User {
            claim_id: claim.claim_id.clone(),
            owner: claim.owner.clone(),
            trace_id: claim.trace_id.clone(),
        };
        let locks = claim.locks.clone();
        self.record_of(step, name, user, locks, event)
    }

    /// Appends a record about a claim that the table need not have.
    pub(super) fn record_of(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        user: User,
        locks: Arc<[Want]>,
        event: HistoryEvent,
    ) -> Revision {
        let revision = self.bump();
        let record = HistoryRecord {
            index: step.index,
            event,
            locks,
            claim: name,
            claim_id: user.claim_id,
            owner: user.owner,
            identity: self.identity_of(name.session),
            trace_id: user.trace_id,
        };
        if record.event.cycle().is_some() {
            self.deadlocks.insert(revision);
        }
        self.history.insert(revision, record);
        if self.history.len() > HISTORY_MAX
            && let Some((oldest, _)) = self.history.pop_first()
        {
            self.forget_history(oldest);
        }
        revision
    }

    /// Drops all records up to and including `up_to`.
    pub(super) fn trim_history(&mut self, up_to: Revision) {
        while let Some(oldest) = self.history.first_entry()
            && *oldest.key() <= up_to
        {
            let (oldest, _) = oldest.remove_entry();
            self.forget_history(oldest);
        }
    }

    fn forget_history(&mut self, at: Revision) {
        self.deadlocks.remove(&at);
        self.dropped = at;
    }
}
