//! All that can happen to the table, as data: commands in, replies and effects out.
//! In: committed log entries, converted. Out: what the sidecars and the timers are told.
//! Never: a clock reading, an absolute time or a random number; durations are what a sidecar measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::id::{
    ClaimId, ClaimRef, DelayNumber, Generation, LockName, OwnerId, RenewalNumber, Revision, Seq,
    SessionId, SessionKey, Token,
};
use super::order::Inversion;
use super::token::TokenBlock;

/// One change of one shard's table. An entry of the log holds many, applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Opens a session, or finds the one already opened with this key.
    OpenSession(OpenSession),
    /// Renews many sessions at once. Each replica starts its own timer when it applies this.
    Renew(Vec<Renewal>),
    /// Ends a session if `number` is still its last renewal (compare and expire).
    Expire {
        /// Whose timer ran out.
        session: SessionId,
        /// The renewal whose timer it was.
        number: RenewalNumber,
    },
    /// One operation of a session, applied once and strictly in order.
    Operate(Operate),
    /// Ends a lock-delay if it is still that run of it (compare and reopen).
    Reopen {
        /// The closed lock.
        lock: LockName,
        /// The run of the delay whose timer ran out.
        delay: DelayNumber,
    },
    /// An operator takes a lock away from its holders.
    Break(Break),
    /// Sets or, with `None`, removes the policy of a name prefix.
    SetPolicy {
        /// Longest matching prefix of a lock's name wins; the empty prefix matches all.
        prefix: Arc<str>,
        /// The policy, or none to remove it.
        policy: Option<Policy>,
    },
    /// Drops history records up to and including this revision (kept by age).
    TrimHistory {
        /// The newest record to drop.
        up_to: Revision,
    },
}

/// Asks for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Random; the same key finds the same session, so a resend opens no second one.
    pub key: SessionKey,
    /// How long the session stays valid without renewal, in milliseconds.
    pub ttl_ms: u32,
    /// Who the sidecar is, for people: host or pod name.
    pub identity: Arc<str>,
    /// How many processes have taken this session over, this one included: 1 for the first. A greater one
    /// shuts out what an earlier process may still have under way.
    pub generation: Generation,
    /// Who the sidecar is, verified; nothing else finds its session again. `None` where nobody is asked.
    pub principal: Option<Arc<str>>,
}

/// One renewal of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The session.
    pub session: SessionId,
    /// The generation that sends it.
    pub generation: Generation,
    /// Greater than that of every earlier renewal of this session.
    pub number: RenewalNumber,
    /// The latest renewal whose answer the sidecar had when it sent this one: it acknowledges the recalls
    /// that were told until then.
    pub heard: RenewalNumber,
}

/// One operation of a session with its place in the session's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operate {
    /// The session.
    pub session: SessionId,
    /// The generation that sends it.
    pub generation: Generation,
    /// Applies only if it is one above the last applied; at or below it, gets the kept reply.
    pub seq: Seq,
    /// The sidecar has all replies up to here; the table may forget them.
    pub acked: Seq,
    /// What to do.
    pub operation: Operation,
}

/// What a sidecar may do within its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Claims one or more locks, all or nothing.
    Acquire(Acquire),
    /// Claims one lock for the session: once granted it is a delegation, under which the sidecar grants
    /// local claims, numbered from a block of so many tokens. Where none can be had, a plain claim.
    Delegate {
        /// The claim in whose name it is asked for.
        acquire: Acquire,
        /// How many tokens beyond that of the claim itself.
        block: u32,
    },
    /// Gives a delegation back. Local claims that still hold go on as plain ones, in the same entry: the
    /// first is named by the seq of this operation, each further one by the next seq, which are used up.
    Return(Return),
    /// The answer to a recall that must not wait: a local claim uses the lock now.
    InUse {
        /// The seq of the delegation.
        delegation: Seq,
        /// The claim that uses it.
        user: User,
    },
    /// Asks for another block of tokens before the last runs out.
    Refill {
        /// The seq of the delegation.
        delegation: Seq,
        /// How many.
        block: u32,
    },
    /// A claim of the session that still waits goes on in the name of another local claim.
    Rename {
        /// The seq of the waiting claim.
        claim: Seq,
        /// In whose name.
        user: User,
        /// Its class.
        priority: u8,
    },
    /// Ends a granted claim; if it still waits, the wait (a cancel that crossed its grant releases it).
    Release(Release),
    /// Publishes what an elected leader wants others to see.
    SetValue {
        /// The seq of the acquire.
        claim: Seq,
        /// At most 4 KiB; checked at the edge.
        value: Arc<str>,
    },
    /// Ends the session itself; what it still holds dies with it.
    Close,
    /// In place of a claim on a lock that the sidecar has no right to: it is refused in its turn.
    Denied(LockName),
}

impl Operation {
    /// How many seqs beyond its own it uses up.
    pub fn further_seqs(&self) -> u64 {
        match self {
            Self::Return(back) => (back.kept.len() as u64).saturating_sub(1),
            Self::Acquire(_)
            | Self::Delegate { .. }
            | Self::InUse { .. }
            | Self::Refill { .. }
            | Self::Rename { .. }
            | Self::Release(_)
            | Self::SetValue { .. }
            | Self::Close
            | Self::Denied(_) => 0,
        }
    }
}

/// A request for one or more locks of the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquire {
    /// The app's id of the claim, for people and for `GET`.
    pub claim_id: ClaimId,
    /// The party for deadlocks and quotas, unique within the session.
    pub owner: OwnerId,
    /// At least one; names distinct (else [`Refusal::Invalid`]).
    pub locks: Vec<Want>,
    /// Queue if it cannot be granted now; otherwise refuse.
    pub wait: bool,
    /// 0 to [`super::id::PRIORITY_MAX`]; higher goes first.
    pub priority: u8,
    /// Free text of the app, for people.
    pub metadata: BTreeMap<String, String>,
    /// What others observe once it is granted.
    pub value: Option<Arc<str>>,
    /// The W3C trace id of the request, 32 hex digits, or empty.
    pub trace_id: Arc<str>,
}

/// A local claim of a sidecar, as the core is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The app's id of the claim.
    pub claim_id: ClaimId,
    /// Its owner.
    pub owner: OwnerId,
    /// The W3C trace id of its request, or empty.
    pub trace_id: Arc<str>,
}

/// Gives a delegation back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The seq of the delegation.
    pub delegation: Seq,
    /// The newest token given under it, if any beyond that of the first claim.
    pub newest: Option<Token>,
    /// The newest token given under it to an exclusive claim.
    pub newest_exclusive: Option<Token>,
    /// How many local claims it has served.
    pub grants: u64,
    /// Local claims that still hold.
    pub kept: Vec<Kept>,
    /// Local claims that have held and ended, the newest [`super::delegation::ENDED_TOLD_MAX`] of them: for
    /// history.
    pub ended: Vec<LocalEnd>,
}

/// A local claim that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEnd {
    /// Who.
    pub user: User,
    /// How it held: exclusive or shared.
    pub mode: Mode,
    /// Its token.
    pub token: Token,
    /// Why it ended.
    pub cause: EndCause,
    /// How long the sidecar saw it wait, in elapsed milliseconds.
    pub waited_ms: u64,
    /// How long the sidecar saw it held, in elapsed milliseconds.
    pub held_ms: u64,
}

/// A local claim that goes on as a plain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Who.
    pub user: User,
    /// How it holds: exclusive or shared.
    pub mode: Mode,
    /// Its token, out of the delegation's blocks.
    pub token: Token,
    /// Its class.
    pub priority: u8,
    /// Free text of the app.
    pub metadata: BTreeMap<String, String>,
}

/// One lock of a claim and how it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Which lock.
    pub name: LockName,
    /// How.
    pub mode: Mode,
}

/// How a lock is wanted or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// Together with other readers.
    Shared,
    /// Some permits out of a limit; `1 <= permits <= limit`.
    Semaphore {
        /// How many this claim takes.
        permits: u32,
        /// How many there are; fixed by a policy or by the first live claim.
        limit: u32,
    },
}

impl Mode {
    /// As clients and logs have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Semaphore { .. } => "semaphore",
        }
    }

    /// The limit that a claim of permits states.
    pub fn limit(self) -> Option<u32> {
        match self {
            Self::Semaphore { limit, .. } => Some(limit),
            Self::Exclusive | Self::Shared => None,
        }
    }
}

/// Ends one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The seq of the acquire that this ends; never anything later.
    pub claim: Seq,
    /// Why.
    pub cause: EndCause,
    /// How long the sidecar saw it wait, in elapsed milliseconds.
    pub waited_ms: u64,
    /// How long the sidecar saw it held, in elapsed milliseconds.
    pub held_ms: u64,
}

/// Why a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndCause {
    /// The app released it. No lock-delay.
    Released,
    /// The app gave up waiting, or closed its connection. No lock-delay.
    Cancelled,
    /// The app's own lease ran out: a death, so lock-delay applies.
    LeaseExpired,
    /// The app's bound stream closed without a release: a death.
    StreamClosed,
    /// The grant came after the wait was over; nobody was ever told of it. No lock-delay.
    GrantTooLate,
    /// The session's lease ran out: a death.
    SessionExpired,
    /// The sidecar closed its session while it held: a death.
    SessionClosed,
    /// An operator broke the lock. No lock-delay.
    Broken,
    /// It was the victim of a deadlock. It held nothing.
    Deadlock,
}

impl EndCause {
    /// Whether the holder died rather than let go, so that the lock stays closed for its delay.
    pub fn is_death(self) -> bool {
        match self {
            Self::LeaseExpired
            | Self::StreamClosed
            | Self::SessionExpired
            | Self::SessionClosed => true,
            Self::Released
            | Self::Cancelled
            | Self::GrantTooLate
            | Self::Broken
            | Self::Deadlock => false,
        }
    }
}

/// An operator's request to free a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Which lock.
    pub lock: LockName,
    /// Why, kept in history.
    pub reason: Arc<str>,
    /// Free at once, although the old holder may still act; otherwise ask its sidecar first.
    pub force: bool,
    /// Who, for history.
    pub by: Arc<str>,
}

/// What holds for the locks under a name prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// How long a lock stays closed after its holder died, in milliseconds; 0 for not at all.
    pub lock_delay_ms: u32,
    /// Fixes the limit of a semaphore; `None` leaves it to the first live claim.
    pub semaphore_limit: Option<u32>,
    /// Most claims that may wait for one lock; `None` is the built-in bound.
    pub waiters_max: Option<u32>,
}

/// What the proposer of a command is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Command::OpenSession`].
    SessionOpened {
        /// Its id from now on.
        session: SessionId,
        /// Its generation.
        generation: Generation,
        /// The TTL that the table keeps.
        ttl_ms: u32,
    },
    /// To [`Command::OpenSession`] of a process that a later one has taken over from.
    SessionTakenOver,
    /// To [`Command::OpenSession`] of somebody else than whose session it is.
    SessionOfAnother,
    /// To [`Command::Renew`], one for each renewal, in order.
    Renewed(Vec<RenewalReply>),
    /// To [`Command::Expire`]: whether that was still the last renewal.
    Expired(bool),
    /// To [`Command::Operate`].
    Operated(OperateReply),
    /// To [`Command::Reopen`]: whether it was still that run of the delay.
    Reopened(bool),
    /// To [`Command::Break`].
    Broken(BreakReply),
    /// To commands that cannot fail.
    Done,
}

/// What became of one renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalReply {
    /// The session lives `ttl_ms` from the send of this renewal.
    Renewed {
        /// As in the renewal.
        number: RenewalNumber,
        /// The TTL it grants.
        ttl_ms: u32,
    },
    /// There is no such session (any more): its claims are lost.
    UnknownSession,
    /// Another generation has attached, or a later renewal was applied before.
    Superseded,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperateReply {
    /// It was applied now, or earlier and this is the kept reply.
    Applied(OperationReply),
    /// It was applied earlier and its reply was acknowledged, so it is forgotten.
    Forgotten,
    /// An earlier operation is missing; nothing was done.
    Gap {
        /// The only seq that would apply.
        expected: Seq,
    },
    /// There is no such session (any more).
    UnknownSession,
    /// Another generation has attached.
    Superseded,
}

/// The reply to an operation that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationReply {
    /// The claim holds all its locks.
    Granted(Grant),
    /// The claim waits in each queue.
    Queued {
        /// When this became true.
        revision: Revision,
        /// How many claims go before it, at most over its locks.
        ahead: u32,
        /// One of those that it waits for.
        behind: Option<Party>,
    },
    /// The claim was not accepted and leaves no trace but history.
    Refused(Refusal),
    /// To [`Operation::Release`]: what the claim was until now.
    Ended {
        /// When this became true.
        revision: Revision,
        /// What the release ended.
        was: Was,
    },
    /// To [`Operation::SetValue`]: false if the claim does not hold.
    ValueSet(bool),
    /// To [`Operation::Close`].
    Closed,
    /// To [`Operation::Delegate`]: the claim holds, and so does the session.
    Delegated(Delegated),
    /// To [`Operation::Return`]; `kept` tells whether the claims named in it hold as plain ones now. They do
    /// not if the delegation was gone.
    Returned {
        /// When this became true.
        revision: Revision,
        /// Whether there was something to return.
        kept: bool,
    },
    /// To [`Operation::Refill`]; none if the delegation is gone or no tokens are left.
    Refilled(Option<TokenBlock>),
    /// To [`Operation::InUse`] and [`Operation::Rename`].
    Noted,
}

/// A lock that now belongs to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegated {
    /// The claim in whose name it was asked for, with its own token.
    pub grant: Grant,
    /// For local claims; empty where the lock cannot be delegated.
    pub block: TokenBlock,
}

/// What a release found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// It held until now.
    Held,
    /// It waited until now.
    Waiting,
    /// Nothing of that number was left.
    Gone,
}

/// A claim that now holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which claim.
    pub claim: ClaimRef,
    /// When this became true.
    pub revision: Revision,
    /// A token for each lock, in the order asked for.
    pub tokens: Vec<Token>,
}

/// Why a claim was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Held or queued for by others, and the claim would not wait.
    Held {
        /// The first lock, in the order asked for, that was not free.
        lock: LockName,
        /// One of its holders, or its first waiter if none holds.
        holder: Party,
        /// How many claims hold it.
        holders: u32,
        /// How many claims wait for it.
        waiters: u32,
    },
    /// Closed after its holder died, and the claim would not wait.
    LockDelay {
        /// Which lock.
        lock: LockName,
        /// The whole delay, in milliseconds; how much is left only a timer knows.
        delay_ms: u32,
    },
    /// Waiting would close, or has closed, a cycle, and this claim is its youngest.
    Deadlock(Vec<CycleEdge>),
    /// Another limit of the semaphore is in force.
    SemaphoreLimit {
        /// Which lock.
        lock: LockName,
        /// The limit in force.
        limit: u32,
    },
    /// Too many claims wait for a lock.
    QueueFull {
        /// Which lock.
        lock: LockName,
        /// The bound.
        waiters_max: u32,
        /// The prefix of the policy that set it; empty for the built-in one.
        policy: Arc<str>,
    },
    /// No lock, a lock named twice, or permits out of range.
    Invalid(Arc<str>),
    /// The sidecar has no right to it.
    Denied {
        /// Which lock.
        lock: LockName,
    },
}

/// Someone else's claim, as shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The core's name of the claim.
    pub claim: ClaimRef,
    /// The app's id of the claim.
    pub claim_id: ClaimId,
    /// Its owner.
    pub owner: OwnerId,
    /// Its sidecar.
    pub identity: Arc<str>,
    /// The W3C trace id of its request, or empty.
    pub trace_id: Arc<str>,
}

/// One edge of a deadlock: `waiter` waits for `lock`, which `blocker` holds or is before it in the queue of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CycleEdge {
    /// What is waited for.
    pub lock: LockName,
    /// Who waits.
    pub waiter: Party,
    /// Whom it waits for: the claim through which the next owner of the cycle blocks.
    pub blocker: Party,
    /// Whether the blocker holds the lock (else it waits before the waiter).
    pub held: bool,
}

/// What became of a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakReply {
    /// Nobody holds it.
    NotHeld,
    /// Free now; with `force`, the old holders may still act.
    Freed,
    /// The holders' sidecars were asked; free when they have acknowledged or died.
    Asked,
}

/// What the outside is told as a consequence, in order. Only the leader's streams and timers use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start (or restart) the timer of this session.
    SessionTimer {
        /// The session.
        session: SessionId,
        /// The renewal whose timer it is; 0 right after opening.
        number: RenewalNumber,
        /// For how long.
        ttl_ms: u32,
    },
    /// The session is gone; drop its timer, tell its stream.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// [`EndCause::SessionExpired`] or [`EndCause::SessionClosed`].
        cause: EndCause,
    },
    /// A waiting claim was granted.
    Granted(Grant),
    /// A waiting delegation was granted.
    Delegated(Delegated),
    /// Others wait for a delegated lock: it is to be given back once no local claim uses it. Told again
    /// with every renewal until it is.
    Recalled {
        /// Which delegation.
        claim: ClaimRef,
        /// When this became true.
        revision: Revision,
        /// Somebody would not wait: if a local claim uses the lock, that is to be said now.
        answer: bool,
        /// The first who waits for it; `None` if another limit of the semaphore is all there is to it.
        wanted_by: Option<Party>,
    },
    /// Somebody else reads a delegated lock: its session should make its claims known by name. (No command
    /// has this effect; the leader tells it for a reader.)
    Wanted {
        /// Which delegation.
        claim: ClaimRef,
    },
    /// A try that waited for the answer to a recall: the lock is in use.
    Refused {
        /// Which claim.
        claim: ClaimRef,
        /// When this became true.
        revision: Revision,
        /// Why.
        refusal: Refusal,
    },
    /// A claim ended other than by its own session's release.
    ClaimEnded {
        /// Which claim.
        claim: ClaimRef,
        /// When this became true.
        revision: Revision,
        /// Why: [`EndCause::Broken`] or [`EndCause::Deadlock`].
        cause: EndCause,
        /// With [`EndCause::Deadlock`], the whole cycle.
        cycle: Vec<CycleEdge>,
    },
    /// An operator wants the lock free: its sidecar should release the claim and tell the app.
    BreakAsked {
        /// Which claim.
        claim: ClaimRef,
        /// When this became true.
        revision: Revision,
    },
    /// Start the timer of a lock-delay.
    DelayTimer {
        /// The closed lock.
        lock: LockName,
        /// Which run of the delay.
        delay: DelayNumber,
        /// For how long.
        delay_ms: u32,
    },
    /// Locks of these classes are taken in contradicting orders, seen for the first time.
    OrderInverted(Inversion),
    /// Something visible of this lock changed (for watchers).
    LockChanged {
        /// Which lock.
        lock: LockName,
        /// When.
        revision: Revision,
    },
}
