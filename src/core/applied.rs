//! What this replica tells others of each applied entry: streams, timers and watchers.
//! In: effects, under the table's lock and in log order. Out: events, started timers, woken readers.
//! Never: an `.await`, a long walk, or a call back into the table's lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::ages::Ages;
use super::expiry::Expiry;
use super::history_age::HistoryAge;
use super::machine::Listener;
use super::seen::Eyes;
use super::streams::Streams;
use crate::table::command::{Command, Effect};
use crate::table::id::{LockName, Revision};
use crate::table::state::Table;
use crate::world::clock::{Instant, SharedClock};

/// Most readers that wait for changes of locks on this node; further ones are answered at once.
pub const WATCHERS_MAX: usize = 262_144;

/// The listener of one shard.
pub struct Applied {
    clock: SharedClock,
    eyes: Eyes,
    streams: Streams,
    timers: Mutex<Timers>,
    watchers: Mutex<Watchers>,
}

struct Timers {
    expiry: Expiry,
    history: HistoryAge,
    ages: Ages,
    /// Whether this node serves, as of the last tick.
    serving: bool,
    /// When the last entry was applied, and the table's revision then.
    last: Option<(Instant, Revision)>,
}

#[derive(Default)]
struct Watchers {
    next: u64,
    count: usize,
    by_lock: BTreeMap<LockName, Vec<(u64, oneshot::Sender<()>)>>,
}

impl Applied {
    /// Knows nothing yet: the group's table tells it when it is set as its listener.
    pub fn new(clock: SharedClock, eyes: Eyes) -> Self {
        Self {
            clock,
            eyes,
            streams: Streams::default(),
            timers: Mutex::new(Timers {
                expiry: Expiry::default(),
                history: HistoryAge::default(),
                ages: Ages::default(),
                serving: false,
                last: None,
            }),
            watchers: Mutex::new(Watchers::default()),
        }
    }

    /// What is seen of each applied entry.
    pub fn eyes(&self) -> &Eyes {
        &self.eyes
    }

    /// The current stream of each session.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// When the last entry was applied here; `None` before the first.
    pub fn last_applied(&self) -> Option<Instant> {
        self.timers().last.map(|(at, _)| at)
    }

    /// How often a tick came so late that nothing was expired for a while.
    pub fn stalls(&self) -> u64 {
        self.timers().expiry.stalls()
    }

    /// What the timers propose now; see [`Expiry::tick`].
    pub fn tick(&self, now: Instant, serving: Option<u64>) -> Vec<Command> {
        let mut timers = self.timers();
        timers.serving = serving.is_some();
        let mut due = timers.expiry.tick(now, serving);
        if let Some((_, revision)) = timers.last {
            let trim = timers.history.tick(now, revision, serving.is_some());
            due.extend(trim.map(|up_to| Command::TrimHistory { up_to }));
        }
        due
    }

    /// For how long at least the table has had a revision, as far as this node has seen it.
    pub fn age(&self, now: Instant, revision: Revision) -> Duration {
        self.timers().ages.age(now, revision)
    }

    /// For how long at most; none if nothing here tells.
    pub fn age_at_most(&self, now: Instant, revision: Revision) -> Option<Duration> {
        self.timers().ages.age_at_most(now, revision)
    }

    /// Waits for a change of a lock. Call it under the table's lock, having found none: then none is
    /// missed. `None` if too many wait.
    pub fn watch(self: &Arc<Self>, lock: &LockName) -> Option<Watch> {
        let (sender, changed) = oneshot::channel();
        let mut watchers = self.watchers();
        if watchers.count >= WATCHERS_MAX {
            return None;
        }
        watchers.count += 1;
        watchers.next += 1;
        let id = watchers.next;
        let list = watchers.by_lock.entry(lock.clone()).or_default();
        list.push((id, sender));
        Some(Watch {
            id,
            lock: lock.clone(),
            changed,
            applied: Arc::clone(self),
        })
    }

    fn wake(&self, effects: &[Effect]) {
        let mut watchers = self.watchers();
        if watchers.count == 0 {
            return;
        }
        for effect in effects {
            if let Effect::LockChanged { lock, .. } = effect
                && let Some(list) = watchers.by_lock.remove(lock)
            {
                watchers.count -= list.len();
                for (_, sender) in list {
                    if sender.send(()).is_err() {
                        tracing::trace!("a watcher left meanwhile");
                    }
                }
            }
        }
    }

    /// Guards a few lines without `.await`; taken inside the table's lock, never around it.
    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::timers`].
    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Applied {
    fn applied(&self, table: &Table, _index: u64, effects: &[Effect]) {
        let now = self.clock.now();
        {
            let mut timers = self.timers();
            timers.expiry.applied(now, table, effects);
            let revision = table.counters().revision;
            timers.ages.note(now, revision);
            timers.last = Some((now, revision));
            if timers.serving {
                effects.iter().for_each(warn_of_inversion);
            }
        }
        self.streams.tell(effects);
        self.wake(effects);
        self.eyes.applied(table, effects);
    }

    fn reloaded(&self, table: &Table) {
        let now = self.clock.now();
        let mut timers = self.timers();
        timers.expiry.reloaded(now, table);
        let revision = table.counters().revision;
        timers.history = HistoryAge::default();
        timers.ages = Ages::default();
        timers.ages.note(now, revision);
        timers.last = Some((now, revision));
        drop(timers);
        // Whatever they wait for may have come with the snapshot: they look again.
        *self.watchers() = Watchers::default();
    }
}

/// Says once, where it is read, that programs take locks in contradicting orders: they will deadlock one day.
fn warn_of_inversion(effect: &Effect) {
    let Effect::OrderInverted(inversion) = effect else {
        return;
    };
    let sample = &inversion.sample;
    tracing::warn!(
        classes = ?inversion.classes,
        held = %sample.held,
        taken = %sample.taken,
        claim_id = %sample.claim_id,
        owner = %sample.owner,
        identity = %sample.identity,
        "lock classes are taken in contradicting orders"
    );
}

/// Waits for one change of one lock. Dropping it ends the wait.
pub struct Watch {
    id: u64,
    lock: LockName,
    changed: oneshot::Receiver<()>,
    applied: Arc<Applied>,
}

impl Watch {
    /// Resolves when the lock has changed, or may have.
    pub async fn changed(&mut self) {
        // An error means that all watchers were told to look again.
        if (&mut self.changed).await.is_err() {
            tracing::debug!(lock = %self.lock, "the table was replaced under a watcher");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.applied.watchers();
        let Some(list) = watchers.by_lock.get_mut(&self.lock) else {
            return;
        };
        let before = list.len();
        list.retain(|(id, _)| *id != self.id);
        let gone = before - list.len();
        let empty = list.is_empty();
        if empty {
            watchers.by_lock.remove(&self.lock);
        }
        watchers.count -= gone;
    }
}
