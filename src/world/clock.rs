//! The one place that reads a clock: CLOCK_BOOTTIME, which counts suspend and never jumps.
//! In: nothing. Out: instants that can only be subtracted and compared. Never: wall-clock time, but for the time
//! stamps that collectors of telemetry want.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

/// A point of elapsed time since boot. It means nothing on another machine or after a reboot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(Duration);

impl Instant {
    /// For tests, simulators and `safe_until_boottime_ms`: so much after boot.
    pub const fn from_boot(since: Duration) -> Self {
        Self(since)
    }

    /// Elapsed time since boot.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// Elapsed time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: an instant too far ahead to represent is as good as never.
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot+{:.3}s", self.0.as_secs_f64())
    }
}

/// Tells the time. Shells ask it and pass the answer down; pure code only receives instants.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Instant;
}

/// A clock that several parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The kernel's CLOCK_BOOTTIME.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Clock for BootClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads a clock"
    )]
    fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Both are non-negative: the clock starts at zero at boot.
        Instant(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ))
    }
}

/// Nanoseconds since 1970 by the wall clock, for the time stamps that collectors of telemetry want. Nothing may
/// be decided by it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a clock"
)]
pub fn unix_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The kernel's CLOCK_MONOTONIC_RAW, which no time service speeds up or slows down: to see how far one does
/// that to the clock of leases. It does not count suspend.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawClock;

impl Clock for RawClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads a clock"
    )]
    fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicRaw);
        Instant(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ))
    }
}
