//! What is told of contention: which locks were waited for most. Plain data; those who have clocks gather it.
//! In: nothing. Out: types. Never: a point of time, which would mean nothing elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::id::LockName;

/// Most locks that one answer tells of.
pub const CONTENDED_MAX: usize = 100;

/// How far back to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// `1m`.
    Minute,
    /// `10m`.
    TenMinutes,
    /// `1h`.
    Hour,
}

impl Window {
    /// All, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::TenMinutes, Self::Hour];

    /// As the API has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::TenMinutes => "10m",
            Self::Hour => "1h",
        }
    }

    /// The window of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.word() == word)
    }
}

/// A window as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentionView {
    /// Which.
    pub window: Window,
    /// All locks together, none left out.
    pub total: Totals,
    /// The most waited for first.
    pub locks: Vec<ContendedLock>,
}

/// Sums over all locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Time waited.
    pub waited: Duration,
    /// Waits.
    pub waits: u64,
    /// Holds that ended.
    pub holds: u64,
    /// Times that a lock was asked back from a sidecar.
    pub recalls: u64,
}

/// One lock that was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContendedLock {
    /// Which.
    pub name: LockName,
    /// Time waited, all waits together.
    pub waited: Duration,
    /// How much of that may be another lock's.
    pub overcount: Duration,
    /// How many waits.
    pub waits: u64,
    /// The longest.
    pub longest: Duration,
    /// How many wait now.
    pub waiters: u64,
    /// Most that waited at a time.
    pub waiters_max: u64,
    /// Holds that ended.
    pub holds: u64,
    /// Time held.
    pub held: Duration,
    /// Times that it was asked back from a sidecar.
    pub recalls: u64,
    /// Some of the waits, newest first.
    pub samples: Vec<WaitSample>,
}

/// One wait that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitSample {
    /// Whose.
    pub claim_id: Arc<str>,
    /// Its party.
    pub owner: Arc<str>,
    /// Its sidecar.
    pub identity: Arc<str>,
    /// How long.
    pub waited: Duration,
    /// One of those it waited for.
    pub behind: Option<Arc<str>>,
    /// Its trace; may be empty.
    pub trace_id: Arc<str>,
    /// How long ago it was over.
    pub ago: Duration,
}
