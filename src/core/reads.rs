//! Reads of the table: linearizable by ReadIndex, many callers to a round, or stale with a stated age.
//! In: queries. Out: their answers. Never: a change of the table, or a stale answer that does not say so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::applied::Applied;
use super::group::{Group, ReadError};
use crate::table::command::Effect;
use crate::table::id::{LockName, Revision, Token};
use crate::table::survey::{Findings, Survey};
use crate::table::view::{HistoryView, ListQuery, LockView, VerifyView};
use crate::telemetry::contention::Contention;
use crate::world::clock::SharedClock;

/// Longest that a reader waits for a change of a lock.
pub const WATCH_MAX: Duration = Duration::from_secs(60);

/// Longest that a read waits for the sidecar that has the lock to itself.
pub const DELEGATE_WAIT_MAX: Duration = Duration::from_secs(1);

/// A sidecar that has not answered is asked again after this.
const TELL_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A sidecar has the lock to itself and does not say what it does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered;

/// Answers reads of one shard. Clones share their rounds.
#[derive(Clone)]
pub struct Reads(Arc<Shared>);

struct Shared {
    group: Group,
    applied: Arc<Applied>,
    clock: SharedClock,
    /// Who waits for the next round to start. A round under way does not do: something may have been
    /// acknowledged since it started.
    waiting: Mutex<Vec<oneshot::Sender<Result<(), ReadError>>>>,
    wake: Notify,
}

impl Reads {
    /// On a group and what was applied of it.
    pub fn new(group: Group, applied: Arc<Applied>, clock: SharedClock) -> Self {
        Self(Arc::new(Shared {
            group,
            applied,
            clock,
            waiting: Mutex::new(Vec::new()),
            wake: Notify::new(),
        }))
    }

    /// Confirms round after round until it is dropped. To be spawned once.
    pub async fn run(self) {
        loop {
            self.0.wake.notified().await;
            let waiting = {
                let mut waiting = self
                    .0
                    .waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *waiting)
            };
            if waiting.is_empty() {
                continue;
            }
            let result = self.0.group.read_index().await;
            for sender in waiting {
                // A caller that left meanwhile needs no answer.
                drop(sender.send(result.clone()));
            }
        }
    }

    /// After `Ok`, the table as applied here reflects everything acknowledged before the call.
    ///
    /// # Errors
    /// As [`Group::read_index`].
    pub async fn confirm(&self) -> Result<(), ReadError> {
        if !self.0.group.leadership().borrow().serving {
            return Err(ReadError::NotLeader);
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self
                .0
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            waiting.push(sender);
        }
        self.0.wake.notify_one();
        receiver
            .await
            .unwrap_or_else(|_| Err(ReadError::Stopped("no reads are served".into())))
    }

    /// How old the state applied here may be, in milliseconds: since an entry was last applied.
    pub fn age_ms(&self) -> u32 {
        let now = self.0.clock.now();
        let age = self.0.applied.last_applied().map(|at| now.since(at));
        age.map_or(u32::MAX, |age| {
            u32::try_from(age.as_millis()).unwrap_or(u32::MAX)
        })
    }

    /// The same for what is told of these locks. A sidecar that has one to itself need not say what it does with it,
    /// so of that no more is known than when the table last heard of it.
    pub fn age_ms_of<'a>(&self, names: impl IntoIterator<Item = &'a LockName>) -> u32 {
        let now = self.0.clock.now();
        let heard = self.0.group.table().read(|table, _| {
            let covered = |name: &&LockName| !table.delegations_of(name).is_empty();
            let names = names.into_iter().filter(covered);
            names.map(|name| table.view(name).revision).min()
        });
        let Some(heard) = heard else {
            return self.age_ms();
        };
        let age = self.0.applied.age_at_most(now, heard);
        let age = age.and_then(|age| u32::try_from(age.as_millis()).ok());
        age.unwrap_or(u32::MAX).max(self.age_ms())
    }

    /// Waits until no session has this lock to itself: then the table tells all there is to tell.
    ///
    /// # Errors
    /// If the sidecar that has it does not give it up within [`DELEGATE_WAIT_MAX`].
    pub async fn uncover(&self, name: &LockName) -> Result<(), Covered> {
        self.uncover_all(std::slice::from_ref(name)).await
    }

    /// As [`Self::uncover`], for several locks at once.
    ///
    /// # Errors
    /// As [`Self::uncover`].
    pub async fn uncover_all(&self, names: &[LockName]) -> Result<(), Covered> {
        let deadline = self.0.clock.now() + DELEGATE_WAIT_MAX;
        loop {
            let seen = self.0.group.table().read(|table, _| {
                let covering = names.iter().map(|name| (name, table.delegations_of(name)));
                let covering = covering.filter(|(_, delegations)| !delegations.is_empty());
                let covering: Vec<_> = covering.collect();
                // One after the other: all were told, and each look tells those that are left again.
                let first = covering.first().map(|(name, _)| *name)?;
                Some((covering, self.0.applied.watch(first)))
            });
            let Some((covering, watch)) = seen else {
                return Ok(());
            };
            for claim in covering
                .into_iter()
                .flat_map(|(_, delegations)| delegations)
            {
                self.0.applied.streams().tell_one(&Effect::Wanted { claim });
            }
            let mut watch = watch.ok_or(Covered)?;
            let left = deadline.since(self.0.clock.now());
            if left.is_zero() {
                return Err(Covered);
            }
            // Its stream may be another one by then: what was told to the one before is lost.
            let look = left.min(TELL_AGAIN_AFTER);
            if tokio::time::timeout(look, watch.changed()).await.is_err() {
                tracing::debug!("a sidecar that has a lock to itself has not answered yet");
            }
        }
    }

    /// One lock, as applied here.
    pub fn lock(&self, name: &LockName) -> LockView {
        self.0.group.table().read(|table, _| table.view(name))
    }

    /// One lock, once it has changed after `after` or `wait` is over, whichever is first.
    pub async fn lock_after(&self, name: &LockName, after: Revision, wait: Duration) -> LockView {
        let deadline = self.0.clock.now() + wait.min(WATCH_MAX);
        loop {
            let seen = self.0.group.table().read(|table, _| {
                if table.changed_since(name, after) {
                    Err(table.view(name))
                } else {
                    self.0.applied.watch(name).ok_or_else(|| table.view(name))
                }
            });
            let mut watch = match seen {
                Ok(watch) => watch,
                Err(view) => return view,
            };
            let left = deadline.since(self.0.clock.now());
            if tokio::time::timeout(left, watch.changed()).await.is_err() {
                return self.lock(name);
            }
        }
    }

    /// A page of locks, as applied here.
    pub fn locks(&self, query: &ListQuery) -> (Vec<LockView>, Option<LockName>) {
        self.0.group.table().read(|table, _| table.list(query))
    }

    /// A page of a lock's history, as applied here.
    pub fn history(
        &self,
        name: &LockName,
        before: Option<Revision>,
        limit: usize,
    ) -> (Vec<HistoryView>, Option<Revision>) {
        let table = self.0.group.table();
        table.read(|table, _| table.history_of(name, before, limit))
    }

    /// Why a lock is as it is, or what there is to see beyond single locks, as applied here.
    pub fn survey(&self, ask: &Survey) -> Findings {
        let now = self.0.clock.now();
        let applied = &self.0.applied;
        if let Survey::Contention { window, limit } = ask {
            let most = usize::try_from(*limit).unwrap_or(usize::MAX);
            let seen = |seen: &mut Contention| seen.report(now, *window, most);
            return Findings::Contention(applied.eyes().contention(seen));
        }
        let age = |revision| applied.age(now, revision);
        let table = self.0.group.table();
        table.read(|table, _| table.survey(ask, age))
    }

    /// What a token is worth, as applied here; call [`Reads::confirm`] first.
    pub fn verify(&self, name: &LockName, token: Token) -> VerifyView {
        self.0
            .group
            .table()
            .read(|table, _| table.verify(name, token))
    }
}
