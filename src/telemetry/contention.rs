//! PURE: which locks were waited for most, over the last minute, ten minutes and hour, in bounded memory.
//! In: waits, holds and recalls of locks, now. Out: the worst, with examples. Never: a lock that was not waited
//! for, or more than [`LOCKS_MAX`] of them in one interval.
//!
//! Each window is a ring of intervals, and each interval keeps the locks with the most waiting by the
//! space-saving sketch (Metwally, Agrawal and El Abbadi, 2005): when it is full, a new lock takes the place of
//! the one with the least, and begins with its weight, which is told as `overcount`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::table::contention::{
    CONTENDED_MAX, ContendedLock, ContentionView, Totals, WaitSample, Window,
};
use crate::table::id::LockName;
use crate::world::clock::Instant;

/// Locks of one interval.
pub const LOCKS_MAX: usize = 256;
/// Examples of one lock in one interval; a window shows the newest [`SAMPLES_SHOWN`].
const SAMPLES_MAX: usize = 4;
/// Examples of one lock.
pub const SAMPLES_SHOWN: usize = 20;

/// Each window is cut into so many intervals of this length, one of which is always under way: it looks back
/// over its length and up to one interval more.
fn intervals(window: Window) -> (usize, Duration) {
    match window {
        Window::Minute => (6, Duration::from_secs(10)),
        Window::TenMinutes => (10, Duration::from_secs(60)),
        Window::Hour => (12, Duration::from_secs(300)),
    }
}

/// One wait that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
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
    /// When it was over.
    pub at: Instant,
}

impl Sample {
    fn shown(self, now: Instant) -> WaitSample {
        WaitSample {
            claim_id: self.claim_id,
            owner: self.owner,
            identity: self.identity,
            waited: self.waited,
            behind: self.behind,
            trace_id: self.trace_id,
            ago: now.since(self.at),
        }
    }
}

/// What is known of one lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    /// Time waited, all waits together.
    pub waited: Duration,
    /// How much of that may be another lock's.
    pub overcount: Duration,
    /// How many waits.
    pub waits: u64,
    /// The longest.
    pub longest: Duration,
    /// Most that waited at a time.
    pub waiters_max: u64,
    /// Holds that ended.
    pub holds: u64,
    /// Time held.
    pub held: Duration,
    /// Times it was asked back from a sidecar.
    pub recalls: u64,
    /// Newest first.
    pub samples: VecDeque<Sample>,
}

/// All windows.
#[derive(Debug)]
pub struct Contention {
    rings: [Ring; 3],
    /// Those who wait at present, of locks that somebody waits for.
    waiting: BTreeMap<LockName, Waiting>,
}

/// Who waits for one lock at present.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    count: u32,
    /// The sum of when each began, since boot: from it follows the sum of their waits at any moment.
    began: Duration,
}

impl Waiting {
    fn so_far(self, now: Instant) -> Duration {
        (now.since_boot() * self.count).saturating_sub(self.began)
    }
}

impl Default for Contention {
    fn default() -> Self {
        Self {
            rings: Window::ALL.map(Ring::new),
            waiting: BTreeMap::new(),
        }
    }
}

impl Contention {
    /// Those who wait are not known any more.
    pub fn nobody_waits(&mut self) {
        self.waiting.clear();
    }

    /// A claim begins to wait.
    pub fn queued(&mut self, now: Instant, lock: &LockName) {
        let waiting = self.waiting.entry(lock.clone()).or_default();
        waiting.count += 1;
        waiting.began += now.since_boot();
        let waiters = u64::from(waiting.count);
        self.each(now, |interval| {
            if let Some(tally) = interval.tally_of(lock, Duration::ZERO) {
                tally.waiters_max = tally.waiters_max.max(waiters);
            }
        });
    }

    /// A claim that waited since then does so no more; with the wait if it was granted.
    pub fn left(&mut self, now: Instant, lock: &LockName, since: Instant, granted: Option<Sample>) {
        if let Some(waiting) = self.waiting.get_mut(lock) {
            waiting.count -= 1;
            waiting.began = waiting.began.saturating_sub(since.since_boot());
            if waiting.count == 0 {
                self.waiting.remove(lock);
            }
        }
        if let Some(sample) = granted {
            self.waited(now, lock, sample);
        }
    }

    /// A wait is over that was not counted when it began.
    pub fn waited(&mut self, now: Instant, lock: &LockName, sample: Sample) {
        self.each(now, |interval| {
            interval.total.waited += sample.waited;
            interval.total.waits += 1;
            if let Some(tally) = interval.tally_of(lock, sample.waited) {
                tally.waited += sample.waited;
                tally.waits += 1;
                tally.longest = tally.longest.max(sample.waited);
                tally.samples.truncate(SAMPLES_MAX - 1);
                tally.samples.push_front(sample.clone());
            }
        });
    }

    /// A hold is over.
    pub fn held(&mut self, now: Instant, lock: &LockName, held: Duration) {
        self.each(now, |interval| {
            interval.total.holds += 1;
            if let Some(tally) = interval.locks.get_mut(lock) {
                tally.holds += 1;
                tally.held += held;
            }
        });
    }

    /// A lock was asked back.
    pub fn recalled(&mut self, now: Instant, lock: &LockName) {
        self.each(now, |interval| {
            interval.total.recalls += 1;
            if let Some(tally) = interval.locks.get_mut(lock) {
                tally.recalls += 1;
            }
        });
    }

    /// The `most` locks of a window that were waited for most.
    pub fn report(&mut self, now: Instant, window: Window, most: usize) -> ContentionView {
        let place = Window::ALL.iter().position(|one| *one == window);
        let ring = &mut self.rings[place.expect("all are listed")];
        ring.turn(now);
        let mut total = Totals::default();
        let mut locks: BTreeMap<LockName, Tally> = BTreeMap::new();
        // Newest first, so that the examples come in that order.
        for interval in ring.intervals.iter().rev() {
            add(&mut total, &interval.total);
            for (lock, tally) in &interval.locks {
                locks.entry(lock.clone()).or_default().add(tally);
            }
        }
        // Whoever waits longer than the window is not over with it.
        for (lock, waiting) in &self.waiting {
            let so_far = waiting.so_far(now);
            total.waited += so_far;
            let tally = locks.entry(lock.clone()).or_default();
            tally.waited += so_far;
            tally.waiters_max = tally.waiters_max.max(waiting.count.into());
        }
        let mut locks: Vec<(LockName, Tally)> = locks.into_iter().collect();
        locks.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.waited));
        locks.truncate(most.min(CONTENDED_MAX));
        let locks = locks.into_iter().map(|(name, tally)| {
            let waiting = self.waiting.get(&name).copied().unwrap_or_default();
            tally.shown(name, waiting.count.into(), now)
        });
        ContentionView {
            window,
            total,
            locks: locks.collect(),
        }
    }

    fn each(&mut self, now: Instant, mut note: impl FnMut(&mut Interval)) {
        for ring in &mut self.rings {
            ring.turn(now);
            if let Some(interval) = ring.intervals.back_mut() {
                note(interval);
            }
        }
    }
}

#[derive(Debug)]
struct Ring {
    length: usize,
    span: Duration,
    /// Oldest first; the last one is under way.
    intervals: VecDeque<Interval>,
    /// When the last one began.
    began: Option<Instant>,
}

#[derive(Debug, Default)]
struct Interval {
    total: Totals,
    locks: BTreeMap<LockName, Tally>,
}

impl Ring {
    fn new(window: Window) -> Self {
        let (length, span) = intervals(window);
        Self {
            length,
            span,
            intervals: VecDeque::new(),
            began: None,
        }
    }

    /// Begins the interval of `now`, and drops those that are over for too long.
    fn turn(&mut self, now: Instant) {
        let Some(began) = self.began else {
            self.began = Some(now);
            self.intervals.push_back(Interval::default());
            return;
        };
        let passed = now.since(began).as_millis() / self.span.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        for _ in 0..(passed as usize).min(self.length + 1) {
            self.intervals.push_back(Interval::default());
        }
        self.began = Some(began + self.span * passed);
        while self.intervals.len() > self.length + 1 {
            self.intervals.pop_front();
        }
    }
}

impl Interval {
    /// The tally of a lock, made if there is room, or if the lock weighs more than nothing.
    fn tally_of(&mut self, lock: &LockName, weight: Duration) -> Option<&mut Tally> {
        if !self.locks.contains_key(lock) {
            let mut tally = Tally::default();
            if self.locks.len() >= LOCKS_MAX {
                if weight.is_zero() {
                    return None;
                }
                let least = self.locks.iter().min_by_key(|(_, tally)| tally.waited);
                let (name, waited) = least.map(|(name, tally)| (name.clone(), tally.waited))?;
                self.locks.remove(&name);
                tally.waited = waited;
                tally.overcount = waited;
            }
            self.locks.insert(lock.clone(), tally);
        }
        self.locks.get_mut(lock)
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.waited += other.waited;
        self.overcount += other.overcount;
        self.waits += other.waits;
        self.longest = self.longest.max(other.longest);
        self.waiters_max = self.waiters_max.max(other.waiters_max);
        self.holds += other.holds;
        self.held += other.held;
        self.recalls += other.recalls;
        let room = SAMPLES_SHOWN - self.samples.len().min(SAMPLES_SHOWN);
        self.samples
            .extend(other.samples.iter().take(room).cloned());
    }

    fn shown(self, name: LockName, waiters: u64, now: Instant) -> ContendedLock {
        ContendedLock {
            name,
            waited: self.waited,
            overcount: self.overcount,
            waits: self.waits,
            longest: self.longest,
            waiters,
            waiters_max: self.waiters_max,
            holds: self.holds,
            held: self.held,
            recalls: self.recalls,
            samples: self
                .samples
                .into_iter()
                .map(|sample| sample.shown(now))
                .collect(),
        }
    }
}

fn add(total: &mut Totals, other: &Totals) {
    total.waited += other.waited;
    total.waits += other.waits;
    total.holds += other.holds;
    total.recalls += other.recalls;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }

    fn name(text: &str) -> LockName {
        LockName::parse(text).expect("a name")
    }

    fn sample(ms: u64, at: Instant) -> Sample {
        Sample {
            claim_id: "c".into(),
            owner: "o".into(),
            identity: "pod".into(),
            waited: Duration::from_millis(ms),
            behind: None,
            trace_id: "".into(),
            at,
        }
    }

    #[test]
    fn waits_are_summed_over_a_window_and_forgotten_after_it() {
        let mut seen = Contention::default();
        let lock = name("a");
        for second in [0, 5, 30, 100] {
            seen.queued(at(second), &lock);
            seen.left(at(second), &lock, at(second), Some(sample(10, at(second))));
            seen.held(at(second), &lock, Duration::from_millis(3));
        }
        let waits =
            |seen: &mut Contention, now, window| seen.report(at(now), window, 9).total.waits;
        assert_eq!(waits(&mut seen, 100, Window::Minute), 1);
        assert_eq!(waits(&mut seen, 100, Window::TenMinutes), 4);
        assert_eq!(waits(&mut seen, 900, Window::TenMinutes), 0);
        let hour = seen.report(at(900), Window::Hour, 9);
        let seen_lock = &hour.locks[0];
        assert_eq!(
            (seen_lock.name.as_str(), seen_lock.waits, seen_lock.holds),
            ("a", 4, 4)
        );
        assert_eq!(seen_lock.waited, Duration::from_millis(40));
        assert_eq!(seen_lock.samples[0].ago, Duration::from_secs(800));
        assert_eq!(seen_lock.samples.len(), SAMPLES_MAX);
        assert!(seen.report(at(90_000), Window::Hour, 9).locks.is_empty());
    }

    #[test]
    fn those_who_wait_at_a_time_are_counted() {
        let mut seen = Contention::default();
        let lock = name("a");
        for _ in 0..3 {
            seen.queued(at(0), &lock);
        }
        seen.left(at(1), &lock, at(0), None);
        let report = seen.report(at(1), Window::Minute, 1);
        assert_eq!(
            (report.locks[0].waiters, report.locks[0].waiters_max),
            (2, 3)
        );
        // They wait on, long after the window in which they began.
        let report = seen.report(at(500), Window::Minute, 1);
        assert_eq!((report.locks[0].waiters, report.locks[0].waits), (2, 0));
        assert_eq!(report.locks[0].waited, Duration::from_secs(1_000));
    }

    #[test]
    fn the_worst_are_found_among_very_many() {
        let mut seen = Contention::default();
        let heavy = name("heavy");
        for turn in 0..20_000_u64 {
            let light = name(&format!("light/{}", turn % 5_000));
            seen.waited(at(0), &light, sample(1, at(0)));
            if turn % 4 == 0 {
                seen.waited(at(0), &heavy, sample(10, at(0)));
            }
        }
        let report = seen.report(at(0), Window::Minute, 3);
        assert_eq!(report.locks.len(), 3);
        let tally = &report.locks[0];
        assert_eq!(tally.name.as_str(), "heavy");
        let true_wait = Duration::from_millis(50_000);
        assert!(tally.waited >= true_wait, "never too little");
        assert!(
            tally.waited.saturating_sub(tally.overcount) <= true_wait,
            "nor, without the overcount, too much"
        );
        assert_eq!(report.total.waits, 25_000);
        assert!(
            seen.rings
                .iter()
                .all(|ring| ring.intervals.iter().all(|it| it.locks.len() <= LOCKS_MAX))
        );
    }
}
