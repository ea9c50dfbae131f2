//! What a leader's work looks like from outside: metrics, the most contended locks, spans of waits.
//! In: applied entries and their history records, operations that are traced. Out: instruments, a sketch, spans.
//! Never: an answer to anybody, or a word of a node that does not lead (all nodes apply the same).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::table::Table;
use crate::table::command::{
    Effect, EndCause, OperateReply, Operation, OperationReply, Party, Refusal,
};
use crate::table::id::{ClaimRef, LockName, Revision};
use crate::table::state::{HistoryEvent, HistoryRecord, Stage};
use crate::telemetry::contention::{Contention, Sample};
use crate::telemetry::core::{Count, Instruments};
use crate::telemetry::names;
use crate::telemetry::traces::{self, Trail};
use crate::world::clock::{Instant, SharedClock};

/// Most traced operations that are remembered until they are applied; beyond, their waits have no spans.
const TRACED_MAX: usize = 65_536;

/// Whoever looks at what this node does as a leader. Clones look together.
#[derive(Clone)]
pub struct Eyes(Arc<Inner>);

struct Inner {
    instruments: Arc<Instruments>,
    clock: SharedClock,
    /// Whether this node leads and serves.
    serving: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    contention: Contention,
    /// Claims in the queues.
    waits: BTreeMap<ClaimRef, Wait>,
    /// Spans of operations on their way, below which a wait has its own.
    traced: BTreeMap<ClaimRef, Trail>,
    /// Since when locks are asked back.
    recalls: BTreeMap<ClaimRef, Instant>,
    /// History up to here was looked at.
    told: Revision,
    /// When the oldest part of the entry on its way had come.
    arrived: Option<Instant>,
    /// Those who waited when this node began to lead are known.
    began: bool,
}

struct Wait {
    since: Instant,
    lock: LockName,
    behind: Option<Arc<str>>,
    trail: Trail,
}

impl Eyes {
    /// Looks with these instruments.
    pub fn new(instruments: Arc<Instruments>, clock: SharedClock) -> Self {
        Self(Arc::new(Inner {
            instruments,
            clock,
            serving: AtomicBool::new(false),
            seen: Mutex::default(),
        }))
    }

    /// What is measured.
    pub fn instruments(&self) -> &Instruments {
        &self.0.instruments
    }

    /// Now, for those who measure how long something takes.
    pub fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// Looks at the most contended locks of the cell.
    pub fn contention<R>(&self, look: impl FnOnce(&mut Contention) -> R) -> R {
        look(&mut self.seen().contention)
    }

    /// This node serves from now on, or does not any more: what was seen of others' claims is void.
    pub fn serves(&self, serving: bool) {
        if self.0.serving.load(Ordering::Relaxed) == serving {
            return;
        }
        // Under the lock: an entry that is applied meanwhile is seen before or after, not half.
        let mut seen = self.seen();
        self.0.serving.store(serving, Ordering::Relaxed);
        let mut contention = std::mem::take(&mut seen.contention);
        contention.nobody_waits();
        *seen = Seen {
            contention,
            told: seen.told,
            ..Seen::default()
        };
    }

    /// A traced operation of a session was queued.
    pub fn traced(&self, claim: ClaimRef, trail: &Trail) {
        if trail.is_on() {
            let mut seen = self.seen();
            if seen.traced.len() < TRACED_MAX {
                seen.traced.insert(claim, trail.clone());
            }
        }
    }

    /// An operation is not on its way any more.
    pub fn untraced(&self, claim: ClaimRef) {
        if traces::is_on() {
            self.seen().traced.remove(&claim);
        }
    }

    /// An entry goes on its way, the oldest part of which came then.
    pub fn proposes(&self, arrived: Option<Instant>) {
        self.seen().arrived = arrived;
    }

    /// An operation of a session was applied and answered.
    pub fn answered(&self, kind: &'static str, claim: ClaimRef, reply: &OperateReply) {
        self.untraced(claim);
        let OperateReply::Applied(reply) = reply else {
            return;
        };
        self.0.instruments.operated(kind);
        if let OperationReply::Refused(refusal) = reply {
            self.0.instruments.refused(code(refusal));
        }
    }

    /// An entry was applied. Under the table's lock.
    pub fn applied(&self, table: &Table, effects: &[Effect]) {
        let mut seen = self.seen();
        let newest = table.counters().revision;
        let told = std::mem::replace(&mut seen.told, newest);
        if !self.0.serving.load(Ordering::Relaxed) {
            return;
        }
        let now = self.now();
        if !std::mem::replace(&mut seen.began, true) {
            waits_before(&mut seen, now, table);
        }
        for effect in effects {
            self.effect(&mut seen, now, effect);
        }
        let news = table.history().take_while(|(revision, _)| *revision > told);
        let news: Vec<_> = news.collect();
        for (_, record) in news.into_iter().rev() {
            self.record(&mut seen, now, table, record);
        }
    }

    /// How long the oldest recall has gone without an answer.
    pub fn oldest_recall(&self, table: &Table) -> Duration {
        let now = self.now();
        let mut seen = self.seen();
        // Told, and not acknowledged with a renewal: the sidecar does not hear. That an app holds on is no fault.
        let unheard = |claim: &ClaimRef| {
            let session = table.session(claim.session);
            session.is_some_and(|session| session.listed.is_some())
        };
        seen.recalls.retain(|claim, _| table.is_recalled(*claim));
        let oldest = seen.recalls.iter().filter(|(claim, _)| unheard(claim));
        let oldest = oldest.map(|(_, since)| since).min();
        oldest.map_or(Duration::ZERO, |since| now.since(*since))
    }

    fn effect(&self, seen: &mut Seen, now: Instant, effect: &Effect) {
        let instruments = &self.0.instruments;
        match effect {
            Effect::SessionEnded { session, cause } => {
                if *cause == EndCause::SessionExpired {
                    instruments.count(Count::SessionExpired);
                    tracing::debug!(%session, "a session has expired");
                }
            }
            Effect::Recalled { claim, .. } => {
                if let std::collections::btree_map::Entry::Vacant(vacant) =
                    seen.recalls.entry(*claim)
                {
                    vacant.insert(now);
                    instruments.count(Count::Recall);
                }
            }
            Effect::OrderInverted(_) => instruments.count(Count::Inversion),
            Effect::Refused { refusal, .. } => instruments.refused(code(refusal)),
            Effect::Granted(_)
            | Effect::Delegated(_)
            | Effect::Wanted { .. }
            | Effect::ClaimEnded { .. }
            | Effect::BreakAsked { .. }
            | Effect::SessionTimer { .. }
            | Effect::DelayTimer { .. }
            | Effect::LockChanged { .. } => {}
        }
    }

    fn record(&self, seen: &mut Seen, now: Instant, table: &Table, record: &HistoryRecord) {
        let instruments = &self.0.instruments;
        let Some(lock) = record.locks.first().map(|want| &want.name) else {
            return;
        };
        match &record.event {
            // A try that hears whether a kept lock is in use does not wait for it.
            HistoryEvent::Queued if table.is_trial(record.claim) => {}
            HistoryEvent::Queued => {
                seen.contention.queued(now, lock);
                let behind = blocker(table, record);
                let trail = wait_trail(seen, table, record, behind.as_ref());
                let behind = behind.map(|party| party.claim_id.as_str().into());
                let wait = Wait {
                    since: now,
                    lock: lock.clone(),
                    behind,
                    trail,
                };
                seen.waits.insert(record.claim, wait);
            }
            HistoryEvent::Granted { .. } => {
                instruments.count(Count::Grant);
                let Some(wait) = seen.waits.remove(&record.claim) else {
                    return;
                };
                let waited = now.since(wait.since);
                instruments.waited(waited, &record.trace_id);
                let free = seen.arrived.unwrap_or(wait.since).max(wait.since);
                instruments.handed_over(now.since(free), &record.trace_id);
                wait.trail.set(names::LOCK_OUTCOME, "granted");
                let sample = sample(record, waited, wait.behind, now);
                seen.contention
                    .left(now, &wait.lock, wait.since, Some(sample));
            }
            HistoryEvent::Left { cause, .. } => {
                if *cause == EndCause::Deadlock {
                    instruments.count(Count::Deadlock);
                }
                if let Some(wait) = seen.waits.remove(&record.claim) {
                    wait.trail.set(names::LOCK_OUTCOME, "left");
                    seen.contention.left(now, &wait.lock, wait.since, None);
                }
            }
            HistoryEvent::Ended {
                waited_ms, held_ms, ..
            } => {
                seen.recalls.remove(&record.claim);
                let held = Duration::from_millis(held_ms.unwrap_or_default());
                seen.contention.held(now, lock, held);
                let waited = Duration::from_millis(waited_ms.unwrap_or_default());
                // Of a claim that the core has not seen wait: it waited at its sidecar.
                let local = table
                    .claim(record.claim)
                    .is_some_and(|claim| matches!(claim.stage, Stage::Holding { .. }));
                if local && !waited.is_zero() {
                    let sample = sample(record, waited, None, now);
                    seen.contention.waited(now, lock, sample);
                }
            }
            HistoryEvent::Deadlocked { .. } => instruments.count(Count::Deadlock),
            HistoryEvent::BreakAsked { .. } => {}
        }
    }

    /// Guards a few lines without `.await`.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims that were queued under an earlier leader: they wait since now, as far as this one knows.
fn waits_before(seen: &mut Seen, now: Instant, table: &Table) {
    for (lock, claim) in table.waiting() {
        if seen.waits.contains_key(&claim) || table.is_trial(claim) {
            continue; // over several locks: it is counted for the first
        }
        seen.contention.queued(now, lock);
        let wait = Wait {
            since: now,
            lock: lock.clone(),
            behind: None,
            trail: Trail::default(),
        };
        seen.waits.insert(claim, wait);
    }
}

/// One of those that hold the lock that a claim waits for.
fn blocker(table: &Table, record: &HistoryRecord) -> Option<Party> {
    let names = record.locks.iter().map(|want| &want.name);
    let mut locks = names.filter_map(|name| table.lock(name));
    let holder =
        locks.find_map(|lock| lock.holders.iter().find(|holder| **holder != record.claim))?;
    table.claim(*holder)?;
    Some(table.party(*holder))
}

/// The span of a wait, below that of the operation that began it, with a link to the hold in its way.
fn wait_trail(seen: &Seen, table: &Table, record: &HistoryRecord, behind: Option<&Party>) -> Trail {
    let Some(operation) = seen.traced.get(&record.claim) else {
        return Trail::default();
    };
    let trail = operation.child("lock.wait", None);
    if let Some(want) = record.locks.first() {
        trail.set(names::LOCK_NAME, want.name.to_string());
    }
    trail.set(names::LOCK_CLAIM_ID, record.claim_id.to_string());
    let lock = record.locks.first().and_then(|want| table.lock(&want.name));
    let place = lock.and_then(|lock| lock.queue.values().position(|it| *it == record.claim));
    if let Some(place) = place {
        trail.set_number(names::LOCK_QUEUE_POSITION, place);
    }
    if let Some(party) = behind {
        trail.set_behind(party.claim_id.as_str(), &party.identity, &party.trace_id);
    }
    trail
}

fn sample(
    record: &HistoryRecord,
    waited: Duration,
    behind: Option<Arc<str>>,
    at: Instant,
) -> Sample {
    Sample {
        claim_id: record.claim_id.as_str().into(),
        owner: record.owner.as_str().into(),
        identity: Arc::clone(&record.identity),
        waited,
        behind,
        trace_id: Arc::clone(&record.trace_id),
        at,
    }
}

/// What kind of operation it is, in a word.
pub fn kind(operation: &Operation) -> &'static str {
    match operation {
        Operation::Acquire(_) => "acquire",
        Operation::Delegate { .. } => "delegate",
        Operation::Return(_) => "return",
        Operation::InUse { .. } => "in-use",
        Operation::Refill { .. } => "refill",
        Operation::Rename { .. } => "rename",
        Operation::Release(_) => "release",
        Operation::SetValue { .. } => "set-value",
        Operation::Close => "close",
        Operation::Denied(_) => "denied",
    }
}

fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Held { .. } => "lock-held",
        Refusal::LockDelay { .. } => "lock-delay",
        Refusal::Deadlock(_) => "deadlock",
        Refusal::SemaphoreLimit { .. } => "semaphore-limit",
        Refusal::QueueFull { .. } => "quota-exceeded",
        Refusal::Invalid(_) => "invalid-request",
        Refusal::Denied { .. } => "forbidden",
    }
}
