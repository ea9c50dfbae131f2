//! What the desk and the link hand each other: frames as plain data, before and after the wire.
//! In: nothing. Out: types. Never: protobuf (that is `codec.rs`).

use std::sync::Arc;
use std::time::Duration;

use super::handle::{
    BreakAnswer, Findings, HistoryView, LockStateFilter, LockView, Page, Survey, VerifyView,
};
use crate::table::attachment::Attachment;
use crate::table::command::{
    CycleEdge, EndCause, OpenSession, Operate, OperateReply, Party, Refusal, Renewal,
};
use crate::table::id::{LockName, RenewalNumber, Revision, Seq, SessionId, Token};
use crate::table::token::TokenBlock;

/// All that has gathered for one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameOut {
    /// Opens the session, or attaches the stream to it.
    pub open: Option<OpenSession>,
    /// At most one for each session.
    pub renewals: Vec<Renewal>,
    /// In the order of their seq.
    pub operations: Vec<Operate>,
    /// The `traceparent` of those that are traced, the first time that they leave.
    pub traces: Vec<(Seq, Arc<str>)>,
    /// Reads, in no order.
    pub queries: Vec<QueryOut>,
}

impl FrameOut {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.open.is_none()
            && self.renewals.is_empty()
            && self.operations.is_empty()
            && self.queries.is_empty()
    }
}

/// A read on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryOut {
    /// By which its answer is found.
    pub id: u64,
    /// Else from the node's applied state.
    pub linearizable: bool,
    /// What to read.
    pub ask: ReadAsk,
}

/// What can be read (or broken) by name. Names carry the sidecar's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadAsk {
    /// One lock, perhaps after it changed.
    Lock {
        /// Which.
        name: LockName,
        /// Answer once its revision exceeds this.
        after: Option<Revision>,
        /// Or after this.
        wait: Duration,
    },
    /// A page of locks in use.
    Locks {
        /// Start of their names.
        prefix: String,
        /// In which state.
        state: Option<LockStateFilter>,
        /// At most so many.
        limit: u32,
        /// Names greater than this; empty from the start.
        after: String,
    },
    /// A page of a lock's history, newest first.
    History {
        /// Which.
        name: LockName,
        /// At most so many.
        limit: u32,
        /// Revisions less than this; 0 for the newest.
        before: u64,
    },
    /// Is this token current?
    Verify {
        /// Which lock.
        name: LockName,
        /// Which token.
        token: Token,
    },
    /// An operator takes a lock away.
    Break {
        /// Which lock.
        name: LockName,
        /// Why.
        reason: Arc<str>,
        /// At once.
        force: bool,
    },
    /// Why a lock is as it is, or what there is to see beyond single locks.
    Survey(Survey),
}

impl ReadAsk {
    /// Whether it waits for a change.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Lock { after: Some(_), .. })
    }

    /// The same, content with what is there.
    pub fn without_wait(&self) -> Self {
        let mut ask = self.clone();
        if let Self::Lock { after, .. } = &mut ask {
            *after = None;
        }
        ask
    }
}

/// All that a node had gathered for this sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameIn {
    /// Whether this node leads.
    pub leader: Option<LeaderNews>,
    /// Answer to [`FrameOut::open`].
    pub attached: Option<Attachment>,
    /// Answers to renewals.
    pub renewals: Vec<RenewalNews>,
    /// Answers to operations.
    pub replies: Vec<OperationNews>,
    /// What happened to claims and the session.
    pub events: Vec<News>,
    /// Answers to reads.
    pub queries: Vec<QueryNews>,
}

/// What a node says of its shard's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderNews {
    /// In this term.
    pub term: u64,
    /// This node leads and has committed in its term.
    pub serving: bool,
    /// If not: for so long at least it has heard of no quorum.
    pub silent: Duration,
}

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalNews {
    /// Whose.
    pub session: SessionId,
    /// Which.
    pub number: RenewalNumber,
    /// What.
    pub outcome: RenewalOutcome,
}

/// See [`RenewalNews`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalOutcome {
    /// Valid for this long from its send.
    Renewed(Duration),
    /// The core does not know the session.
    UnknownSession,
    /// A later one was applied before.
    Superseded,
    /// Nothing is known: send a new one.
    NotLeader,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationNews {
    /// Which.
    pub seq: Seq,
    /// What; `None`: nothing is known, resend it.
    pub reply: Option<OperateReply>,
}

/// What the core tells unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A waiting claim holds now.
    Granted {
        /// Which.
        claim: Seq,
        /// Since when.
        revision: Revision,
        /// One for each lock.
        tokens: Vec<Token>,
    },
    /// A claim ended other than by our release.
    ClaimEnded {
        /// Which.
        claim: Seq,
        /// Since when.
        revision: Revision,
        /// Why.
        cause: EndCause,
        /// Of a deadlock.
        cycle: Vec<CycleEdge>,
    },
    /// An operator asks for a claim's end.
    BreakAsked {
        /// Which.
        claim: Seq,
        /// Since when.
        revision: Revision,
    },
    /// A waiting delegation was granted.
    Delegated {
        /// Which.
        claim: Seq,
        /// Since when.
        revision: Revision,
        /// Of the claim in whose name it was asked for.
        tokens: Vec<Token>,
        /// For further claims.
        block: TokenBlock,
    },
    /// Others wait for a delegated lock.
    Recalled {
        /// Which.
        claim: Seq,
        /// Since when.
        revision: Revision,
        /// They want to hear whether it is in use.
        answer: bool,
        /// The first who waits for it.
        wanted_by: Option<Party>,
    },
    /// Somebody else reads a delegated lock.
    Wanted {
        /// Which.
        claim: Seq,
    },
    /// A try that waited for the answer to a recall.
    Refused {
        /// Which.
        claim: Seq,
        /// Since when.
        revision: Revision,
        /// Why.
        refusal: Refusal,
    },
    /// The session is gone.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Why.
        cause: EndCause,
    },
}

/// The answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryNews {
    /// To which.
    pub id: u64,
    /// Whether it is linearizable.
    pub linearizable: bool,
    /// Bound of its lag otherwise.
    pub age: Duration,
    /// What was read.
    pub reply: Result<ReadReply, ReadRefusal>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadReply {
    /// To [`ReadAsk::Lock`].
    Lock(LockView),
    /// To [`ReadAsk::Locks`].
    Locks(Page<LockView>),
    /// To [`ReadAsk::History`].
    History(Page<HistoryView>),
    /// To [`ReadAsk::Verify`].
    Verified(VerifyView),
    /// To [`ReadAsk::Break`].
    Broken(BreakAnswer),
    /// To [`ReadAsk::Survey`].
    Found(Findings),
}

/// Why a node did not answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRefusal {
    /// Ask the leader.
    NotLeader,
    /// It leads and cannot prove it.
    NoQuorum,
    /// Not allowed to this sidecar.
    Forbidden,
    /// The sidecar that has the lock does not answer.
    Delegate,
    /// The node does not understand the question or its answer was malformed.
    Invalid,
}
