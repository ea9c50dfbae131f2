//! The words and numbers that all JSON of ours shares.
//! In: values of the table. Out: words of open enums, whole milliseconds. Never: a number overstated.

use std::time::Duration;

use crate::table::command::EndCause;

/// Whole milliseconds, rounded down: a remaining time must never be overstated.
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The word in `state` of a lock.
pub fn state_word(held: bool, closed: bool) -> &'static str {
    match (held, closed) {
        (true, _) => "held",
        (false, true) => "closed",
        (false, false) => "free",
    }
}

/// The word in `cause`.
pub fn cause_word(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Released => "released",
        EndCause::Cancelled => "cancelled",
        EndCause::LeaseExpired => "lease-expired",
        EndCause::StreamClosed => "stream-closed",
        EndCause::GrantTooLate => "grant-too-late",
        EndCause::SessionExpired => "session-expired",
        EndCause::SessionClosed => "session-closed",
        EndCause::Broken => "broken",
        EndCause::Deadlock => "deadlock",
    }
}
