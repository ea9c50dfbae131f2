//! Where claims stand and why, in words that clients and logs share.
//! In: nothing. Out: open enums and their words. Never: a word that changes its meaning.

use crate::table::command::EndCause;

/// Where a claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimState {
    /// Waits.
    Queued,
    /// Holds.
    Granted,
    /// Held; whether it still does is not known at the moment.
    Jeopardy,
    /// The app released it.
    Released,
    /// The app's own lease ran out, or its bound stream closed.
    Expired,
    /// The session was lost.
    Lost,
    /// Gave up waiting, or was ended while it waited.
    Cancelled,
    /// An operator broke the lock.
    Revoked,
}

impl ClaimState {
    /// As clients and logs have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Granted => "granted",
            Self::Jeopardy => "jeopardy",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
            Self::Revoked => "revoked",
        }
    }
}

/// Why a claim is in a state that it did not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The app's own lease ran out.
    TtlExpired,
    /// A bound stream was closed by the app.
    StreamClosed,
    /// The core expired the session.
    SessionExpired,
    /// The sidecar's safe deadline passed and the core no longer knew the session.
    SessionLost,
    /// The wait was over.
    WaitTimeout,
    /// The caller closed its connection while waiting.
    CallerGone,
    /// A queued claim was neither read, renewed nor streamed within its TTL.
    Unattended,
    /// DELETE while it waited.
    Deleted,
    /// Victim of a deadlock.
    Deadlock,
    /// An operator broke the lock.
    Broken,
    /// The safe deadline has passed and no answer of the core is in yet.
    DeadlinePassed,
    /// The core refused the claim, for one of the reasons in [`ClaimError`].
    Refused,
    /// The sidecar stops.
    Draining,
}

impl Reason {
    /// As clients and logs have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::TtlExpired => "ttl-expired",
            Self::StreamClosed => "stream-closed",
            Self::SessionExpired => "session-expired",
            Self::SessionLost => "session-lost",
            Self::WaitTimeout => "wait-timeout",
            Self::CallerGone => "caller-gone",
            Self::Unattended => "unattended",
            Self::Deleted => "deleted",
            Self::Deadlock => "deadlock",
            Self::Broken => "broken",
            Self::DeadlinePassed => "deadline-passed",
            Self::Refused => "refused",
            Self::Draining => "draining",
        }
    }
}

/// The end cause that a reason stands for in the table.
pub fn end_cause(reason: Reason) -> EndCause {
    match reason {
        Reason::TtlExpired => EndCause::LeaseExpired,
        Reason::StreamClosed => EndCause::StreamClosed,
        Reason::SessionExpired | Reason::SessionLost | Reason::DeadlinePassed => {
            EndCause::SessionExpired
        }
        Reason::WaitTimeout
        | Reason::CallerGone
        | Reason::Unattended
        | Reason::Deleted
        | Reason::Refused
        | Reason::Draining => EndCause::Cancelled,
        Reason::Deadlock => EndCause::Deadlock,
        Reason::Broken => EndCause::Broken,
    }
}
