//! What is kept on disk: commands of log entries, and the stored objects of a table.
//! In: the table's types. Out: messages of `log.proto`, and back. Never: a guess at damaged bytes.

use std::sync::Arc;

use prost::Message;

use super::error::{
    ConvertError, Converted, Problem, all, claim_id, each, fault, lock_name, owner_id, present,
    raw_tokens, session_key, token, tokens,
};
use super::read::history_record;
use super::request::{end_cause, priority};
use super::{Outcome, applied_reply, operate_reply, survey};
use crate::table::command::{Break, Command, OperateReply, OperationReply, Policy};
use crate::table::id::{DelayNumber, Generation, RenewalNumber, Revision, Seq, SessionId, Token};
use crate::table::state::{Claim, Closed, Counters, Key, Newest, Object, Place, Session, Stage};
use crate::table::view::HistoryView;
use crate::wire::{disk, v1};

/// The format of log entries that this version writes, and the newest that it reads.
pub const ENTRY_FORMAT: u32 = 1;

/// Stored bytes that are not what a node of this version writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Not protobuf of this schema.
    #[error("not decodable: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A field is missing or impossible.
    #[error(transparent)]
    Malformed(#[from] ConvertError),
}

/// The commands of one log entry.
pub fn batch(commands: &[Command]) -> disk::Batch {
    disk::Batch {
        commands: each(commands),
    }
}

/// The commands of [`batch`].
pub fn commands(batch: disk::Batch) -> Result<Vec<Command>, ConvertError> {
    all(batch.commands)
}

/// The message of a stored object, encoded.
pub fn object_to_bytes(key: &Key, object: &Object) -> Vec<u8> {
    match object {
        Object::Counters(counters) => disk::Counters::from(counters).encode_to_vec(),
        Object::Session(session) => disk::Session::from(session).encode_to_vec(),
        Object::Reply(reply) => applied_reply(reply_seq(key), reply).encode_to_vec(),
        Object::Claim(claim) => disk::Claim::from(claim).encode_to_vec(),
        Object::Pledge(pledge) => disk::Pledge::from(pledge).encode_to_vec(),
        Object::Lock {
            closed,
            newest,
            revision,
        } => lock(*closed, *newest, *revision).encode_to_vec(),
        Object::Policy(policy) => disk::Policy::from(policy).encode_to_vec(),
        Object::History(record) => history_record(history_revision(key), record).encode_to_vec(),
        Object::Order(edge) => survey::order_edge(order_classes(key), edge).encode_to_vec(),
    }
}

/// The object of [`object_to_bytes`], under the same key.
pub fn object_from_bytes(key: &Key, bytes: &[u8]) -> Result<Object, StoredError> {
    Ok(match key {
        Key::Counters => Object::Counters(disk::Counters::decode(bytes)?.into()),
        Key::Session(_) => Object::Session(disk::Session::decode(bytes)?.try_into()?),
        Key::Reply(session, _) => {
            let reply = v1::OperationReply::decode(bytes)?;
            Object::Reply(kept_reply(*session, reply)?)
        }
        Key::Claim(_) => Object::Claim(disk::Claim::decode(bytes)?.try_into()?),
        Key::Pledge(_) => Object::Pledge(disk::Pledge::decode(bytes)?.try_into()?),
        Key::Lock(_) => lock_object(&disk::Lock::decode(bytes)?)?,
        Key::Policy(_) => Object::Policy(disk::Policy::decode(bytes)?.into()),
        Key::History(_) => {
            let view = HistoryView::try_from(v1::HistoryRecord::decode(bytes)?)?;
            Object::History(view.record)
        }
        Key::Order(..) => Object::Order(v1::OrderEdge::decode(bytes)?.try_into()?),
    })
}

/// Kept for people who read a dump: the key tells it too.
fn reply_seq(key: &Key) -> Seq {
    match key {
        Key::Reply(_, seq) => *seq,
        Key::Counters
        | Key::Session(_)
        | Key::Claim(_)
        | Key::Pledge(_)
        | Key::Lock(_)
        | Key::Policy(_)
        | Key::History(_)
        | Key::Order(..) => Seq(0),
    }
}

/// As [`reply_seq`].
fn history_revision(key: &Key) -> Revision {
    match key {
        Key::History(revision) => *revision,
        Key::Counters
        | Key::Session(_)
        | Key::Reply(..)
        | Key::Claim(_)
        | Key::Pledge(_)
        | Key::Lock(_)
        | Key::Policy(_)
        | Key::Order(..) => Revision(0),
    }
}

/// As [`reply_seq`].
fn order_classes(key: &Key) -> (&str, &str) {
    match key {
        Key::Order(before, after) => (before.as_str(), after.as_str()),
        Key::Counters
        | Key::Session(_)
        | Key::Reply(..)
        | Key::Claim(_)
        | Key::Pledge(_)
        | Key::Lock(_)
        | Key::Policy(_)
        | Key::History(_) => ("", ""),
    }
}

fn kept_reply(session: SessionId, reply: v1::OperationReply) -> Converted<OperationReply> {
    match operate_reply(session, reply)? {
        (_, Outcome::Decided(OperateReply::Applied(reply))) => Ok(reply),
        (_, Outcome::NotLeader)
        | (
            _,
            Outcome::Decided(
                OperateReply::Forgotten
                | OperateReply::Gap { .. }
                | OperateReply::UnknownSession
                | OperateReply::Superseded,
            ),
        ) => fault("OperationReply.outcome", Problem::Missing),
    }
}

impl From<&Command> for disk::Command {
    fn from(command: &Command) -> Self {
        use disk::command::Command as Wire;
        let command = match command {
            Command::OpenSession(open) => Wire::OpenSession(open.into()),
            Command::Renew(renewals) => Wire::Renew(disk::Renewals {
                renewals: each(renewals),
            }),
            Command::Expire { session, number } => Wire::Expire(disk::Expire {
                session: session.0,
                number: number.0,
            }),
            Command::Operate(operate) => Wire::Operate(operate.into()),
            Command::Reopen { lock, delay } => Wire::Reopen(disk::Reopen {
                lock: lock.to_string(),
                delay: delay.0,
            }),
            Command::Break(order) => Wire::BreakLock(disk::Break {
                lock: order.lock.to_string(),
                reason: order.reason.to_string(),
                force: order.force,
                by: order.by.to_string(),
            }),
            Command::SetPolicy { prefix, policy } => Wire::SetPolicy(disk::SetPolicy {
                prefix: prefix.to_string(),
                policy: policy.as_ref().map(Into::into),
            }),
            Command::TrimHistory { up_to } => Wire::TrimHistoryUpTo(up_to.0),
        };
        Self {
            command: Some(command),
        }
    }
}

impl TryFrom<disk::Command> for Command {
    type Error = ConvertError;

    fn try_from(command: disk::Command) -> Converted<Self> {
        use disk::command::Command as Wire;
        Ok(match present("Command.command", command.command)? {
            Wire::OpenSession(open) => Self::OpenSession(open.try_into()?),
            Wire::Renew(renewals) => {
                Self::Renew(renewals.renewals.into_iter().map(Into::into).collect())
            }
            Wire::Expire(expire) => Self::Expire {
                session: SessionId(expire.session),
                number: RenewalNumber(expire.number),
            },
            Wire::Operate(operation) => Self::Operate(operation.try_into()?),
            Wire::Reopen(reopen) => Self::Reopen {
                lock: lock_name("Reopen.lock", &reopen.lock)?,
                delay: DelayNumber(reopen.delay),
            },
            Wire::BreakLock(order) => Self::Break(Break {
                lock: lock_name("Break.lock", &order.lock)?,
                reason: order.reason.into(),
                force: order.force,
                by: order.by.into(),
            }),
            Wire::SetPolicy(set) => Self::SetPolicy {
                prefix: set.prefix.into(),
                policy: set.policy.map(Into::into),
            },
            Wire::TrimHistoryUpTo(up_to) => Self::TrimHistory {
                up_to: Revision(up_to),
            },
        })
    }
}

impl From<&Policy> for disk::Policy {
    fn from(policy: &Policy) -> Self {
        Self {
            lock_delay_ms: policy.lock_delay_ms,
            semaphore_limit: policy.semaphore_limit,
            waiters_max: policy.waiters_max,
        }
    }
}

impl From<disk::Policy> for Policy {
    fn from(policy: disk::Policy) -> Self {
        Self {
            lock_delay_ms: policy.lock_delay_ms,
            semaphore_limit: policy.semaphore_limit,
            waiters_max: policy.waiters_max,
        }
    }
}

impl From<&Counters> for disk::Counters {
    fn from(counters: &Counters) -> Self {
        Self {
            table_version: counters.table_version,
            token: counters.token,
            revision: counters.revision.0,
            delay: counters.delay.0,
            arrival: counters.arrival,
            order_missed: counters.order_missed,
        }
    }
}

impl From<disk::Counters> for Counters {
    fn from(counters: disk::Counters) -> Self {
        Self {
            table_version: counters.table_version,
            token: counters.token,
            revision: Revision(counters.revision),
            delay: DelayNumber(counters.delay),
            arrival: counters.arrival,
            order_missed: counters.order_missed,
        }
    }
}

impl From<&Session> for disk::Session {
    fn from(session: &Session) -> Self {
        Self {
            key: session.key.0.to_be_bytes().to_vec(),
            identity: session.identity.to_string(),
            principal: session.principal.as_deref().unwrap_or_default().to_owned(),
            ttl_ms: session.ttl_ms,
            generation: session.generation.0,
            renewal: session.renewal.0,
            seq: session.seq.0,
            acked: session.acked.0,
            listed: session.listed.map_or(0, |listed| listed.0),
            ending: session
                .ending
                .map_or(v1::EndCause::Unspecified, v1::EndCause::from)
                .into(),
        }
    }
}

impl TryFrom<disk::Session> for Session {
    type Error = ConvertError;

    fn try_from(session: disk::Session) -> Converted<Self> {
        Ok(Self {
            key: session_key("Session.key", &session.key)?,
            identity: session.identity.into(),
            principal: (!session.principal.is_empty()).then(|| session.principal.into()),
            ttl_ms: session.ttl_ms,
            generation: Generation(session.generation),
            renewal: RenewalNumber(session.renewal),
            seq: Seq(session.seq),
            acked: Seq(session.acked),
            listed: (session.listed > 0).then_some(RenewalNumber(session.listed)),
            ending: match session.ending {
                0 => None,
                cause => Some(end_cause("Session.ending", cause)?),
            },
        })
    }
}

impl From<&Claim> for disk::Claim {
    fn from(claim: &Claim) -> Self {
        Self {
            claim_id: claim.claim_id.to_string(),
            owner: claim.owner.to_string(),
            locks: each(&claim.locks),
            priority: claim.priority.into(),
            metadata: claim.metadata.clone(),
            value: claim.value.as_deref().map(str::to_owned),
            trace_id: claim.trace_id.to_string(),
            stage: Some((&claim.stage).into()),
        }
    }
}

impl TryFrom<disk::Claim> for Claim {
    type Error = ConvertError;

    fn try_from(claim: disk::Claim) -> Converted<Self> {
        Ok(Self {
            claim_id: claim_id("Claim.claim_id", &claim.claim_id)?,
            owner: owner_id("Claim.owner", &claim.owner)?,
            locks: all(claim.locks)?,
            priority: priority("Claim.priority", claim.priority)?,
            metadata: claim.metadata,
            value: claim.value.map(Arc::from),
            trace_id: claim.trace_id.into(),
            stage: present("Claim.stage", claim.stage)?.try_into()?,
        })
    }
}

impl From<&Stage> for disk::claim::Stage {
    fn from(stage: &Stage) -> Self {
        match stage {
            Stage::Waiting { place, passed } => Self::Waiting(disk::Waiting {
                rank: place.rank.into(),
                arrival: place.arrival,
                passed: *passed,
            }),
            Stage::Holding {
                tokens,
                granted,
                breaking,
            } => Self::Holding(disk::Holding {
                tokens: raw_tokens(tokens),
                granted: granted.0,
                breaking: *breaking,
            }),
        }
    }
}

impl TryFrom<disk::claim::Stage> for Stage {
    type Error = ConvertError;

    fn try_from(stage: disk::claim::Stage) -> Converted<Self> {
        Ok(match stage {
            disk::claim::Stage::Waiting(waiting) => Self::Waiting {
                place: Place {
                    rank: match u8::try_from(waiting.rank) {
                        Ok(rank) => rank,
                        Err(_) => return fault("Waiting.rank", Problem::Range),
                    },
                    arrival: waiting.arrival,
                },
                passed: waiting.passed,
            },
            disk::claim::Stage::Holding(holding) => Self::Holding {
                tokens: tokens("Holding.tokens", holding.tokens)?,
                granted: Revision(holding.granted),
                breaking: holding.breaking,
            },
        })
    }
}

fn lock(closed: Option<Closed>, newest: Newest, revision: Revision) -> disk::Lock {
    disk::Lock {
        closed_delay: closed.map(|closed| closed.delay.0),
        closed_delay_ms: closed.map_or(0, |closed| closed.delay_ms),
        newest_any: newest.any.map_or(0, Token::get),
        newest_exclusive: newest.exclusive.map_or(0, Token::get),
        newest_semaphore: newest.semaphore.map_or(0, Token::get),
        revision: revision.0,
    }
}

fn lock_object(lock: &disk::Lock) -> Converted<Object> {
    let newest = |field, raw| match raw {
        0 => Ok(None),
        raw => token(field, raw).map(Some),
    };
    Ok(Object::Lock {
        closed: lock.closed_delay.map(|delay| Closed {
            delay: DelayNumber(delay),
            delay_ms: lock.closed_delay_ms,
        }),
        newest: Newest {
            any: newest("Lock.newest_any", lock.newest_any)?,
            exclusive: newest("Lock.newest_exclusive", lock.newest_exclusive)?,
            semaphore: newest("Lock.newest_semaphore", lock.newest_semaphore)?,
        },
        revision: Revision(lock.revision),
    })
}
