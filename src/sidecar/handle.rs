//! Hop 2: all that the HTTP face may know of the sidecar: one trait and its plain data.
//! In: checked requests. Out: views that already hold relative, conservative times. Never: HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

pub use super::claim_state::{ClaimState, Reason};
use crate::table::command::{CycleEdge, Party, Want};
pub use crate::table::contention::{ContentionView, Window};
use crate::table::id::{ClaimId, LockName, OwnerId, Revision, Token};
pub use crate::table::survey::{Findings, Survey};
pub use crate::table::view::{
    HistoryView, HolderView, LockStateFilter, LockView, VerifyView, WaiterView,
};
use crate::telemetry::sidecar::Instruments;
use crate::world::clock::Instant;

/// What a caller wants to claim. Bounds are checked before one is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimAsk {
    /// One or more, names distinct.
    pub locks: Vec<Want>,
    /// The app's lease.
    pub ttl: Duration,
    /// How long to wait; zero tries once.
    pub wait: Duration,
    /// Answer "queued" at once and keep waiting without a connection.
    pub queue: bool,
    /// Party for deadlocks; the claim itself if absent.
    pub owner: Option<OwnerId>,
    /// Free text, for people.
    pub metadata: BTreeMap<String, String>,
    /// What others observe while it holds.
    pub value: Option<Arc<str>>,
    /// 0 to 9, higher goes first.
    pub priority: u8,
    /// A release before this much holding is delayed until then, as ShedLock's lockAtLeastFor.
    pub min_hold: Duration,
}

/// One claim, as the app sees it. Times count from the call and are conservative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimView {
    /// The id.
    pub claim_id: ClaimId,
    /// Where it stands.
    pub state: ClaimState,
    /// Why, where that is not obvious.
    pub reason: Option<Reason>,
    /// What it claims, in the order asked for.
    pub locks: Vec<Want>,
    /// One for each lock once granted (kept after the end), else empty.
    pub tokens: Vec<Token>,
    /// The app's own lease: left of it. Only while granted, in jeopardy or queued.
    pub expires_in: Option<Duration>,
    /// How long the hold is certain even if the core is never heard again. Only while granted.
    pub safe_for: Option<Duration>,
    /// The same as an instant of this kernel's CLOCK_BOOTTIME. Only while granted.
    pub safe_until: Option<Instant>,
    /// How long it waited, or has been waiting.
    pub waited: Duration,
    /// Granted under a delegation, without the core.
    pub local: bool,
    /// This answer repeats an earlier one (the claim existed already).
    pub replayed: bool,
    /// Counts the changes of this claim, from 1.
    pub revision: u64,
    /// What stood in its way, if it had to wait.
    pub obstacle: Option<Arc<Obstacle>>,
    /// Its owner.
    pub owner: OwnerId,
    /// Free text.
    pub metadata: BTreeMap<String, String>,
    /// The mode of the lock's shard.
    pub mode: SidecarMode,
}

/// What stood in the way of a claim when it was queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// When it was queued.
    pub since: Instant,
    /// How many claims went before it.
    pub ahead: u32,
    /// One of those it waits for, as far as is known.
    pub behind: Option<Party>,
}

/// The trace of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// W3C trace id, or empty.
    pub id: Arc<str>,
    /// The `traceparent` for what is done for it elsewhere, if it is sampled.
    pub parent: Option<Arc<str>>,
}

impl From<Arc<str>> for Trace {
    /// A trace that is not sampled.
    fn from(id: Arc<str>) -> Self {
        Self { id, parent: None }
    }
}

/// What became of a claim request that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// Granted by this request.
    Granted(ClaimView),
    /// Had been granted before; `replayed` is set.
    AlreadyGranted(ClaimView),
    /// Waits (only with `queue`).
    Queued(ClaimView),
}

/// What became of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseAnswer {
    /// It was valid until now, or it waited, or this repeats such a release, or the id is unknown.
    Released,
    /// Accepted, and delivered when the core is back.
    Accepted,
}

/// What the sidecar can do at the moment, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SidecarMode {
    /// All is well.
    Normal,
    /// A session is past its safe deadline and its fate is not known.
    Jeopardy,
    /// No quorum seen for longer than the bound.
    ReadOnly,
}

impl SidecarMode {
    /// As clients and logs have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Jeopardy => "jeopardy",
            Self::ReadOnly => "read-only",
        }
    }
}

/// Why the sidecar cannot do all that it can otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Core nodes answer, but none of them leads with a quorum.
    NoQuorum,
    /// No core node answers at all.
    CoreUnreachable,
    /// The session's safe deadline has passed and the core has not confirmed it yet.
    Jeopardy,
    /// The session was lost, and the next one is not open yet.
    SessionLost,
    /// This process is stopping.
    Draining,
    /// Too many claims wait to be sent to the core.
    Overloaded,
}

impl Why {
    /// As clients and logs have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoQuorum => "no-quorum",
            Self::CoreUnreachable => "core-unreachable",
            Self::Jeopardy => "jeopardy",
            Self::SessionLost => "session-lost",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
        }
    }
}

/// The mode and the first of its reasons: what every open stream is told when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The mode.
    pub mode: SidecarMode,
    /// Why; `None` while all is well.
    pub why: Option<Why>,
}

/// For `GET /v1/mode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeView {
    /// The mode, and why.
    pub standing: Standing,
    /// For how long the mode has been that.
    pub since: Duration,
    /// How long ago a quorum was last known to stand (an acknowledged renewal or operation).
    pub quorum_seen: Option<Duration>,
    /// Left of each session's safe deadline, by shard.
    pub sessions: Vec<SessionView>,
}

/// One session of this sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The shard.
    pub shard: u32,
    /// The core's id of the session, once opened.
    pub session: Option<u64>,
    /// Left until the safe deadline; zero when it has passed.
    pub safe_for: Duration,
}

/// For `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusView {
    /// The mode and the sessions.
    pub mode: ModeView,
    /// Live claims by state.
    pub granted: u64,
    /// Live claims that wait.
    pub queued: u64,
    /// Operations sent to the core and not yet answered.
    pub in_flight: u64,
    /// Frames sent to core nodes.
    pub frames_sent: u64,
    /// Operations sent to core nodes.
    pub operations_sent: u64,
    /// Claims granted without asking the core.
    pub granted_locally: u64,
    /// Locks kept here.
    pub delegations: u64,
    /// Each core node: its address, whether a stream to it stands, whether it says it leads.
    pub cores: Vec<CoreLinkView>,
    /// How long the sidecar has run.
    pub uptime: Duration,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainView {
    /// Live claims that hold, and are waited for.
    pub granted: u64,
    /// How much longer they are waited for at most.
    pub left: Duration,
}

/// One core node as seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreLinkView {
    /// HOST:PORT.
    pub address: String,
    /// Whether a stream to it stands.
    pub connected: bool,
    /// Whether it says that it leads.
    pub leader: bool,
}

/// Where a read may be answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Linearizable if possible, else from any replica's applied state; the answer says which.
    #[default]
    Available,
    /// Refused rather than stale.
    Linearizable,
    /// From any replica's applied state.
    Cached,
}

/// An answer and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// True if it was current at some moment during the call.
    pub linearizable: bool,
    /// Bound of its age when not linearizable.
    pub age: Duration,
}

impl<T> Read<T> {
    /// The same worth, of something made of it.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Read<U> {
        Read {
            value: make(self.value),
            linearizable: self.linearizable,
            age: self.age,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order of the list's key.
    pub items: Vec<T>,
    /// Where to go on; opaque to the app.
    pub next_cursor: Option<String>,
}

/// Which locks to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockQuery {
    /// Only names that start with this.
    pub prefix: String,
    /// Only locks in this state.
    pub state: Option<LockStateFilter>,
    /// At most so many items.
    pub limit: usize,
    /// From an earlier page.
    pub cursor: Option<String>,
    /// Where the answer may come from.
    pub consistency: Consistency,
}

/// For `break`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakAnswer {
    /// Nobody held it.
    NotHeld,
    /// Free; with `force` the old holder may still act.
    Freed,
    /// The holder's sidecar was asked.
    Asked,
}

/// An event of a claim's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimEvent {
    /// The claim's revision at which it happened; the `id:` of the event.
    pub revision: u64,
    /// What happened.
    pub kind: ClaimEventKind,
    /// The claim right then, or now where several happened at once.
    pub view: ClaimView,
}

/// What happened to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimEventKind {
    /// First event of a stream that does not resume: how it stands.
    State,
    /// It waits.
    Queued,
    /// It holds.
    Granted,
    /// Its lease was renewed.
    Renewed,
    /// Somebody else wants the lock.
    RecallRequested,
    /// The safe deadline has passed.
    Jeopardy,
    /// It held all the time; same tokens.
    Safe,
    /// It is gone.
    Lost,
    /// Released by the app.
    Released,
    /// The app's lease ran out, or the bound stream closed.
    Expired,
    /// Ended while it waited.
    Cancelled,
    /// An operator broke the lock.
    Revoked,
}

/// Why a claim was not granted, or is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Held by someone else, and the caller would not wait.
    #[error("lock {:?} is held", .0.lock)]
    Held(Contention),
    /// The wait was over first.
    #[error("still waiting for {:?} after {waited:?}", .contention.lock)]
    WaitTimeout {
        /// How long it waited.
        waited: Duration,
        /// Whom it waited for, when it was queued.
        contention: Contention,
    },
    /// Closed after its holder died.
    #[error("lock {lock:?} is closed for {delay:?} after its holder died")]
    LockDelay {
        /// Which.
        lock: LockName,
        /// The whole delay.
        delay: Duration,
    },
    /// Victim of a deadlock.
    #[error("deadlock over {} claims", .0.len())]
    Deadlock(Vec<CycleEdge>),
    /// Another limit of the semaphore is in force.
    #[error("semaphore {lock:?} has the limit {limit}")]
    SemaphoreLimit {
        /// Which.
        lock: LockName,
        /// The limit in force.
        limit: u32,
    },
    /// Too many wait.
    #[error("{waiters_max} claims wait for {lock:?} already")]
    QueueFull {
        /// Which lock.
        lock: LockName,
        /// The bound.
        waiters_max: u32,
        /// The prefix of the policy; empty for the built-in bound.
        policy: Arc<str>,
    },
    /// This sidecar has no right to it.
    #[error("this sidecar may not claim {lock:?}")]
    Denied {
        /// Which.
        lock: LockName,
    },
    /// The id is in use with another body.
    #[error("claim {0} exists with another body")]
    Conflict(ClaimId),
    /// It ended; the view says how.
    #[error("claim {} has ended", .0.claim_id)]
    Ended(Box<ClaimView>),
    /// No claim of this id.
    #[error("no claim {0}")]
    NotFound(ClaimId),
    /// The safe deadline has passed and its fate is not known.
    #[error("claim {} is in jeopardy", .0.claim_id)]
    Jeopardy(Box<ClaimView>),
    /// The caller's request is not one that the core accepts.
    #[error("{0}")]
    Invalid(String),
    /// The cell cannot decide now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Who stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contention {
    /// The first lock that was not free.
    pub lock: LockName,
    /// One of its holders, or its first waiter.
    pub holder: Option<Box<Party>>,
    /// How many wait.
    pub waiters: u32,
    /// When trying again may make sense.
    pub retry_after: Duration,
}

/// Why no decision can be had at the moment. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// A core answers, but no leader with a quorum.
    #[error("the cell has no quorum")]
    NoQuorum {
        /// When trying again may make sense.
        retry_after: Duration,
    },
    /// No core node answers at all.
    #[error("no core node answers")]
    CoreUnreachable {
        /// When trying again may make sense.
        retry_after: Duration,
    },
    /// The session is past its safe deadline.
    #[error("the session's safe deadline has passed")]
    Jeopardy {
        /// When trying again may make sense.
        retry_after: Duration,
    },
    /// The sidecar that keeps the lock does not answer, and it alone knows who holds it.
    #[error("the sidecar that keeps the lock does not answer")]
    NoDelegate {
        /// When trying again may make sense.
        retry_after: Duration,
    },
    /// The session was lost while the request was under way.
    #[error("the session was lost")]
    SessionLost {
        /// When trying again may make sense.
        retry_after: Duration,
    },
    /// This process is stopping.
    #[error("the sidecar is draining")]
    Draining,
    /// The core does not let this sidecar do that (an operator's action without operator's rights).
    #[error("the core does not allow that to this sidecar")]
    Forbidden,
    /// Too much is waiting here.
    #[error("too many requests are waiting")]
    Overloaded {
        /// When trying again may make sense.
        retry_after: Duration,
    },
}

/// The sidecar, to its HTTP face. Every call returns within its stated wait plus the no-quorum bound.
#[async_trait]
pub trait Sidecar: Send + Sync + 'static {
    /// Claims. Relative times of the view are taken at the moment of the grant, never earlier, so they
    /// are conservative for an app that counts them from when it sent the request. Dropping the future
    /// while it waits cancels the claim, unless `queue` was asked or another caller waits for it too.
    async fn claim(
        &self,
        id: ClaimId,
        ask: ClaimAsk,
        trace: Trace,
    ) -> Result<ClaimAnswer, ClaimError>;

    /// Shows a claim; waits up to `wait` for a revision greater than `after`.
    async fn claim_view(
        &self,
        id: &ClaimId,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<ClaimView, ClaimError>;

    /// Renews the app's lease (local), and publishes a value (through the core) if there is one.
    async fn renew(
        &self,
        id: &ClaimId,
        ttl: Option<Duration>,
        value: Option<Arc<str>>,
    ) -> Result<ClaimView, ClaimError>;

    /// Releases or cancels.
    async fn release(&self, id: &ClaimId) -> Result<ReleaseAnswer, ClaimError>;

    /// The claims of this sidecar, by id.
    fn claims(&self, limit: usize, cursor: Option<&str>) -> Page<ClaimView>;

    /// The events of a claim after `after`, oldest first, waiting for at least one; with `None`, first
    /// the current state at once. An empty answer means that the claim has ended and all was told.
    async fn claim_events(
        &self,
        id: &ClaimId,
        after: Option<u64>,
    ) -> Result<Vec<ClaimEvent>, ClaimError>;

    /// Ties the claim to a stream: while bound it needs no renewal.
    fn bind(&self, id: &ClaimId) -> Result<(), ClaimError>;

    /// A bound stream ended: by a close of the app (a death, or a cancel if it waits), or it just broke
    /// (the claim keeps its TTL from now).
    fn unbind(&self, id: &ClaimId, closed_by_app: bool);

    /// Shows a lock; waits up to `wait` for a revision greater than `after`.
    async fn lock(
        &self,
        name: &LockName,
        consistency: Consistency,
        after: Option<Revision>,
        wait: Duration,
    ) -> Result<Read<LockView>, Unavailable>;

    /// Lists locks that are in use.
    async fn locks(&self, query: LockQuery) -> Result<Read<Page<LockView>>, Unavailable>;

    /// The history of a lock, newest first.
    async fn history(
        &self,
        name: &LockName,
        limit: usize,
        cursor: Option<String>,
    ) -> Result<Read<Page<HistoryView>>, Unavailable>;

    /// Why a lock is as it is, or what there is to see beyond single locks. The findings are of the kind that
    /// was asked for.
    async fn survey(
        &self,
        ask: Survey,
        consistency: Consistency,
    ) -> Result<Read<Findings>, Unavailable>;

    /// Checks a token; always linearizable.
    async fn verify(&self, name: &LockName, token: Token) -> Result<VerifyView, Unavailable>;

    /// Breaks a lock, in the name of the operator.
    async fn break_lock(
        &self,
        name: &LockName,
        reason: Arc<str>,
        force: bool,
    ) -> Result<BreakAnswer, Unavailable>;

    /// The mode.
    fn mode(&self) -> ModeView;

    /// The mode alone, for a header of every answer: must be cheap.
    fn current_mode(&self) -> SidecarMode {
        self.mode().standing.mode
    }

    /// The mode and its reason, and every change of them.
    fn standing(&self) -> watch::Receiver<Standing>;

    /// Whether no new claims are taken any more.
    fn is_draining(&self) -> bool;

    /// Takes no new claims from now on, tells those that wait, and stops once nothing is held here or
    /// the bound on draining has passed. Repeats tell how far it is.
    fn drain(&self) -> DrainView;

    /// More than the mode, for operators.
    fn status(&self) -> StatusView;

    /// Which locks the claims of this pod waited for most.
    fn contention(&self, window: Window, most: usize) -> ContentionView;

    /// What is measured here.
    fn instruments(&self) -> &Instruments;
}
