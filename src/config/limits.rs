//! Every bound that an app can run into, with its unit and its reason.
//! In: nothing. Out: constants. Never: a bound without a reason, or a second copy of one elsewhere.

use std::time::Duration;

/// Bytes of a request body. A claim over 64 locks with the longest names fits into half of it.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the request line and all header fields. Twice what browsers and proxies commonly send;
/// a lock name of 512 bytes, percent-encoded, takes 1.5 KiB of it.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// From the first byte of a request's head to its last. Local clients need microseconds.
pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// From the head of a request to the last byte of its body. Local clients need microseconds.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests: longer than the renewal interval of common
/// TTLs (10 s to 5 min), so that a client's pool keeps its connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// How often a connection looks at its timeouts; they are late by at most this.
pub const LINE_TICK: Duration = Duration::from_secs(5);
/// A client that has shut down its sending side still gets an answer that is ready within this;
/// after it, it counts as gone. A closed connection cannot be told from a half-closed one.
pub const HALF_CLOSED_GRACE: Duration = Duration::from_millis(100);
/// After a refusal in the middle of a request, so long and so many bytes are read and dropped, so
/// that the kernel does not reset the connection before the client has read the refusal.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// See [`LINGER_TIMEOUT`].
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Connections at a time; each costs some 10 KiB. Further ones wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 16_384;
/// After a shutdown began, requests under way may go on for so long.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Milliseconds of the app's lease, when it asks for none: three renewals of 3.3 s fit in.
pub const TTL_MS_DEFAULT: u64 = 10_000;
/// Shortest lease, in milliseconds: below it, scheduling delays alone would lose claims.
pub const TTL_MS_MIN: u64 = 500;
/// Longest lease, in milliseconds: one day. A dead app's lock must not stay for longer.
pub const TTL_MS_MAX: u64 = 86_400_000;
/// Longest wait, in milliseconds: one hour. Proxies and people give up before.
pub const WAIT_MS_MAX: u64 = 3_600_000;
/// Longest `min_hold_ms`: as the longest lease, within which the hold lives.
pub const MIN_HOLD_MS_MAX: u64 = TTL_MS_MAX;
/// Wait of a long-poll that names a revision and no time: below the 30 s to 60 s after which
/// common HTTP clients give up.
pub const LONG_POLL_MS_DEFAULT: u64 = 25_000;
/// Locks of one claim: each is one entry in a queue and in the wait-for graph.
pub const LOCKS_MAX: usize = 64;
/// Permits and limit of a semaphore.
pub const PERMITS_MAX: u64 = 1_000_000;
/// Entries of a claim's metadata. It is replicated, and kept in memory on every core node.
pub const METADATA_ENTRIES_MAX: usize = 16;
/// Bytes of a metadata key.
pub const METADATA_KEY_BYTES_MAX: usize = 64;
/// Bytes of a metadata value.
pub const METADATA_VALUE_BYTES_MAX: usize = 256;
/// Bytes of a claim's `value`: an address or a small document of an elected leader.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Bytes of an operator's reason for a break; kept in history.
pub const REASON_BYTES_MAX: usize = 512;

/// Items of a page, when the request names no limit.
pub const PAGE_DEFAULT: u64 = 100;
/// Items of a page at most: a page of locks with full queues stays within some megabytes.
pub const PAGE_MAX: u64 = 1000;
/// Deadlocks shown, when the request names no number: what fits on a screen.
pub const DEADLOCKS_DEFAULT: u32 = 20;
/// Deadlocks shown at most.
pub const DEADLOCKS_MAX: u32 = 100;

/// Contended locks shown, when the request names no number: what fits on a screen.
pub const CONTENDED_DEFAULT: u32 = 20;
/// Contended locks shown at most.
pub const CONTENDED_MAX: u32 = 100;

/// Pages `/ui` that are kept live at a time: each costs some reads of the whole table a second.
pub const PAGES_MAX: usize = 16;

/// A comment goes out on an event stream this often, so that both sides notice a broken connection.
pub const SSE_COMMENT_EVERY: Duration = Duration::from_secs(5);
