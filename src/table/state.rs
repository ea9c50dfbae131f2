//! What one shard's table holds: sessions, claims, locks, policies, history and three counters.
//! In: changes from `apply.rs` and its leaves. Out: read-only views, and the keys that changed.
//! Never: a hash map, so that every replica walks in the same order and encodes to the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::command::{CycleEdge, EndCause, Mode, OperationReply, Policy, Want};
use super::delegation::Pledge;
use super::holders::Holders;
use super::id::{
    ClaimId, ClaimRef, DelayNumber, Generation, LockName, OwnerId, RenewalNumber, Revision, Seq,
    SessionId, SessionKey, Token,
};
use super::order::{LockClass, OrderEdge};
use super::queue::{Limits, Load};
use crate::planted::{self, Bug};

/// The state machine of one shard. Equal logs give equal tables, byte for byte.
///
/// Claims and locks are boxed: a leaf of a `BTreeMap` is half empty after ascending inserts, and a
/// million large values would pay for that twice.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub(super) counters: Counters,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) keys: BTreeMap<SessionKey, SessionId>,
    pub(super) replies: BTreeMap<(SessionId, Seq), OperationReply>,
    pub(super) claims: BTreeMap<ClaimRef, Box<Claim>>,
    pub(super) locks: BTreeMap<LockName, Box<Lock>>,
    /// What is special about some of the claims.
    pub(super) pledges: BTreeMap<ClaimRef, Pledge>,
    /// Delegations that are called back. Derived from `pledges`.
    pub(super) recalled: BTreeSet<ClaimRef>,
    /// The live claims of each owner, those that wait first. Derived from `claims`.
    pub(super) parties: BTreeSet<PartyEntry>,
    /// Locks that somebody waits for. Derived from `locks`.
    pub(super) contended: BTreeSet<LockName>,
    /// Free locks that are remembered for their newest tokens, by last change. Derived from `locks`.
    pub(super) free: BTreeSet<(Revision, LockName)>,
    pub(super) policies: BTreeMap<Arc<str>, Policy>,
    pub(super) history: BTreeMap<Revision, HistoryRecord>,
    /// Of `history`, what tells of a deadlock. Derived.
    pub(super) deadlocks: BTreeSet<Revision>,
    /// Which classes of locks were held while which were taken.
    pub(super) order: BTreeMap<(LockClass, LockClass), OrderEdge>,
    /// Not state: what but history changed since the last [`Table::take_changes`].
    pub(super) dirty: BTreeSet<Key>,
    /// Not state: the last revision of history that [`Table::take_changes`] told of.
    pub(super) told: Revision,
    /// Not state: history up to here is dropped.
    pub(super) dropped: Revision,
}

/// What the storage must follow to hold the table as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Objects to store anew; those without a [`Table::object`] are to be deleted.
    pub keys: Vec<Key>,
    /// History up to here is to be deleted. It comes in order and goes in order, so two numbers tell more
    /// cheaply than a key for each record.
    pub history_dropped: Revision,
}

/// See [`Table::sizes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Locks that are used or remembered.
    pub locks: usize,
    /// Claims that wait or hold.
    pub claims: usize,
    /// Of those, how many wait.
    pub waiting: usize,
    /// Sessions.
    pub sessions: usize,
    /// Locks kept by sidecars.
    pub delegations: usize,
}

/// One sequential party of the shard: claims of one owner never run beside each other.
pub(super) type OwnerKey = (SessionId, OwnerId);

/// One live claim of one owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartyEntry {
    pub(super) owner: OwnerKey,
    /// False sorts first: those that wait are found without walking over those that hold.
    pub(super) holds: bool,
    pub(super) seq: Seq,
}

/// The numbers that outlive every lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Behaviour switch: replicas of one version behave alike.
    pub table_version: u32,
    /// The last token handed out; the next is one more.
    pub token: u64,
    /// The last transition.
    pub revision: Revision,
    /// The last run of a lock-delay.
    pub delay: DelayNumber,
    /// The last place given out in a queue.
    pub arrival: u64,
    /// How often an order of classes was seen that there was no room to note.
    pub order_missed: u64,
}

/// The lease between one sidecar and this shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// By which a resent open finds it.
    pub key: SessionKey,
    /// Who, for people.
    pub identity: Arc<str>,
    /// Who, verified; nobody else finds it again.
    pub principal: Option<Arc<str>>,
    /// How long it lives without renewal.
    pub ttl_ms: u32,
    /// Which attach is in force.
    pub generation: Generation,
    /// The last renewal that was applied.
    pub renewal: RenewalNumber,
    /// The first renewal with whose answer recalls were told that are not acknowledged yet.
    pub listed: Option<RenewalNumber>,
    /// The last operation that was applied.
    pub seq: Seq,
    /// Replies up to here are forgotten.
    pub acked: Seq,
    /// Why it is over, while claims of it are left to be ended.
    pub ending: Option<EndCause>,
}

/// A claim that waits or holds. Ended claims live on in history alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The app's id.
    pub claim_id: ClaimId,
    /// The party for deadlocks.
    pub owner: OwnerId,
    /// In the order asked for. Shared with history.
    pub locks: Arc<[Want]>,
    /// Priority class.
    pub priority: u8,
    /// Free text of the app.
    pub metadata: BTreeMap<String, String>,
    /// What others observe while it holds.
    pub value: Option<Arc<str>>,
    /// Trace id of the request.
    pub trace_id: Arc<str>,
    /// Waiting or holding.
    pub stage: Stage,
}

/// Where a live claim stands; each stage has only its own fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// In the queue of each of its locks, at this place.
    Waiting {
        /// The same place in every queue, so that two queues never order two claims differently.
        place: Place,
        /// How often a claim of a higher class that came later was granted a lock of this one first.
        passed: u32,
    },
    /// Holds each of its locks.
    Holding {
        /// One for each lock, in the order asked for. Shared with history.
        tokens: Arc<[Token]>,
        /// When it was granted.
        granted: Revision,
        /// Whether an operator wants it gone.
        breaking: bool,
    },
}

/// A place in a queue: higher class first, then first come. Total over the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `PRIORITY_MAX + 1 - priority`; 0 for a claim that was passed too often: see `queue.rs`.
    pub rank: u8,
    /// Order of arrival in the shard, never reused.
    pub arrival: u64,
}

impl Place {
    /// Behind all that ever come.
    pub(super) const LAST: Self = Self {
        rank: u8::MAX,
        arrival: u64::MAX,
    };
}

/// A lock that is held, waited for, closed, or remembered for its newest tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// Who holds it.
    pub holders: Holders,
    /// Who waits, in order.
    pub queue: BTreeMap<Place, ClaimRef>,
    /// Closed for a lock-delay.
    pub closed: Option<Closed>,
    /// The newest tokens granted on it, for `verify`.
    pub newest: Newest,
    /// Last visible change.
    pub revision: Revision,
    /// What the holders take, so that no decision walks over them. Derived.
    pub(super) used: Load,
    /// The limits that live semaphore claims state. Derived.
    pub(super) limits: Limits,
}

/// The newest tokens granted on one lock. A free lock is remembered for them until
/// `FREE_LOCKS_MAX` others were freed after it; a forgotten lock verifies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Newest {
    /// In any mode.
    pub any: Option<Token>,
    /// In exclusive mode.
    pub exclusive: Option<Token>,
    /// In semaphore mode. (Else an ended semaphore token could not be told from a shared one.)
    pub semaphore: Option<Token>,
}

/// A lock-delay in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Which run.
    pub delay: DelayNumber,
    /// How long in all.
    pub delay_ms: u32,
}

/// One transition, for people and auditors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRecord {
    /// The log index of the entry.
    pub index: u64,
    /// What happened.
    pub event: HistoryEvent,
    /// The locks it happened to, with the mode of each.
    pub locks: Arc<[Want]>,
    /// The claim.
    pub claim: ClaimRef,
    /// The app's id of the claim.
    pub claim_id: ClaimId,
    /// Its owner.
    pub owner: OwnerId,
    /// Its sidecar.
    pub identity: Arc<str>,
    /// Trace id of its request.
    pub trace_id: Arc<str>,
}

/// What a history record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryEvent {
    /// It waits.
    Queued,
    /// It holds.
    Granted {
        /// One for each lock.
        tokens: Arc<[Token]>,
    },
    /// It held and ended.
    Ended {
        /// One for each lock.
        tokens: Arc<[Token]>,
        /// Why.
        cause: EndCause,
        /// As its sidecar measured; `None` where no sidecar told.
        waited_ms: Option<u64>,
        /// As its sidecar measured; `None` where no sidecar told.
        held_ms: Option<u64>,
        /// Operator and reason, for a break.
        note: Arc<str>,
    },
    /// It waited and ended.
    Left {
        /// Why.
        cause: EndCause,
        /// With [`EndCause::Deadlock`], the cycle, or its first edges.
        cycle: Arc<[CycleEdge]>,
    },
    /// It was refused because it closed a cycle.
    Deadlocked {
        /// The cycle, or its first edges.
        cycle: Arc<[CycleEdge]>,
    },
    /// An operator asked its sidecar to let go.
    BreakAsked {
        /// Operator and reason.
        note: Arc<str>,
    },
}

/// Names one stored object. The storage keeps one value for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// [`Counters`].
    Counters,
    /// A session.
    Session(SessionId),
    /// A kept reply.
    Reply(SessionId, Seq),
    /// A live claim. (Holders, queues and indexes of locks are rebuilt from claims.)
    Claim(ClaimRef),
    /// What of a lock its claims do not tell: `closed`, `newest`, `revision`.
    Lock(LockName),
    /// A policy by prefix.
    Policy(Arc<str>),
    /// A history record.
    History(Revision),
    /// What is special about a live claim.
    Pledge(ClaimRef),
    /// That a lock of the first class was held while one of the second was taken.
    Order(LockClass, LockClass),
}

/// The value of a [`Key`], borrowed from the table or about to be loaded into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// See [`Key::Counters`].
    Counters(Counters),
    /// See [`Key::Session`].
    Session(Session),
    /// See [`Key::Reply`].
    Reply(OperationReply),
    /// See [`Key::Claim`].
    Claim(Claim),
    /// See [`Key::Pledge`].
    Pledge(Pledge),
    /// See [`Key::Lock`].
    Lock {
        /// A lock-delay in force.
        closed: Option<Closed>,
        /// The newest tokens.
        newest: Newest,
        /// Last visible change.
        revision: Revision,
    },
    /// See [`Key::Policy`].
    Policy(Policy),
    /// See [`Key::History`].
    History(HistoryRecord),
    /// See [`Key::Order`].
    Order(OrderEdge),
}

impl PartialEq for Table {
    /// Equal state; what has yet to be stored is not state.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            counters,
            sessions,
            keys,
            replies,
            claims,
            locks,
            pledges,
            recalled,
            parties,
            contended,
            free,
            policies,
            history,
            deadlocks,
            order,
            dirty: _,
            told: _,
            dropped: _,
        } = self;
        *counters == other.counters
            && *sessions == other.sessions
            && *keys == other.keys
            && *replies == other.replies
            && *claims == other.claims
            && *locks == other.locks
            && *pledges == other.pledges
            && *recalled == other.recalled
            && *parties == other.parties
            && *contended == other.contended
            && *free == other.free
            && *policies == other.policies
            && *history == other.history
            && *deadlocks == other.deadlocks
            && *order == other.order
    }
}

impl Eq for Table {}

impl Table {
    /// At most how many keys [`Table::take_changes`] would give.
    pub fn changes_len(&self) -> usize {
        let news = self.counters.revision.0 - self.told.0;
        self.dirty.len() + usize::try_from(news).unwrap_or(usize::MAX)
    }

    /// What has changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let news = (Bound::Excluded(self.told), Bound::Unbounded);
        let news = self.history.range(news).map(|(at, _)| Key::History(*at));
        let news = news.filter(|_| !planted::is(Bug::HistoryUntold));
        let keys = std::mem::take(&mut self.dirty).into_iter().chain(news);
        let changes = Changes {
            keys: keys.collect(),
            history_dropped: self.dropped,
        };
        self.told = self.counters.revision;
        changes
    }

    /// The session of this id, unless it is over.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        let session = self.sessions.get(&id);
        session.filter(|session| session.ending.is_none())
    }

    /// All sessions, by id, with those that are over and have claims left.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// The live claim of this name.
    pub fn claim(&self, claim: ClaimRef) -> Option<&Claim> {
        self.claims.get(&claim).map(Box::as_ref)
    }

    /// The live claims of a session, by seq.
    pub fn claims_of(&self, session: SessionId) -> impl Iterator<Item = (ClaimRef, &Claim)> {
        let from = ClaimRef {
            session,
            seq: Seq(0),
        };
        let to = ClaimRef {
            session,
            seq: Seq(u64::MAX),
        };
        self.claims
            .range(from..=to)
            .map(|(name, claim)| (*name, claim.as_ref()))
    }

    /// The lock of this name; `None` if it is free and no longer remembered.
    pub fn lock(&self, name: &LockName) -> Option<&Lock> {
        self.locks.get(name).map(Box::as_ref)
    }

    /// Locks whose name is greater than `after` (from the start with `None`), by name.
    pub fn locks_after<'a>(
        &'a self,
        after: Option<&LockName>,
    ) -> impl Iterator<Item = (&'a LockName, &'a Lock)> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.locks
            .range((from, Bound::Unbounded))
            .map(|(name, lock)| (name, lock.as_ref()))
    }

    /// History records, newest first.
    pub fn history(&self) -> impl Iterator<Item = (Revision, &HistoryRecord)> {
        self.history
            .iter()
            .rev()
            .map(|(revision, record)| (*revision, record))
    }

    /// All policies, by prefix.
    pub fn policies(&self) -> impl Iterator<Item = (&Arc<str>, &Policy)> {
        self.policies.iter()
    }

    /// Every claim that waits, once for each of its locks.
    pub fn waiting(&self) -> impl Iterator<Item = (&LockName, ClaimRef)> {
        let locks = self.contended.iter();
        let locks = locks.filter_map(|name| self.locks.get_key_value(name));
        locks.flat_map(|(name, lock)| lock.queue.values().map(move |claim| (name, *claim)))
    }

    /// How much there is of everything.
    pub fn sizes(&self) -> Sizes {
        let given = |pledge: &&Pledge| matches!(pledge, Pledge::Given { .. });
        let queues = self
            .contended
            .iter()
            .filter_map(|name| self.locks.get(name));
        let waiting: BTreeSet<&ClaimRef> = queues.flat_map(|lock| lock.queue.values()).collect();
        Sizes {
            waiting: waiting.len(),
            locks: self.locks.len(),
            claims: self.claims.len(),
            sessions: self.sessions.len(),
            delegations: self.pledges.values().filter(given).count(),
        }
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The mode in which a claim wants or holds a lock.
    pub fn mode_of(&self, claim: ClaimRef, lock: &LockName) -> Option<Mode> {
        let claim = self.claims.get(&claim)?;
        claim
            .locks
            .iter()
            .find(|want| want.name == *lock)
            .map(|want| want.mode)
    }
}
