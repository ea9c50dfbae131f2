//! Frames of the sidecar to protobuf and back.
//! In: what the desk has gathered, what a node has sent. Out: the same on the other side of the wire.
//! Never: a guess at what is missing; the conversions of single messages are in `wire/convert`.

use std::time::Duration;

use super::frame::{
    FrameIn, FrameOut, LeaderNews, News, OperationNews, QueryNews, QueryOut, ReadAsk, ReadRefusal,
    ReadReply, RenewalNews, RenewalOutcome,
};
use super::handle::{BreakAnswer, Findings, HistoryView, LockView, Page, VerifyView};
use crate::table::command::{BreakReply, Effect, RenewalReply};
use crate::table::id::{Revision, SessionId, ShardId};
use crate::wire::convert::{self, ConvertError, Outcome};
use crate::wire::v1;

/// Longest that a core holds a long-poll.
pub const POLL_MAX: Duration = Duration::from_secs(60);

/// A frame for the node `to` (0: not known yet).
pub fn encode(frame: &FrameOut, cluster_id: &str, shard: ShardId, to: u64) -> v1::SidecarFrame {
    let mut operations: Vec<v1::Operation> = frame.operations.iter().map(Into::into).collect();
    for (seq, traceparent) in &frame.traces {
        if let Some(operation) = operations.iter_mut().find(|it| it.seq == seq.0) {
            operation.traceparent = traceparent.to_string();
        }
    }
    v1::SidecarFrame {
        cluster_id: cluster_id.to_owned(),
        shard: shard.0,
        to,
        open: frame.open.as_ref().map(Into::into),
        renewals: frame.renewals.iter().map(Into::into).collect(),
        operations,
        queries: frame.queries.iter().map(query).collect(),
    }
}

/// A frame of a node.
///
/// # Errors
/// The field that no node of ours would have sent; the stream is of no use then.
pub fn decode(frame: v1::CoreFrame) -> Result<FrameIn, ConvertError> {
    let leader = frame.leader.map(|leader| LeaderNews {
        term: leader.term,
        serving: leader.serving,
        silent: Duration::from_millis(leader.silent_ms.into()),
    });
    let attached = frame.attached.map(TryInto::try_into).transpose()?;
    let renewals = frame.renewals.into_iter().map(renewal);
    let replies = frame.replies.into_iter().map(operation);
    let events = frame.events.into_iter().map(event);
    let events: Result<Vec<_>, _> = events.collect();
    Ok(FrameIn {
        leader,
        attached,
        renewals: renewals.collect::<Result<_, _>>()?,
        replies: replies.collect::<Result<_, _>>()?,
        events: events?.into_iter().flatten().collect(),
        queries: frame.queries.into_iter().map(answer).collect(),
    })
}

fn query(query: &QueryOut) -> v1::Query {
    use v1::query::Query as Wire;
    let wire = match &query.ask {
        ReadAsk::Lock { name, after, wait } => {
            let wait_ms = u32::try_from(wait.min(&POLL_MAX).as_millis()).unwrap_or(0);
            Wire::GetLock(v1::GetLock {
                name: name.to_string(),
                after_revision: after.unwrap_or(Revision(0)).0,
                wait_ms: after.map_or(0, |_| wait_ms),
            })
        }
        ReadAsk::Locks {
            prefix,
            state,
            limit,
            after,
        } => Wire::ListLocks(v1::ListLocks {
            prefix: prefix.clone(),
            state: convert::lock_state(*state).into(),
            limit: *limit,
            after: after.clone(),
        }),
        ReadAsk::History {
            name,
            limit,
            before,
        } => Wire::GetHistory(v1::GetHistory {
            name: name.to_string(),
            limit: *limit,
            before: *before,
        }),
        ReadAsk::Verify { name, token } => Wire::Verify(v1::Verify {
            name: name.to_string(),
            token: token.get(),
        }),
        ReadAsk::Break {
            name,
            reason,
            force,
        } => Wire::BreakLock(v1::BreakLock {
            name: name.to_string(),
            reason: reason.to_string(),
            force: *force,
        }),
        ReadAsk::Survey(ask) => Wire::Survey(ask.into()),
    };
    v1::Query {
        id: query.id,
        linearizable: query.linearizable,
        query: Some(wire),
    }
}

fn renewal(reply: v1::RenewalReply) -> Result<RenewalNews, ConvertError> {
    let (session, number, outcome) = convert::renewal_outcome(reply)?;
    let outcome = match outcome {
        Outcome::Decided(RenewalReply::Renewed { ttl_ms, .. }) => {
            RenewalOutcome::Renewed(Duration::from_millis(u64::from(ttl_ms)))
        }
        Outcome::Decided(RenewalReply::UnknownSession) => RenewalOutcome::UnknownSession,
        Outcome::Decided(RenewalReply::Superseded) => RenewalOutcome::Superseded,
        Outcome::NotLeader => RenewalOutcome::NotLeader,
    };
    Ok(RenewalNews {
        session,
        number,
        outcome,
    })
}

fn operation(reply: v1::OperationReply) -> Result<OperationNews, ConvertError> {
    // The stream tells the session; the desk drops all of a stream that is not the session's.
    let (seq, outcome) = convert::operate_reply(SessionId(0), reply)?;
    let reply = match outcome {
        Outcome::Decided(reply) => Some(reply),
        Outcome::NotLeader => None,
    };
    Ok(OperationNews { seq, reply })
}

fn event(event: v1::Event) -> Result<Option<News>, ConvertError> {
    Ok(match convert::effect(SessionId(0), event)? {
        Effect::Granted(grant) => Some(News::Granted {
            claim: grant.claim.seq,
            revision: grant.revision,
            tokens: grant.tokens,
        }),
        Effect::ClaimEnded {
            claim,
            revision,
            cause,
            cycle,
        } => Some(News::ClaimEnded {
            claim: claim.seq,
            revision,
            cause,
            cycle,
        }),
        Effect::BreakAsked { claim, revision } => Some(News::BreakAsked {
            claim: claim.seq,
            revision,
        }),
        Effect::Delegated(delegated) => Some(News::Delegated {
            claim: delegated.grant.claim.seq,
            revision: delegated.grant.revision,
            tokens: delegated.grant.tokens,
            block: delegated.block,
        }),
        Effect::Recalled {
            claim,
            revision,
            answer,
            wanted_by,
        } => Some(News::Recalled {
            claim: claim.seq,
            revision,
            answer,
            wanted_by,
        }),
        Effect::Wanted { claim } => Some(News::Wanted { claim: claim.seq }),
        Effect::Refused {
            claim,
            revision,
            refusal,
        } => Some(News::Refused {
            claim: claim.seq,
            revision,
            refusal,
        }),
        Effect::SessionEnded { session, cause } => Some(News::SessionEnded { session, cause }),
        Effect::SessionTimer { .. }
        | Effect::DelayTimer { .. }
        | Effect::OrderInverted(_)
        | Effect::LockChanged { .. } => None,
    })
}

/// A malformed answer is one read's misfortune, not the stream's.
fn answer(reply: v1::QueryReply) -> QueryNews {
    QueryNews {
        id: reply.id,
        linearizable: reply.linearizable,
        age: Duration::from_millis(u64::from(reply.age_ms)),
        reply: read_reply(reply.reply),
    }
}

fn read_reply(reply: Option<v1::query_reply::Reply>) -> Result<ReadReply, ReadRefusal> {
    use v1::query_reply::Reply as Wire;
    let malformed = |error: ConvertError| {
        tracing::warn!(%error, "a node answered a read with nonsense");
        ReadRefusal::Invalid
    };
    match reply.ok_or(ReadRefusal::Invalid)? {
        Wire::Lock(lock) => Ok(ReadReply::Lock(
            LockView::try_from(lock).map_err(malformed)?,
        )),
        Wire::Locks(page) => {
            let items: Result<Vec<LockView>, _> =
                page.locks.into_iter().map(TryInto::try_into).collect();
            Ok(ReadReply::Locks(Page {
                items: items.map_err(malformed)?,
                next_cursor: Some(page.next_after).filter(|after| !after.is_empty()),
            }))
        }
        Wire::History(page) => {
            let items: Result<Vec<HistoryView>, _> =
                page.records.into_iter().map(TryInto::try_into).collect();
            let next = Some(page.next_before).filter(|before| *before > 0);
            Ok(ReadReply::History(Page {
                items: items.map_err(malformed)?,
                next_cursor: next.map(|before| before.to_string()),
            }))
        }
        Wire::Verified(verified) => {
            let view = VerifyView::try_from(verified).map_err(malformed)?;
            Ok(ReadReply::Verified(view))
        }
        Wire::Broken(broken) => {
            let answer = match BreakReply::try_from(broken).map_err(malformed)? {
                BreakReply::NotHeld => BreakAnswer::NotHeld,
                BreakReply::Freed => BreakAnswer::Freed,
                BreakReply::Asked => BreakAnswer::Asked,
            };
            Ok(ReadReply::Broken(answer))
        }
        Wire::Findings(found) => {
            let found = Findings::try_from(found).map_err(malformed)?;
            Ok(ReadReply::Found(found))
        }
        Wire::Error(error) => Err(match v1::QueryError::try_from(error) {
            Ok(v1::QueryError::NotLeader) => ReadRefusal::NotLeader,
            Ok(v1::QueryError::NoQuorum) => ReadRefusal::NoQuorum,
            Ok(v1::QueryError::Forbidden) => ReadRefusal::Forbidden,
            Ok(v1::QueryError::Delegate) => ReadRefusal::Delegate,
            Ok(v1::QueryError::Invalid | v1::QueryError::Unspecified) | Err(_) => {
                ReadRefusal::Invalid
            }
        }),
    }
}
