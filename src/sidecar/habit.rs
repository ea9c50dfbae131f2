//! PURE: which locks are worth keeping here, learnt from what became of those that were.
//! In: delegations that were called back, and how often each was used. Out: how many tokens to ask for.
//! Never: a lock kept that only wanders to and fro, or one that is never tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::table::id::LockName;
use crate::world::clock::Instant;

/// A lock is kept only if it was used here within this time before: most names are used once, and whoever
/// else wants one of those should not have to ask for it back.
const USED_WITHIN: Duration = Duration::from_secs(10);
/// Tokens of a first block.
pub const BLOCK_FIRST: u32 = 256;
/// After so many delegations in a row that were called back unused, a lock is not kept for a while: the
/// first shows that others want it, the second that they do more than we.
const USELESS_MAX: u32 = 2;
/// How long it is not kept at first; twice as long each further time.
const OFF_FIRST: Duration = Duration::from_secs(1);
/// Never longer than this: locks change their habits.
const OFF_MOST: Duration = Duration::from_secs(60);
/// A lock that others look at is not kept for so long after they last did: what happens to it is theirs to
/// see.
const WATCHED_FOR: Duration = Duration::from_secs(2);
/// Locks of which something is remembered. Beyond, all is forgotten: they are tried again.
const REMEMBERED_MAX: usize = 20_000;

/// What is known of the locks that others want too.
#[derive(Debug)]
pub struct Habits {
    enabled: bool,
    of: BTreeMap<LockName, Habit>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Habit {
    useless: u32,
    off_for: Duration,
    off_until: Option<Instant>,
    /// Others look at it until then, as far as is known.
    watched_until: Option<Instant>,
    /// A claim of this sidecar let it go then.
    released: Option<Instant>,
}

impl Habits {
    /// Nothing is known; with `enabled` false nothing is ever kept.
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            of: BTreeMap::new(),
        }
    }

    /// Whether any lock is ever kept.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// How many tokens to ask for with a lock; 0 if it is not to be kept.
    pub fn block(&self, lock: &LockName, now: Instant) -> u32 {
        if self.keeps(lock, now) {
            BLOCK_FIRST
        } else {
            0
        }
    }

    /// Whether a lock is worth keeping: it was used here a short while ago, and others do not want it more.
    pub fn keeps(&self, lock: &LockName, now: Instant) -> bool {
        let off = |habit: &Habit| habit.off_until.is_some_and(|until| until > now);
        self.lines_up(lock, now) && !self.of.get(lock).is_some_and(off)
    }

    /// Whether those who wait for a lock here stand in line as one, kept or not: then a pod with many of
    /// them gets no more turns than one with few.
    pub fn lines_up(&self, lock: &LockName, now: Instant) -> bool {
        let Some(habit) = self.of.get(lock).filter(|_| self.enabled) else {
            return false;
        };
        let used = habit.released.is_some_and(|at| now.since(at) < USED_WITHIN);
        used && habit.watched_until.is_none_or(|until| until <= now)
    }

    /// A claim of this sidecar lets a lock go.
    pub fn released(&mut self, lock: &LockName, now: Instant) {
        if !self.enabled {
            return;
        }
        self.make_room(lock);
        match self.of.get_mut(lock) {
            Some(habit) => habit.released = Some(now),
            None => {
                let habit = Habit {
                    released: Some(now),
                    ..Habit::default()
                };
                self.of.insert(lock.clone(), habit);
            }
        }
    }

    /// Others look at a lock.
    pub fn watched(&mut self, lock: &LockName, now: Instant) {
        self.make_room(lock);
        let habit = self.of.entry(lock.clone()).or_default();
        habit.watched_until = Some(now + WATCHED_FOR);
    }

    /// A delegation was called back after `hits` claims that it saved from asking the core.
    pub fn recalled(&mut self, lock: &LockName, hits: u64, now: Instant) {
        if hits > 0 {
            if let Some(habit) = self.of.get_mut(lock) {
                *habit = Habit {
                    released: habit.released,
                    ..Habit::default()
                };
            }
            return;
        }
        self.make_room(lock);
        let habit = self.of.entry(lock.clone()).or_default();
        habit.useless += 1;
        if habit.useless >= USELESS_MAX {
            habit.off_for = (habit.off_for * 2).clamp(OFF_FIRST, OFF_MOST);
            habit.off_until = Some(now + habit.off_for);
            // Tried again after that, once: a single useless one then is enough.
            habit.useless = USELESS_MAX - 1;
        }
    }

    fn make_room(&mut self, lock: &LockName) {
        if self.of.len() >= REMEMBERED_MAX && !self.of.contains_key(lock) {
            self.of.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn a_lock_that_wanders_is_given_up_within_three_transfers_and_tried_again() {
        let lock = LockName::parse("a").expect("a name");
        let mut habits = Habits::new(true);
        assert!(!habits.keeps(&lock, at(0)), "it may never be used again");
        habits.released(&lock, at(0));
        assert!(habits.keeps(&lock, at(0)));
        habits.recalled(&lock, 0, at(0));
        assert!(habits.keeps(&lock, at(0)), "once proves little");
        habits.recalled(&lock, 0, at(0));
        assert!(!habits.keeps(&lock, at(0)));
        assert!(habits.keeps(&lock, at(1)));
        habits.recalled(&lock, 0, at(1));
        assert!(!habits.keeps(&lock, at(2)), "twice as long now");
        assert!(habits.keeps(&lock, at(3)));
        habits.recalled(&lock, 7, at(3));
        habits.recalled(&lock, 0, at(3));
        assert!(habits.keeps(&lock, at(3)), "a useful one clears its name");
    }

    #[test]
    fn what_was_not_used_for_a_while_is_not_kept() {
        let lock = LockName::parse("a").expect("a name");
        let mut habits = Habits::new(true);
        habits.released(&lock, at(0));
        assert!(habits.keeps(&lock, at(9)));
        assert!(!habits.keeps(&lock, at(10)));
    }

    #[test]
    fn disabled_it_keeps_nothing() {
        let lock = LockName::parse("a").expect("a name");
        let mut habits = Habits::new(false);
        habits.released(&lock, at(0));
        assert_eq!(habits.block(&lock, at(0)), 0);
    }
}
