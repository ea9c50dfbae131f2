//! What the core answers to a session's renewals and operations.
//! In: replies of the table. Out: parts of a `CoreFrame`, and the same way back.
//! Never: a token or revision that the table did not state.

use super::delegation;
use super::error::{
    ConvertError, Converted, Problem, all, claim_id, each, fault, lock_name, owner_id, present,
    raw_tokens, tokens,
};
use crate::table::command::{
    CycleEdge, Grant, OperateReply, OperationReply, Party, Refusal, RenewalReply, Was,
};
use crate::table::id::{ClaimRef, RenewalNumber, Revision, Seq, SessionId};
use crate::wire::v1;

/// What a node answers to a renewal or an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The table decided.
    Decided(T),
    /// Nothing was done, or whether it was is not known: the node does not lead (any more).
    NotLeader,
}

/// The answer to a renewal that was applied.
pub fn renewal_reply(
    session: SessionId,
    number: RenewalNumber,
    reply: &RenewalReply,
) -> v1::RenewalReply {
    use v1::renewal_reply::Outcome as Wire;
    renewal(
        session,
        number,
        match reply {
            RenewalReply::Renewed { ttl_ms, .. } => Wire::RenewedTtlMs(*ttl_ms),
            RenewalReply::UnknownSession => Wire::UnknownSession(true),
            RenewalReply::Superseded => Wire::Superseded(true),
        },
    )
}

/// The answer to a renewal by a node that does not lead.
pub fn renewal_not_leader(session: SessionId, number: RenewalNumber) -> v1::RenewalReply {
    renewal(session, number, v1::renewal_reply::Outcome::NotLeader(true))
}

fn renewal(
    session: SessionId,
    number: RenewalNumber,
    outcome: v1::renewal_reply::Outcome,
) -> v1::RenewalReply {
    v1::RenewalReply {
        session: session.0,
        number: number.0,
        outcome: Some(outcome),
    }
}

/// Which renewal was answered, and how.
pub fn renewal_outcome(
    reply: v1::RenewalReply,
) -> Result<(SessionId, RenewalNumber, Outcome<RenewalReply>), ConvertError> {
    use v1::renewal_reply::Outcome as Wire;
    let number = RenewalNumber(reply.number);
    let outcome = match present("RenewalReply.outcome", reply.outcome)? {
        Wire::RenewedTtlMs(ttl_ms) => Outcome::Decided(RenewalReply::Renewed { number, ttl_ms }),
        Wire::UnknownSession(_) => Outcome::Decided(RenewalReply::UnknownSession),
        Wire::Superseded(_) => Outcome::Decided(RenewalReply::Superseded),
        Wire::NotLeader(_) => Outcome::NotLeader,
    };
    Ok((SessionId(reply.session), number, outcome))
}

/// The answer to an operation that reached the table.
pub fn operation_reply(seq: Seq, reply: &OperateReply) -> v1::OperationReply {
    use v1::operation_reply::Outcome as Wire;
    let outcome = match reply {
        OperateReply::Applied(reply) => return applied_reply(seq, reply),
        OperateReply::Forgotten => Wire::Forgotten(v1::Forgotten {}),
        OperateReply::Gap { expected } => Wire::GapExpected(expected.0),
        OperateReply::UnknownSession => Wire::UnknownSession(true),
        OperateReply::Superseded => Wire::Superseded(true),
    };
    v1::OperationReply {
        seq: seq.0,
        outcome: Some(outcome),
    }
}

/// The reply to an operation that was applied: sent, and kept on disk.
pub fn applied_reply(seq: Seq, reply: &OperationReply) -> v1::OperationReply {
    use v1::operation_reply::Outcome as Wire;
    let outcome = match reply {
        OperationReply::Granted(grant) => Wire::Granted(grant.into()),
        OperationReply::Queued {
            revision,
            ahead,
            behind,
        } => Wire::Queued(v1::Queued {
            revision: revision.0,
            ahead: *ahead,
            behind: behind.as_ref().map(Into::into),
        }),
        OperationReply::Refused(refusal) => Wire::Refused(refusal.into()),
        OperationReply::Ended { revision, was } => Wire::Ended(v1::Ended {
            revision: revision.0,
            was: match was {
                Was::Held => v1::Was::Held,
                Was::Waiting => v1::Was::Waiting,
                Was::Gone => v1::Was::Gone,
            }
            .into(),
        }),
        OperationReply::ValueSet(set) => Wire::ValueSet(*set),
        OperationReply::Closed => Wire::Closed(v1::Closed {}),
        of_delegation @ (OperationReply::Delegated(_)
        | OperationReply::Returned { .. }
        | OperationReply::Refilled(_)
        | OperationReply::Noted) => {
            return v1::OperationReply {
                seq: seq.0,
                outcome: delegation::reply(of_delegation),
            };
        }
    };
    v1::OperationReply {
        seq: seq.0,
        outcome: Some(outcome),
    }
}

/// The answer to an operation by a node that does not lead.
pub fn operation_not_leader(seq: Seq) -> v1::OperationReply {
    v1::OperationReply {
        seq: seq.0,
        outcome: Some(v1::operation_reply::Outcome::NotLeader(true)),
    }
}

/// Which operation of `session` was answered, and how.
pub fn operate_reply(
    session: SessionId,
    reply: v1::OperationReply,
) -> Result<(Seq, Outcome<OperateReply>), ConvertError> {
    use v1::operation_reply::Outcome as Wire;
    let applied = match present("OperationReply.outcome", reply.outcome)? {
        Wire::Granted(granted) => OperationReply::Granted(grant(session, granted)?),
        Wire::Queued(queued) => OperationReply::Queued {
            revision: Revision(queued.revision),
            ahead: queued.ahead,
            behind: queued.behind.map(Party::try_from).transpose()?,
        },
        Wire::Refused(refusal) => OperationReply::Refused(refusal.try_into()?),
        Wire::Ended(ended) => OperationReply::Ended {
            revision: Revision(ended.revision),
            was: was(ended.was)?,
        },
        Wire::ValueSet(set) => OperationReply::ValueSet(set),
        Wire::Closed(v1::Closed {}) => OperationReply::Closed,
        Wire::Delegated(delegated) => {
            OperationReply::Delegated(delegation::delegated(session, delegated)?)
        }
        Wire::Returned(returned) => returned.into(),
        Wire::Refilled(refilled) => refilled.try_into()?,
        Wire::Noted(v1::Noted {}) => OperationReply::Noted,
        Wire::Forgotten(v1::Forgotten {}) => return decided(reply.seq, OperateReply::Forgotten),
        Wire::GapExpected(expected) => {
            let expected = Seq(expected);
            return decided(reply.seq, OperateReply::Gap { expected });
        }
        Wire::UnknownSession(_) => return decided(reply.seq, OperateReply::UnknownSession),
        Wire::Superseded(_) => return decided(reply.seq, OperateReply::Superseded),
        Wire::NotLeader(_) => return Ok((Seq(reply.seq), Outcome::NotLeader)),
    };
    decided(reply.seq, OperateReply::Applied(applied))
}

fn decided(seq: u64, reply: OperateReply) -> Converted<(Seq, Outcome<OperateReply>)> {
    Ok((Seq(seq), Outcome::Decided(reply)))
}

fn was(raw: i32) -> Converted<Was> {
    Ok(match v1::Was::try_from(raw) {
        Ok(v1::Was::Held) => Was::Held,
        Ok(v1::Was::Waiting) => Was::Waiting,
        Ok(v1::Was::Gone) => Was::Gone,
        Ok(v1::Was::Unspecified) | Err(_) => return fault("Ended.was", Problem::Missing),
    })
}

impl From<&Grant> for v1::Granted {
    fn from(grant: &Grant) -> Self {
        Self {
            claim: grant.claim.seq.0,
            revision: grant.revision.0,
            tokens: raw_tokens(&grant.tokens),
        }
    }
}

pub(super) fn grant(session: SessionId, granted: v1::Granted) -> Converted<Grant> {
    Ok(Grant {
        claim: claim_ref(session, granted.claim),
        revision: Revision(granted.revision),
        tokens: tokens("Granted.tokens", granted.tokens)?,
    })
}

pub(super) fn claim_ref(session: SessionId, seq: u64) -> ClaimRef {
    ClaimRef {
        session,
        seq: Seq(seq),
    }
}

impl From<&Refusal> for v1::Refusal {
    fn from(refusal: &Refusal) -> Self {
        use v1::refusal::Refusal as Wire;
        let refusal = match refusal {
            Refusal::Held {
                lock,
                holder,
                holders,
                waiters,
            } => Wire::Held(v1::Held {
                lock: lock.to_string(),
                holder: Some(holder.into()),
                holders: *holders,
                waiters: *waiters,
            }),
            Refusal::LockDelay { lock, delay_ms } => Wire::LockDelay(v1::LockDelay {
                lock: lock.to_string(),
                delay_ms: *delay_ms,
            }),
            Refusal::Deadlock(edges) => Wire::Deadlock(v1::Deadlock { edges: each(edges) }),
            Refusal::SemaphoreLimit { lock, limit } => Wire::SemaphoreLimit(v1::SemaphoreLimit {
                lock: lock.to_string(),
                limit: *limit,
            }),
            Refusal::QueueFull {
                lock,
                waiters_max,
                policy,
            } => Wire::QueueFull(v1::QueueFull {
                lock: lock.to_string(),
                waiters_max: *waiters_max,
                policy: policy.to_string(),
            }),
            Refusal::Invalid(text) => Wire::Invalid(text.to_string()),
            Refusal::Denied { lock } => Wire::Denied(v1::Denied {
                lock: lock.to_string(),
            }),
        };
        Self {
            refusal: Some(refusal),
        }
    }
}

impl TryFrom<v1::Refusal> for Refusal {
    type Error = ConvertError;

    fn try_from(refusal: v1::Refusal) -> Converted<Self> {
        use v1::refusal::Refusal as Wire;
        Ok(match present("Refusal.refusal", refusal.refusal)? {
            Wire::Held(held) => Self::Held {
                lock: lock_name("Held.lock", &held.lock)?,
                holder: present("Held.holder", held.holder)?.try_into()?,
                holders: held.holders,
                waiters: held.waiters,
            },
            Wire::LockDelay(closed) => Self::LockDelay {
                lock: lock_name("LockDelay.lock", &closed.lock)?,
                delay_ms: closed.delay_ms,
            },
            Wire::Deadlock(deadlock) => Self::Deadlock(all(deadlock.edges)?),
            Wire::SemaphoreLimit(other) => Self::SemaphoreLimit {
                lock: lock_name("SemaphoreLimit.lock", &other.lock)?,
                limit: other.limit,
            },
            Wire::QueueFull(full) => Self::QueueFull {
                lock: lock_name("QueueFull.lock", &full.lock)?,
                waiters_max: full.waiters_max,
                policy: full.policy.into(),
            },
            Wire::Invalid(text) => Self::Invalid(text.into()),
            Wire::Denied(denied) => Self::Denied {
                lock: lock_name("Denied.lock", &denied.lock)?,
            },
        })
    }
}

impl From<&Party> for v1::Party {
    fn from(party: &Party) -> Self {
        Self {
            session: party.claim.session.0,
            seq: party.claim.seq.0,
            claim_id: party.claim_id.to_string(),
            owner: party.owner.to_string(),
            identity: party.identity.to_string(),
            trace_id: party.trace_id.to_string(),
        }
    }
}

impl TryFrom<v1::Party> for Party {
    type Error = ConvertError;

    fn try_from(party: v1::Party) -> Converted<Self> {
        Ok(Self {
            claim: claim_ref(SessionId(party.session), party.seq),
            claim_id: claim_id("Party.claim_id", &party.claim_id)?,
            owner: owner_id("Party.owner", &party.owner)?,
            identity: party.identity.into(),
            trace_id: party.trace_id.into(),
        })
    }
}

impl From<&CycleEdge> for v1::CycleEdge {
    fn from(edge: &CycleEdge) -> Self {
        Self {
            lock: edge.lock.to_string(),
            waiter: Some((&edge.waiter).into()),
            blocker: Some((&edge.blocker).into()),
            held: edge.held,
        }
    }
}

impl TryFrom<v1::CycleEdge> for CycleEdge {
    type Error = ConvertError;

    fn try_from(edge: v1::CycleEdge) -> Converted<Self> {
        Ok(Self {
            lock: lock_name("CycleEdge.lock", &edge.lock)?,
            waiter: present("CycleEdge.waiter", edge.waiter)?.try_into()?,
            blocker: present("CycleEdge.blocker", edge.blocker)?.try_into()?,
            held: edge.held,
        })
    }
}
