//! What a sidecar asks: opens, renewals and operations.
//! In: parts of a `SidecarFrame`. Out: commands of the table, and the same way back.
//! Never: a judgement on the request itself; refusing is the table's.

use super::delegation;
use super::error::{
    ConvertError, Converted, Problem, all, claim_id, each, fault, lock_name, owner_id, present,
    session_key,
};
use crate::table::command::{
    Acquire, EndCause, Mode, OpenSession, Operate, Operation, Release, Renewal, Want,
};
use crate::table::id::{Generation, OwnerId, PRIORITY_MAX, RenewalNumber, Seq, SessionId};
use crate::wire::v1;

impl From<&OpenSession> for v1::OpenSession {
    fn from(open: &OpenSession) -> Self {
        Self {
            key: open.key.0.to_be_bytes().to_vec(),
            ttl_ms: open.ttl_ms,
            identity: open.identity.to_string(),
            generation: open.generation.0,
            principal: open.principal.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

impl TryFrom<v1::OpenSession> for OpenSession {
    type Error = ConvertError;

    fn try_from(open: v1::OpenSession) -> Converted<Self> {
        if open.ttl_ms == 0 {
            return fault("OpenSession.ttl_ms", Problem::Range);
        }
        Ok(Self {
            key: session_key("OpenSession.key", &open.key)?,
            ttl_ms: open.ttl_ms,
            identity: open.identity.into(),
            generation: Generation(open.generation.max(1)),
            principal: (!open.principal.is_empty()).then(|| open.principal.into()),
        })
    }
}

impl From<&Renewal> for v1::Renewal {
    fn from(renewal: &Renewal) -> Self {
        Self {
            session: renewal.session.0,
            generation: renewal.generation.0,
            number: renewal.number.0,
            heard: renewal.heard.0,
        }
    }
}

impl From<v1::Renewal> for Renewal {
    fn from(renewal: v1::Renewal) -> Self {
        Self {
            session: SessionId(renewal.session),
            generation: Generation(renewal.generation),
            number: RenewalNumber(renewal.number),
            heard: RenewalNumber(renewal.heard),
        }
    }
}

impl From<&Operate> for v1::Operation {
    fn from(operate: &Operate) -> Self {
        use v1::operation::Operation as Wire;
        Self {
            session: operate.session.0,
            generation: operate.generation.0,
            seq: operate.seq.0,
            acked: operate.acked.0,
            traceparent: String::new(),
            operation: match &operate.operation {
                Operation::Acquire(acquire) => Some(Wire::Acquire(acquire.into())),
                Operation::Release(release) => Some(Wire::Release(release.into())),
                Operation::SetValue { claim, value } => Some(Wire::SetValue(v1::SetValue {
                    claim: claim.0,
                    value: value.to_string(),
                })),
                Operation::Close => Some(Wire::Close(v1::Close {})),
                Operation::Denied(lock) => Some(Wire::Denied(v1::Denied {
                    lock: lock.to_string(),
                })),
                of_delegation @ (Operation::Delegate { .. }
                | Operation::Return(_)
                | Operation::InUse { .. }
                | Operation::Refill { .. }
                | Operation::Rename { .. }) => delegation::operation(of_delegation),
            },
        }
    }
}

impl TryFrom<v1::Operation> for Operate {
    type Error = ConvertError;

    fn try_from(operation: v1::Operation) -> Converted<Self> {
        use v1::operation::Operation as Wire;
        Ok(Self {
            session: SessionId(operation.session),
            generation: Generation(operation.generation),
            seq: Seq(operation.seq),
            acked: Seq(operation.acked),
            operation: match present("Operation.operation", operation.operation)? {
                Wire::Acquire(acquire) => Operation::Acquire(acquire.try_into()?),
                Wire::Release(release) => Operation::Release(release.try_into()?),
                Wire::SetValue(set) => Operation::SetValue {
                    claim: Seq(set.claim),
                    value: set.value.into(),
                },
                Wire::Close(v1::Close {}) => Operation::Close,
                Wire::Denied(denied) => Operation::Denied(lock_name("Denied.lock", &denied.lock)?),
                Wire::Delegate(ask) => ask.try_into()?,
                Wire::ReturnDelegation(back) => Operation::Return(back.try_into()?),
                Wire::InUse(told) => told.try_into()?,
                Wire::Refill(refill) => Operation::Refill {
                    delegation: Seq(refill.delegation),
                    block: refill.block,
                },
                Wire::Rename(rename) => rename.try_into()?,
            },
        })
    }
}

impl From<&Acquire> for v1::Acquire {
    fn from(acquire: &Acquire) -> Self {
        Self {
            claim_id: acquire.claim_id.to_string(),
            owner: if acquire.owner.as_str() == acquire.claim_id.as_str() {
                String::new()
            } else {
                acquire.owner.to_string()
            },
            locks: each(&acquire.locks),
            wait: acquire.wait,
            priority: acquire.priority.into(),
            metadata: acquire.metadata.clone(),
            value: acquire.value.as_deref().map(str::to_owned),
            trace_id: acquire.trace_id.to_string(),
        }
    }
}

impl TryFrom<v1::Acquire> for Acquire {
    type Error = ConvertError;

    fn try_from(acquire: v1::Acquire) -> Converted<Self> {
        let claim_id = claim_id("Acquire.claim_id", &acquire.claim_id)?;
        Ok(Self {
            owner: if acquire.owner.is_empty() {
                OwnerId::of(&claim_id)
            } else {
                owner_id("Acquire.owner", &acquire.owner)?
            },
            claim_id,
            locks: all(acquire.locks)?,
            wait: acquire.wait,
            priority: priority("Acquire.priority", acquire.priority)?,
            metadata: acquire.metadata,
            value: acquire.value.map(Into::into),
            trace_id: acquire.trace_id.into(),
        })
    }
}

pub(super) fn priority(field: &'static str, raw: u32) -> Converted<u8> {
    match u8::try_from(raw) {
        Ok(priority) if priority <= PRIORITY_MAX => Ok(priority),
        Ok(_) | Err(_) => fault(field, Problem::Range),
    }
}

impl From<&Want> for v1::Want {
    fn from(want: &Want) -> Self {
        let (mode, permits, limit) = raw_mode(want.mode);
        Self {
            name: want.name.to_string(),
            mode: mode.into(),
            permits,
            limit,
        }
    }
}

impl TryFrom<v1::Want> for Want {
    type Error = ConvertError;

    fn try_from(want: v1::Want) -> Converted<Self> {
        Ok(Self {
            name: lock_name("Want.name", &want.name)?,
            mode: mode("Want.mode", want.mode, want.permits, want.limit)?,
        })
    }
}

/// A mode with its permits and limit, which only a semaphore has.
pub(super) fn raw_mode(mode: Mode) -> (v1::Mode, u32, u32) {
    match mode {
        Mode::Exclusive => (v1::Mode::Exclusive, 0, 0),
        Mode::Shared => (v1::Mode::Shared, 0, 0),
        Mode::Semaphore { permits, limit } => (v1::Mode::Semaphore, permits, limit),
    }
}

pub(super) fn mode(field: &'static str, raw: i32, permits: u32, limit: u32) -> Converted<Mode> {
    match v1::Mode::try_from(raw) {
        Ok(v1::Mode::Exclusive) => Ok(Mode::Exclusive),
        Ok(v1::Mode::Shared) => Ok(Mode::Shared),
        Ok(v1::Mode::Semaphore) => Ok(Mode::Semaphore { permits, limit }),
        Ok(v1::Mode::Unspecified) | Err(_) => fault(field, Problem::Missing),
    }
}

impl From<&Release> for v1::Release {
    fn from(release: &Release) -> Self {
        Self {
            claim: release.claim.0,
            cause: v1::EndCause::from(release.cause).into(),
            waited_ms: release.waited_ms,
            held_ms: release.held_ms,
        }
    }
}

impl TryFrom<v1::Release> for Release {
    type Error = ConvertError;

    fn try_from(release: v1::Release) -> Converted<Self> {
        Ok(Self {
            claim: Seq(release.claim),
            cause: end_cause("Release.cause", release.cause)?,
            waited_ms: release.waited_ms,
            held_ms: release.held_ms,
        })
    }
}

impl From<EndCause> for v1::EndCause {
    fn from(cause: EndCause) -> Self {
        match cause {
            EndCause::Released => Self::Released,
            EndCause::Cancelled => Self::Cancelled,
            EndCause::LeaseExpired => Self::LeaseExpired,
            EndCause::StreamClosed => Self::StreamClosed,
            EndCause::GrantTooLate => Self::GrantTooLate,
            EndCause::SessionExpired => Self::SessionExpired,
            EndCause::SessionClosed => Self::SessionClosed,
            EndCause::Broken => Self::Broken,
            EndCause::Deadlock => Self::Deadlock,
        }
    }
}

pub(super) fn end_cause(field: &'static str, raw: i32) -> Converted<EndCause> {
    Ok(match v1::EndCause::try_from(raw) {
        Ok(v1::EndCause::Released) => EndCause::Released,
        Ok(v1::EndCause::Cancelled) => EndCause::Cancelled,
        Ok(v1::EndCause::LeaseExpired) => EndCause::LeaseExpired,
        Ok(v1::EndCause::StreamClosed) => EndCause::StreamClosed,
        Ok(v1::EndCause::GrantTooLate) => EndCause::GrantTooLate,
        Ok(v1::EndCause::SessionExpired) => EndCause::SessionExpired,
        Ok(v1::EndCause::SessionClosed) => EndCause::SessionClosed,
        Ok(v1::EndCause::Broken) => EndCause::Broken,
        Ok(v1::EndCause::Deadlock) => EndCause::Deadlock,
        Ok(v1::EndCause::Unspecified) | Err(_) => return fault(field, Problem::Missing),
    })
}
