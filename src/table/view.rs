//! What a reader sees of the table: one lock with its holders and queue, a page of locks, a token's worth.
//! In: the table as it stands. Out: plain copies, fit to leave the lock under which the table is read.
//! Never: a change, or a read of more than a stated number of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::Mode;
use super::id::{ClaimId, ClaimRef, LockName, OwnerId, Revision, Token};
use super::state::{HistoryEvent, HistoryRecord, Lock, Stage, Table};

/// Most waiters that a [`LockView`] lists; it counts them all.
pub const QUEUE_SHOWN_MAX: usize = 100;
/// Most locks or records that one read walks past before it hands out a cursor instead.
pub const WALK_MAX: usize = 10_000;

/// One lock, as the core sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockView {
    /// Its name.
    pub name: LockName,
    /// `None` if free or closed.
    pub holders: Vec<HolderView>,
    /// Who waits, in order; at most the first 100.
    pub queue: Vec<WaiterView>,
    /// How many wait in all.
    pub waiters: u32,
    /// Closed after its holder died: the whole delay, in milliseconds.
    pub lock_delay_ms: Option<u32>,
    /// Last visible change of the lock; of the whole table if nobody uses the lock.
    pub revision: Revision,
}

impl LockView {
    /// Whether the lock belongs into a list of those in this state, or in use at all.
    pub fn is_in(&self, state: Option<LockStateFilter>) -> bool {
        let held = !self.holders.is_empty();
        listed(state, held, self.waiters > 0, self.lock_delay_ms.is_some())
    }
}

/// One holder of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderView {
    /// The core's name of the claim.
    pub claim: ClaimRef,
    /// The app's id.
    pub claim_id: ClaimId,
    /// Its owner.
    pub owner: OwnerId,
    /// Its sidecar.
    pub identity: Arc<str>,
    /// How it holds.
    pub mode: Mode,
    /// Its fencing token.
    pub token: Token,
    /// Free text.
    pub metadata: BTreeMap<String, String>,
    /// What it publishes.
    pub value: Option<Arc<str>>,
    /// Whether an operator wants it gone.
    pub breaking: bool,
}

/// One waiter of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaiterView {
    /// The core's name of the claim.
    pub claim: ClaimRef,
    /// The app's id.
    pub claim_id: ClaimId,
    /// Its owner.
    pub owner: OwnerId,
    /// Its sidecar.
    pub identity: Arc<str>,
    /// How it wants the lock.
    pub mode: Mode,
    /// Its class.
    pub priority: u8,
}

/// States by which locks can be listed. (Free locks are not listed: there is no end to them.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockStateFilter {
    /// Held.
    Held,
    /// Held or not, somebody waits.
    Contended,
    /// Closed for a lock-delay.
    Closed,
}

/// A history record and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryView {
    /// Its place in the shard's history.
    pub revision: Revision,
    /// What happened.
    pub record: HistoryRecord,
}

impl HistoryView {
    /// What happened, without the surroundings.
    pub fn event(&self) -> &HistoryEvent {
        &self.record.event
    }
}

/// For `verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyView {
    /// No incompatible grant since.
    pub current: bool,
    /// The claim of this token holds now.
    pub held: bool,
    /// The newest token granted on this lock, as far as the cell remembers.
    pub newest: Option<Token>,
}

/// Which locks to list, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Only names that start with this; may be empty.
    pub prefix: String,
    /// Only locks in this state; otherwise all that are in use.
    pub state: Option<LockStateFilter>,
    /// At most so many.
    pub limit: usize,
    /// Only names greater than this.
    pub after: Option<LockName>,
}

impl Table {
    /// One lock; a free one that is no longer remembered shows the table's current revision.
    pub fn view(&self, name: &LockName) -> LockView {
        match self.lock(name) {
            Some(lock) => self.view_of(name, lock),
            None => LockView {
                name: name.clone(),
                holders: Vec::new(),
                queue: Vec::new(),
                waiters: 0,
                lock_delay_ms: None,
                revision: self.counters().revision,
            },
        }
    }

    /// Whether the lock may have changed visibly after `after`. Exact while the lock is remembered; for
    /// one that is not, true only where its change might have been forgotten since.
    pub fn changed_since(&self, name: &LockName, after: Revision) -> bool {
        match self.lock(name) {
            Some(lock) => lock.revision > after,
            None => self.free.first().is_some_and(|(oldest, _)| *oldest > after),
        }
    }

    /// Locks in use, by name, with the name to go on after unless these are the last.
    pub fn list(&self, query: &ListQuery) -> (Vec<LockView>, Option<LockName>) {
        use std::ops::Bound;
        let prefix = LockName::parse(&query.prefix).ok();
        let from = match (&query.after, &prefix) {
            (Some(after), Some(prefix)) if after < prefix => Bound::Included(prefix),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(prefix)) => Bound::Included(prefix),
            (None, None) => Bound::Unbounded,
        };
        let mut found = Vec::new();
        for (walked, (name, lock)) in self
            .locks
            .range::<LockName, _>((from, Bound::Unbounded))
            .enumerate()
        {
            let matches = name.as_str().starts_with(&query.prefix);
            if !matches && name.as_str() > query.prefix.as_str() {
                return (found, None);
            }
            if matches && wanted(lock, query.state) {
                found.push(self.view_of(name, lock));
            }
            if found.len() >= query.limit || walked + 1 >= WALK_MAX {
                return (found, Some(name.clone()));
            }
        }
        (found, None)
    }

    /// Records of one lock, newest first, with the revision to go on before unless these are the last.
    pub fn history_of(
        &self,
        name: &LockName,
        before: Option<Revision>,
        limit: usize,
    ) -> (Vec<HistoryView>, Option<Revision>) {
        let mut found = Vec::new();
        let records = match before {
            Some(before) => self.history.range(..before),
            None => self.history.range(..),
        };
        for (walked, (revision, record)) in records.rev().enumerate() {
            if record.locks.iter().any(|want| want.name == *name) {
                found.push(HistoryView {
                    revision: *revision,
                    record: record.clone(),
                });
            }
            if found.len() >= limit || walked + 1 >= WALK_MAX {
                return (found, Some(*revision));
            }
        }
        (found, None)
    }

    fn view_of(&self, name: &LockName, lock: &Lock) -> LockView {
        LockView {
            name: name.clone(),
            holders: lock
                .holders
                .iter()
                .filter_map(|claim| self.holder(*claim, name))
                .collect(),
            queue: lock
                .queue
                .values()
                .take(QUEUE_SHOWN_MAX)
                .filter_map(|claim| self.waiter(*claim, name))
                .collect(),
            waiters: u32::try_from(lock.queue.len()).unwrap_or(u32::MAX),
            lock_delay_ms: lock.closed.map(|closed| closed.delay_ms),
            revision: lock.revision,
        }
    }

    fn holder(&self, name: ClaimRef, lock: &LockName) -> Option<HolderView> {
        let claim = self.claim(name)?;
        let Stage::Holding { breaking, .. } = &claim.stage else {
            return None;
        };
        Some(HolderView {
            claim: name,
            claim_id: claim.claim_id.clone(),
            owner: claim.owner.clone(),
            identity: self.identity(name),
            mode: self.mode_of(name, lock)?,
            token: self.token_of(name, lock)?,
            metadata: claim.metadata.clone(),
            value: claim.value.clone(),
            breaking: *breaking,
        })
    }

    fn waiter(&self, name: ClaimRef, lock: &LockName) -> Option<WaiterView> {
        let claim = self.claim(name)?;
        Some(WaiterView {
            claim: name,
            claim_id: claim.claim_id.clone(),
            owner: claim.owner.clone(),
            identity: self.identity(name),
            mode: self.mode_of(name, lock)?,
            priority: claim.priority,
        })
    }

    /// The token by which a claim holds a lock.
    fn token_of(&self, claim: ClaimRef, lock: &LockName) -> Option<Token> {
        let claim = self.claim(claim)?;
        let Stage::Holding { tokens, .. } = &claim.stage else {
            return None;
        };
        let place = claim.locks.iter().position(|want| want.name == *lock)?;
        tokens.get(place).copied()
    }

    fn identity(&self, claim: ClaimRef) -> Arc<str> {
        self.session(claim.session)
            .map_or_else(|| Arc::from(""), |session| session.identity.clone())
    }
}

/// Whether a lock belongs into a list. Free ones never do: there is no end to them.
fn wanted(lock: &Lock, state: Option<LockStateFilter>) -> bool {
    let held = !lock.holders.is_empty();
    let contended = !lock.queue.is_empty();
    listed(state, held, contended, lock.closed.is_some())
}

fn listed(state: Option<LockStateFilter>, held: bool, contended: bool, closed: bool) -> bool {
    match state {
        None => held || contended || closed,
        Some(LockStateFilter::Held) => held,
        Some(LockStateFilter::Contended) => contended,
        Some(LockStateFilter::Closed) => closed,
    }
}
