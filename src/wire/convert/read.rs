//! Reads: what is asked of the table, and the views that answer.
//! In: parts of a `Query` or `QueryReply`. Out: views of the table, and the same way back.
//! Never: a view without the revision at which it was true.

use super::error::{
    ConvertError, Converted, Problem, all, each, fault, lock_name, present, raw_tokens, token,
    tokens,
};
use super::request::{end_cause, priority};
use crate::table::command::{BreakReply, Mode, Party, Want};
use crate::table::id::Revision;
use crate::table::state::{HistoryEvent, HistoryRecord};
use crate::table::view::{
    HistoryView, HolderView, ListQuery, LockStateFilter, LockView, VerifyView, WaiterView,
};
use crate::wire::v1;

/// Most items of one page, of locks as of history.
const PAGE_MAX: u32 = 1000;

/// The wire's name of a filter.
pub fn lock_state(filter: Option<LockStateFilter>) -> v1::LockState {
    match filter {
        None => v1::LockState::Unspecified,
        Some(LockStateFilter::Held) => v1::LockState::Held,
        Some(LockStateFilter::Contended) => v1::LockState::Contended,
        Some(LockStateFilter::Closed) => v1::LockState::Closed,
    }
}

/// Which locks to list; the limit is cut to 1 to 1000.
pub fn list_query(list: v1::ListLocks) -> Result<ListQuery, ConvertError> {
    let state = match v1::LockState::try_from(list.state) {
        Ok(v1::LockState::Unspecified) => None,
        Ok(v1::LockState::Held) => Some(LockStateFilter::Held),
        Ok(v1::LockState::Contended) => Some(LockStateFilter::Contended),
        Ok(v1::LockState::Closed) => Some(LockStateFilter::Closed),
        Err(_) => return fault("ListLocks.state", Problem::Missing),
    };
    let after = match list.after.as_str() {
        "" => None,
        name => Some(lock_name("ListLocks.after", name)?),
    };
    Ok(ListQuery {
        prefix: list.prefix,
        state,
        limit: list.limit.clamp(1, PAGE_MAX) as usize,
        after,
    })
}

impl From<&LockView> for v1::Lock {
    fn from(lock: &LockView) -> Self {
        let holders = lock.holders.iter().map(|holder| v1::Holder {
            party: Some(v1::Party {
                session: holder.claim.session.0,
                seq: holder.claim.seq.0,
                claim_id: holder.claim_id.to_string(),
                owner: holder.owner.to_string(),
                identity: holder.identity.to_string(),
                trace_id: String::new(),
            }),
            want: Some(want(lock, holder.mode)),
            token: holder.token.get(),
            metadata: holder.metadata.clone(),
            value: holder.value.as_deref().map(str::to_owned),
            breaking: holder.breaking,
        });
        let queue = lock.queue.iter().map(|waiter| v1::Waiter {
            party: Some(v1::Party {
                session: waiter.claim.session.0,
                seq: waiter.claim.seq.0,
                claim_id: waiter.claim_id.to_string(),
                owner: waiter.owner.to_string(),
                identity: waiter.identity.to_string(),
                trace_id: String::new(),
            }),
            want: Some(want(lock, waiter.mode)),
            priority: waiter.priority.into(),
        });
        Self {
            name: lock.name.to_string(),
            holders: holders.collect(),
            queue: queue.collect(),
            waiters: lock.waiters,
            lock_delay_ms: lock.lock_delay_ms,
            revision: lock.revision.0,
        }
    }
}

fn want(lock: &LockView, mode: Mode) -> v1::Want {
    v1::Want::from(&Want {
        name: lock.name.clone(),
        mode,
    })
}

impl TryFrom<v1::Lock> for LockView {
    type Error = ConvertError;

    fn try_from(lock: v1::Lock) -> Converted<Self> {
        Ok(Self {
            name: lock_name("Lock.name", &lock.name)?,
            holders: all(lock.holders)?,
            queue: all(lock.queue)?,
            waiters: lock.waiters,
            lock_delay_ms: lock.lock_delay_ms,
            revision: Revision(lock.revision),
        })
    }
}

impl TryFrom<v1::Holder> for HolderView {
    type Error = ConvertError;

    fn try_from(holder: v1::Holder) -> Converted<Self> {
        let party = Party::try_from(present("Holder.party", holder.party)?)?;
        let want = Want::try_from(present("Holder.want", holder.want)?)?;
        Ok(Self {
            claim: party.claim,
            claim_id: party.claim_id,
            owner: party.owner,
            identity: party.identity,
            mode: want.mode,
            token: token("Holder.token", holder.token)?,
            metadata: holder.metadata,
            value: holder.value.map(Into::into),
            breaking: holder.breaking,
        })
    }
}

impl TryFrom<v1::Waiter> for WaiterView {
    type Error = ConvertError;

    fn try_from(waiter: v1::Waiter) -> Converted<Self> {
        let party = Party::try_from(present("Waiter.party", waiter.party)?)?;
        let want = Want::try_from(present("Waiter.want", waiter.want)?)?;
        Ok(Self {
            claim: party.claim,
            claim_id: party.claim_id,
            owner: party.owner,
            identity: party.identity,
            mode: want.mode,
            priority: priority("Waiter.priority", waiter.priority)?,
        })
    }
}

impl From<&HistoryView> for v1::HistoryRecord {
    fn from(view: &HistoryView) -> Self {
        history_record(view.revision, &view.record)
    }
}

/// A record with its revision.
pub(super) fn history_record(revision: Revision, record: &HistoryRecord) -> v1::HistoryRecord {
    v1::HistoryRecord {
        revision: revision.0,
        index: record.index,
        locks: each(&record.locks),
        party: Some(v1::Party {
            session: record.claim.session.0,
            seq: record.claim.seq.0,
            claim_id: record.claim_id.to_string(),
            owner: record.owner.to_string(),
            identity: record.identity.to_string(),
            trace_id: String::new(),
        }),
        trace_id: record.trace_id.to_string(),
        event: Some((&record.event).into()),
    }
}

impl TryFrom<v1::HistoryRecord> for HistoryView {
    type Error = ConvertError;

    fn try_from(record: v1::HistoryRecord) -> Converted<Self> {
        let party = Party::try_from(present("HistoryRecord.party", record.party)?)?;
        Ok(Self {
            revision: Revision(record.revision),
            record: HistoryRecord {
                index: record.index,
                event: present("HistoryRecord.event", record.event)?.try_into()?,
                locks: all(record.locks)?,
                claim: party.claim,
                claim_id: party.claim_id,
                owner: party.owner,
                identity: party.identity,
                trace_id: record.trace_id.into(),
            },
        })
    }
}

impl From<&HistoryEvent> for v1::history_record::Event {
    fn from(event: &HistoryEvent) -> Self {
        match event {
            HistoryEvent::Queued => Self::Queued(v1::HistoryQueued {}),
            HistoryEvent::Granted { tokens } => Self::Granted(v1::HistoryGranted {
                tokens: raw_tokens(tokens),
            }),
            HistoryEvent::Ended {
                tokens,
                cause,
                waited_ms,
                held_ms,
                note,
            } => Self::Ended(v1::HistoryEnded {
                tokens: raw_tokens(tokens),
                cause: v1::EndCause::from(*cause).into(),
                waited_ms: *waited_ms,
                held_ms: *held_ms,
                note: note.to_string(),
            }),
            HistoryEvent::Left { cause, cycle } => Self::Left(v1::HistoryLeft {
                cause: v1::EndCause::from(*cause).into(),
                cycle: each(cycle),
            }),
            HistoryEvent::Deadlocked { cycle } => {
                Self::Deadlocked(v1::HistoryDeadlocked { cycle: each(cycle) })
            }
            HistoryEvent::BreakAsked { note } => Self::BreakAsked(v1::HistoryBreakAsked {
                note: note.to_string(),
            }),
        }
    }
}

impl TryFrom<v1::history_record::Event> for HistoryEvent {
    type Error = ConvertError;

    fn try_from(event: v1::history_record::Event) -> Converted<Self> {
        use v1::history_record::Event as Wire;
        Ok(match event {
            Wire::Queued(v1::HistoryQueued {}) => Self::Queued,
            Wire::Granted(granted) => Self::Granted {
                tokens: tokens("HistoryGranted.tokens", granted.tokens)?,
            },
            Wire::Ended(ended) => Self::Ended {
                tokens: tokens("HistoryEnded.tokens", ended.tokens)?,
                cause: end_cause("HistoryEnded.cause", ended.cause)?,
                waited_ms: ended.waited_ms,
                held_ms: ended.held_ms,
                note: ended.note.into(),
            },
            Wire::Left(left) => Self::Left {
                cause: end_cause("HistoryLeft.cause", left.cause)?,
                cycle: all(left.cycle)?,
            },
            Wire::Deadlocked(deadlocked) => Self::Deadlocked {
                cycle: all(deadlocked.cycle)?,
            },
            Wire::BreakAsked(asked) => Self::BreakAsked {
                note: asked.note.into(),
            },
        })
    }
}

impl From<&VerifyView> for v1::Verified {
    fn from(view: &VerifyView) -> Self {
        Self {
            current: view.current,
            held: view.held,
            newest: view.newest.map(|token| token.get()),
        }
    }
}

impl TryFrom<v1::Verified> for VerifyView {
    type Error = ConvertError;

    fn try_from(verified: v1::Verified) -> Converted<Self> {
        Ok(Self {
            current: verified.current,
            held: verified.held,
            newest: match verified.newest {
                Some(newest) => Some(token("Verified.newest", newest)?),
                None => None,
            },
        })
    }
}

impl From<&BreakReply> for v1::Broken {
    fn from(reply: &BreakReply) -> Self {
        let outcome = match reply {
            BreakReply::NotHeld => v1::BreakOutcome::NotHeld,
            BreakReply::Freed => v1::BreakOutcome::Freed,
            BreakReply::Asked => v1::BreakOutcome::Asked,
        };
        Self {
            outcome: outcome.into(),
        }
    }
}

impl TryFrom<v1::Broken> for BreakReply {
    type Error = ConvertError;

    fn try_from(broken: v1::Broken) -> Converted<Self> {
        Ok(match v1::BreakOutcome::try_from(broken.outcome) {
            Ok(v1::BreakOutcome::NotHeld) => Self::NotHeld,
            Ok(v1::BreakOutcome::Freed) => Self::Freed,
            Ok(v1::BreakOutcome::Asked) => Self::Asked,
            Ok(v1::BreakOutcome::Unspecified) | Err(_) => {
                return fault("Broken.outcome", Problem::Missing);
            }
        })
    }
}
