//! PURE: who waits for one lock at this sidecar, and who is next.
//! In: claims that come, leave, or are given the lock. Out: the next one, and what is before one.
//! Never: a walk over all that wait, where a thousand do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::hold::Key;
use crate::table::command::Mode;
use crate::table::queue::PASSED_MAX;

/// A claim that waits here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Which.
    pub key: Key,
    /// How it wants the lock.
    pub mode: Mode,
    /// Its class.
    pub priority: u8,
    /// How often a later claim of a higher class went before it.
    passed: u32,
}

/// Those that wait. Keys ascend with arrival.
#[derive(Debug, Default)]
pub struct Turns {
    by_arrival: BTreeMap<Key, Waiter>,
    by_class: BTreeSet<(Reverse<u8>, Key)>,
    /// Those that were passed too often: they go before all others.
    promoted: BTreeSet<Key>,
    readers: usize,
}

impl Turns {
    /// A claim comes, after all that came.
    pub fn push(&mut self, key: Key, mode: Mode, priority: u8) {
        let waiter = Waiter {
            key,
            mode,
            priority,
            passed: 0,
        };
        self.readers += usize::from(mode == Mode::Shared);
        self.by_arrival.insert(key, waiter);
        self.by_class.insert((Reverse(priority), key));
    }

    /// A claim leaves.
    pub fn remove(&mut self, key: Key) {
        if let Some(waiter) = self.by_arrival.remove(&key) {
            self.readers -= usize::from(waiter.mode == Mode::Shared);
            self.by_class.remove(&(Reverse(waiter.priority), key));
            self.promoted.remove(&key);
        }
    }

    /// The next claim is given the lock, and leaves; earlier ones of lower classes were passed by it.
    pub fn take(&mut self, waiter: Waiter) {
        self.remove(waiter.key);
        let Some(lower) = waiter.priority.checked_sub(1) else {
            return;
        };
        for (_, key) in self.by_class.range((Reverse(lower), Key(0))..) {
            if *key < waiter.key
                && let Some(passed) = self.by_arrival.get_mut(key)
            {
                passed.passed += 1;
                if passed.passed >= PASSED_MAX {
                    self.promoted.insert(*key);
                }
            }
        }
    }

    /// Who is next: the first that was passed too often, else the first of the highest class.
    pub fn best(&self) -> Option<Waiter> {
        let promoted = self.promoted.first();
        let key = promoted.or_else(|| self.by_class.first().map(|(_, key)| key))?;
        self.get(*key)
    }

    /// The highest class of them.
    pub fn priority(&self) -> u8 {
        let highest = self.by_class.first();
        highest.map_or(0, |(Reverse(priority), _)| *priority)
    }

    /// Whether any of them would share the lock.
    pub fn has_readers(&self) -> bool {
        self.readers > 0
    }

    /// A claim, if it waits.
    pub fn get(&self, key: Key) -> Option<Waiter> {
        self.by_arrival.get(&key).copied()
    }

    /// All, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Waiter> + '_ {
        self.by_arrival.values().copied()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_arrival.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_arrival.is_empty()
    }

    /// How many came before a claim. Who comes last, as nearly all do, is told without counting.
    pub fn before(&self, key: Key) -> usize {
        let last = self.by_arrival.last_key_value().map(|(last, _)| *last);
        if last.is_some_and(|last| last <= key) {
            return self.len() - usize::from(last == Some(key));
        }
        self.by_arrival.range(..key).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as a plain list, as slow as can be.
    #[derive(Default)]
    struct Plain(Vec<Waiter>);

    impl Plain {
        fn best(&self) -> Option<Waiter> {
            let passed = self.0.iter().find(|waiter| waiter.passed >= PASSED_MAX);
            let first = |class| self.0.iter().find(|waiter| waiter.priority == class);
            let highest = self.0.iter().map(|waiter| waiter.priority).max();
            passed.or_else(|| first(highest?)).copied()
        }

        fn take(&mut self, taken: Waiter) {
            self.0.retain(|waiter| waiter.key != taken.key);
            for waiter in &mut self.0 {
                let lower = waiter.priority < taken.priority && waiter.key < taken.key;
                waiter.passed += u32::from(lower);
            }
        }
    }

    #[test]
    fn they_are_in_the_order_of_a_plain_list() {
        let (mut turns, mut plain) = (Turns::default(), Plain::default());
        let mut promoted = 0;
        let mut random = 7_u64;
        for turn in 1..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let dice = (random >> 33) % 100;
            if dice < 45 {
                // Rarely of the lowest class, so that those wait long.
                let priority = [2, 2, 2, 1, 0][usize::try_from(dice % 5).expect("small")];
                turns.push(Key(turn), Mode::Exclusive, priority);
                plain.0.push(turns.get(Key(turn)).expect("it waits"));
            } else if dice < 50 {
                let key = Key(turn.saturating_sub(dice % 40));
                turns.remove(key);
                plain.0.retain(|waiter| waiter.key != key);
            } else if let Some(next) = turns.best() {
                promoted += u32::from(next.passed >= PASSED_MAX);
                turns.take(next);
                plain.take(next);
            }
            assert_eq!(turns.best(), plain.best());
            assert!(turns.iter().eq(plain.0.iter().copied()));
            let highest = plain.0.iter().map(|waiter| waiter.priority).max();
            assert_eq!(turns.priority(), highest.unwrap_or(0));
            let somewhere = Key(turn.saturating_sub(dice));
            let before = plain.0.iter().filter(|waiter| waiter.key < somewhere);
            assert_eq!(turns.before(somewhere), before.count());
            assert_eq!(turns.is_empty(), plain.0.is_empty());
        }
        assert!(promoted > 0, "nobody was passed too often");
    }
}
