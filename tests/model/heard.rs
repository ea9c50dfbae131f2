//! What the real table said and told, made comparable with the slow model.
//! In: its reply and effects. Out: the same without revisions and free choices, and its moves in order.
//! Never: a judgement; that is the model's.

use std::sync::Arc;

use sidelock::table::command::{
    CycleEdge, Effect, EndCause, Grant, OperateReply, OperationReply, Party, Refusal, Reply,
};
use sidelock::table::id::{ClaimId, ClaimRef, DelayNumber, LockName, Revision, SessionId, Token};
use sidelock::table::state::{HistoryEvent, HistoryRecord};

use super::slow::Claim;

/// An effect, without revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Timer(SessionId, u64, u32),
    SessionEnded(SessionId, EndCause),
    Granted(Grant),
    ClaimEnded(ClaimRef, EndCause),
    BreakAsked(ClaimRef),
    Delay(LockName, DelayNumber, u32),
    /// The edge that closes a cycle of so many classes.
    Inverted((String, String), usize),
}

/// A history record, by what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Past {
    Queued(ClaimRef),
    Granted(ClaimRef, Vec<u64>),
    Ended(ClaimRef, Vec<u64>, EndCause),
    Left(ClaimRef, EndCause),
    Deadlocked(ClaimRef),
    BreakAsked(ClaimRef),
}

/// A choice of the table among moves that may all be legal.
#[derive(Clone, Debug)]
pub enum Move {
    Grant(ClaimRef),
    Abort(ClaimRef, Vec<CycleEdge>),
}

/// All that one command brought about.
#[derive(Debug)]
pub struct Heard {
    pub raw: Reply,
    pub told: Vec<Told>,
    pub moves: Vec<Move>,
    pub changed: Vec<LockName>,
    pub revisions: Vec<Revision>,
}

impl Heard {
    pub fn new(raw: Reply, effects: Vec<Effect>) -> Self {
        let mut heard = Self {
            raw,
            told: Vec::new(),
            moves: Vec::new(),
            changed: Vec::new(),
            revisions: Vec::new(),
        };
        for effect in effects {
            heard.hear(effect);
        }
        heard
    }

    fn hear(&mut self, effect: Effect) {
        self.told.push(match effect {
            Effect::SessionTimer {
                session,
                number,
                ttl_ms,
            } => Told::Timer(session, number.0, ttl_ms),
            Effect::SessionEnded { session, cause } => Told::SessionEnded(session, cause),
            Effect::Granted(grant) => {
                self.revisions.push(grant.revision);
                self.moves.push(Move::Grant(grant.claim));
                Told::Granted(Grant {
                    revision: Revision(0),
                    ..grant
                })
            }
            Effect::ClaimEnded {
                claim,
                revision,
                cause,
                cycle,
            } => {
                self.revisions.push(revision);
                if cause == EndCause::Deadlock {
                    self.moves.push(Move::Abort(claim, cycle));
                } else {
                    assert!(cycle.is_empty(), "a cycle without a deadlock: {cycle:?}");
                }
                Told::ClaimEnded(claim, cause)
            }
            Effect::Delegated(_)
            | Effect::Recalled { .. }
            | Effect::Wanted { .. }
            | Effect::Refused { .. } => {
                unreachable!("these schedules delegate nothing")
            }
            Effect::BreakAsked { claim, revision } => {
                self.revisions.push(revision);
                Told::BreakAsked(claim)
            }
            Effect::DelayTimer {
                lock,
                delay,
                delay_ms,
            } => Told::Delay(lock, delay, delay_ms),
            Effect::OrderInverted(inversion) => {
                let classes = inversion.classes;
                let edge = (classes[0].to_string(), classes[1].to_string());
                Told::Inverted(edge, classes.len())
            }
            Effect::LockChanged { lock, revision } => {
                self.revisions.push(revision);
                self.changed.push(lock);
                return;
            }
        });
    }

    pub fn fresh_session(&self) -> SessionId {
        match &self.raw {
            Reply::SessionOpened { session, .. } => *session,
            other => panic!("an open was answered by {other:?}"),
        }
    }

    pub fn applied(&self) -> Option<OperationReply> {
        match &self.raw {
            Reply::Operated(OperateReply::Applied(said)) => Some(said.clone()),
            _ => None,
        }
    }

    pub fn raw_refusal(&self) -> Option<&Refusal> {
        match &self.raw {
            Reply::Operated(OperateReply::Applied(OperationReply::Refused(refusal))) => {
                Some(refusal)
            }
            _ => None,
        }
    }

    pub fn refusal(&self) -> Option<Refusal> {
        self.raw_refusal().cloned().map(plain_refusal)
    }
}

/// A reply without revisions, texts for people, cycles, and which of several holders is shown.
pub fn plain(reply: Reply) -> Reply {
    let Reply::Operated(OperateReply::Applied(said)) = reply else {
        return reply;
    };
    let zero = Revision(0);
    Reply::Operated(OperateReply::Applied(match said {
        OperationReply::Granted(grant) => OperationReply::Granted(Grant {
            revision: zero,
            ..grant
        }),
        OperationReply::Queued { ahead, .. } => OperationReply::Queued {
            revision: zero,
            ahead,
            behind: None,
        },
        OperationReply::Ended { was, .. } => OperationReply::Ended {
            revision: zero,
            was,
        },
        OperationReply::Refused(refusal) => OperationReply::Refused(plain_refusal(refusal)),
        said @ (OperationReply::ValueSet(_)
        | OperationReply::Closed
        | OperationReply::Delegated(_)
        | OperationReply::Returned { .. }
        | OperationReply::Refilled(_)
        | OperationReply::Noted) => said,
    }))
}

fn plain_refusal(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Deadlock(_) => Refusal::Deadlock(Vec::new()),
        Refusal::Invalid(_) => Refusal::Invalid("".into()),
        refusal @ (Refusal::Held { .. }
        | Refusal::LockDelay { .. }
        | Refusal::SemaphoreLimit { .. }
        | Refusal::QueueFull { .. }
        | Refusal::Denied { .. }) => refusal,
    }
}

pub fn past(record: &HistoryRecord) -> Past {
    let numbers = |tokens: &[Token]| tokens.iter().map(|token| token.get()).collect();
    let name = record.claim;
    match &record.event {
        HistoryEvent::Queued => Past::Queued(name),
        HistoryEvent::Granted { tokens } => Past::Granted(name, numbers(tokens)),
        HistoryEvent::Ended { tokens, cause, .. } => Past::Ended(name, numbers(tokens), *cause),
        HistoryEvent::Left { cause, .. } => Past::Left(name, *cause),
        HistoryEvent::Deadlocked { .. } => Past::Deadlocked(name),
        HistoryEvent::BreakAsked { .. } => Past::BreakAsked(name),
    }
}

pub fn grant(claim: ClaimRef, tokens: &[u64]) -> Grant {
    let tokens = tokens
        .iter()
        .map(|token| Token::new(*token).expect("small tokens"))
        .collect();
    Grant {
        claim,
        revision: Revision(0),
        tokens,
    }
}

/// The app's id of a claim in these schedules: from its name, so that the model need not keep it.
pub fn claim_id(name: ClaimRef) -> ClaimId {
    ClaimId::parse(&format!("{}-{}", name.session, name.seq)).expect("digits and a dash")
}

pub fn identity() -> Arc<str> {
    "pod".into()
}

pub fn party(claim: &Claim) -> Party {
    Party {
        claim: claim.name,
        claim_id: claim_id(claim.name),
        owner: claim.owner.clone(),
        identity: identity(),
        trace_id: "".into(),
    }
}
