//! PURE: one claim of this sidecar, from the first request to being forgotten, and its legal moves.
//! In: moves decided by the desk. Out: what is due next. Never: a clock, the session, another claim.

use std::sync::Arc;
use std::time::Duration;

use super::handle::{ClaimAsk, ClaimEventKind, ClaimState, Obstacle, Reason, Trace};
use super::spot::SpotId;
use super::timers::TimerId;
use crate::table::command::Party;
use crate::table::id::{ClaimId, OwnerId, Revision, Seq, Token};
use crate::world::clock::Instant;

/// So many past events of a claim can be told to a stream that resumes; older ones it must read anew.
pub const EVENTS_KEPT: usize = 16;

/// One attempt under a claim id; never reused, so a stale timer or reply finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u64);

/// One call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// A call that waits for a claim.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Whom to answer.
    pub id: CallerId,
    /// End of its wait, once the core has said that the claim waits.
    pub until: Instant,
    /// End of its patience with a core that says nothing.
    pub silent_until: Instant,
    /// Wants "queued" for an answer.
    pub queue: bool,
    /// Would rather wait than be refused.
    pub waits: bool,
}

/// A claim. Fields that all stages share; what only one stage has is in [`Stage`].
#[derive(Debug)]
pub struct Hold {
    /// The app's id.
    pub id: ClaimId,
    /// What was asked for, by which a repeated PUT is recognised.
    pub ask: Box<ClaimAsk>,
    /// The app's lease now; a renewal may change it.
    pub ttl: Duration,
    /// Waits without a connection.
    pub queue: bool,
    /// When it was asked for.
    pub asked: Instant,
    /// How long it waited, once it does not wait any more.
    pub waited: Option<Duration>,
    /// A queued claim ends here unless somebody attends to it.
    pub attend_until: Instant,
    /// Of its request.
    pub trace: Trace,
    /// What stood in its way, if it had to wait.
    pub obstacle: Option<Arc<Obstacle>>,
    /// How long its lock was free and wanted before it got it, if that was seen here.
    pub handed_over: Option<Duration>,
    /// The lock that it waits for or uses at this sidecar's desk, where the core does not know it by name.
    pub spot: Option<SpotId>,
    /// It was granted without the core.
    pub local: bool,
    /// The delegation under which it was granted.
    pub under: Option<Seq>,
    /// The return of a delegation that its release has set off.
    pub returned: Option<Seq>,
    /// Its name in the core, from being sent until the core has forgotten it.
    pub seq: Option<Seq>,
    /// News of the core at or before this are old.
    pub news: Revision,
    /// A new stream did not list it although the core has seen its request: its reply is history.
    pub absent: bool,
    /// The core was asked to queue it.
    pub asked_to_wait: bool,
    /// To publish once granted.
    pub value: Option<Arc<str>>,
    /// Its changes.
    pub journal: Journal,
    /// Calls that wait for it.
    pub callers: Vec<Caller>,
    /// Calls that were answered with the grant and have not taken the answer yet.
    pub telling: u32,
    /// Somebody has taken the answer.
    pub told: bool,
    /// Streams that keep it alive.
    pub bound: u32,
    /// It was written down for a later process.
    pub recorded: bool,
    /// Its one timer.
    pub timer: Option<TimerId>,
    /// Where it stands.
    pub stage: Stage,
}

/// Where a claim stands; each stage has only its own fields.
#[derive(Debug)]
pub enum Stage {
    /// The core has not answered, or not even been asked.
    Asking,
    /// In the core's queues.
    Waiting {
        /// How many went before it when it was queued.
        ahead: u32,
        /// One of those it waits for, as far as is known.
        behind: Option<Box<Party>>,
    },
    /// Granted while the session was past its deadline: nobody is told until it is safe.
    Withheld {
        /// One for each lock.
        tokens: Vec<Token>,
    },
    /// Granted and told.
    Held {
        /// One for each lock.
        tokens: Vec<Token>,
        /// When it was told.
        since: Instant,
        /// End of the app's lease.
        until: Instant,
    },
    /// Over; remembered for a while.
    Ended(Ended),
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The final state.
    pub state: ClaimState,
    /// Why, if the app did not ask for it.
    pub reason: Option<Reason>,
    /// What it held.
    pub tokens: Vec<Token>,
    /// The id cannot be claimed again.
    pub used_up: bool,
    /// A release that waits for `min_hold`.
    pub release_at: Option<Instant>,
    /// When this may be forgotten.
    pub forget_at: Instant,
}

/// The changes of one claim, numbered from 1; the newest few by kind.
#[derive(Debug, Default)]
pub struct Journal {
    revision: u64,
    kinds: Vec<ClaimEventKind>,
}

impl Journal {
    /// So many changes, none of which is remembered.
    pub fn after_revision(revision: u64) -> Self {
        Self {
            revision,
            kinds: Vec::new(),
        }
    }

    /// One more change.
    pub fn note(&mut self, kind: ClaimEventKind) {
        self.revision = self.revision.saturating_add(1);
        if self.kinds.len() == EVENTS_KEPT {
            self.kinds.remove(0);
        }
        self.kinds.push(kind);
    }

    /// Those that are remembered, newest first.
    pub fn newest(&self) -> impl Iterator<Item = ClaimEventKind> + '_ {
        self.kinds.iter().rev().copied()
    }

    /// The number of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Changes after `after`, oldest first; `None` if some of them are not remembered (or `after` is
    /// not a number this claim ever had).
    pub fn after(&self, after: u64) -> Option<impl Iterator<Item = (u64, ClaimEventKind)> + '_> {
        let first = self.revision + 1 - self.kinds.len() as u64;
        if after > self.revision || after + 1 < first {
            return None;
        }
        let skip = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let numbered = self.kinds.iter().enumerate().skip(skip);
        Some(numbered.map(move |(i, kind)| (first + i as u64, *kind)))
    }
}

impl Hold {
    /// A claim just asked for.
    pub fn new(id: ClaimId, ask: ClaimAsk, trace: Trace, now: Instant) -> Self {
        let mut journal = Journal::default();
        journal.note(ClaimEventKind::Queued);
        Self {
            id,
            ttl: ask.ttl,
            queue: ask.queue,
            asked: now,
            waited: None,
            attend_until: now + ask.ttl,
            trace,
            obstacle: None,
            handed_over: None,
            spot: None,
            local: false,
            under: None,
            returned: None,
            seq: None,
            news: Revision(0),
            absent: false,
            asked_to_wait: false,
            value: None,
            journal,
            callers: Vec::new(),
            telling: 0,
            told: false,
            bound: 0,
            recorded: false,
            timer: None,
            stage: Stage::Asking,
            ask: Box::new(ask),
        }
    }

    /// Its party for deadlocks.
    pub fn owner(&self) -> OwnerId {
        match &self.ask.owner {
            Some(owner) => owner.clone(),
            None => {
                OwnerId::parse(self.id.as_str()).expect("owners share the grammar of claim ids")
            }
        }
    }

    /// Whether a repeated request means this claim. How long to wait is not part of what is claimed.
    pub fn is_same(&self, other: &ClaimAsk) -> bool {
        let ask = &self.ask;
        ask.locks == other.locks
            && ask.ttl == other.ttl
            && ask.owner == other.owner
            && ask.metadata == other.metadata
            && ask.value == other.value
            && ask.priority == other.priority
            && ask.min_hold == other.min_hold
    }

    /// Somebody cares for it: a queued claim stays.
    pub fn attend(&mut self, now: Instant) {
        self.attend_until = now + self.ttl;
    }

    /// When it must be looked at next.
    pub fn due(&self) -> Option<Instant> {
        match &self.stage {
            // A grant that cannot be told yet is, to its callers, a core that says nothing.
            Stage::Asking | Stage::Withheld { .. } => {
                let silent = self.callers.iter().map(|caller| caller.silent_until).min();
                min(silent, self.queue_due())
            }
            Stage::Waiting { .. } => {
                let until = self.callers.iter().map(|caller| caller.until).min();
                min(until, self.queue_due())
            }
            Stage::Held { until, .. } => (self.bound == 0).then_some(*until),
            Stage::Ended(ended) => min(ended.release_at, Some(ended.forget_at)),
        }
    }

    /// The end of a queued claim's wait, if it has one.
    pub fn wait_until(&self) -> Option<Instant> {
        (self.queue && !self.ask.wait.is_zero()).then(|| self.asked + self.ask.wait)
    }

    /// Whether somebody would rather have it wait than refused.
    pub fn would_wait(&self) -> bool {
        self.queue || self.callers.iter().any(|caller| caller.waits)
    }

    /// Whether it ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    fn queue_due(&self) -> Option<Instant> {
        self.queue
            .then(|| min(self.wait_until(), Some(self.attend_until)))
            .flatten()
    }
}

/// The earlier of two instants that may not be.
pub fn min(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}
