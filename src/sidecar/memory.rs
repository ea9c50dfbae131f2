//! PURE: what was last seen of each lock, for when no core node answers.
//! In: answers of the core. Out: the same again, with their age. Never: without it, or without a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use super::handle::{Page, Read};
use crate::table::id::LockName;
use crate::table::view::{LockStateFilter, LockView};
use crate::world::clock::Instant;

/// Most locks that are remembered; beyond, the one seen longest ago is forgotten. Some 2 MB.
pub const REMEMBERED_MAX: usize = 4_096;

/// Locks by the core's names.
#[derive(Debug, Default)]
pub struct Memory {
    locks: BTreeMap<LockName, Seen>,
    by_time: BTreeSet<(Instant, LockName)>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    view: LockView,
}

impl Memory {
    /// The core said this of a lock, as of then.
    pub fn note(&mut self, view: &LockView, at: Instant) {
        if self.locks.get(&view.name).is_some_and(|seen| seen.at > at) {
            return; // an older answer that took longer
        }
        let seen = Seen {
            at,
            view: view.clone(),
        };
        if let Some(before) = self.locks.insert(view.name.clone(), seen) {
            self.by_time.remove(&(before.at, view.name.clone()));
        }
        self.by_time.insert((at, view.name.clone()));
        if self.locks.len() > REMEMBERED_MAX
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.locks.remove(&oldest);
        }
    }

    /// A lock as it was seen last.
    pub fn lock(&self, name: &LockName, now: Instant) -> Option<Read<LockView>> {
        let seen = self.locks.get(name)?;
        Some(stale(seen.view.clone(), now.since(seen.at)))
    }

    /// The locks in use as they were seen last, by name. It tells the age of the oldest.
    pub fn locks(
        &self,
        prefix: &str,
        state: Option<LockStateFilter>,
        limit: usize,
        after: &str,
        now: Instant,
    ) -> Option<Read<Page<LockView>>> {
        let from = if after < prefix {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        let mut found = self
            .locks
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(prefix))
            .filter(|(_, seen)| seen.view.is_in(state));
        let mut items = Vec::new();
        let mut age = None;
        for (_, seen) in found.by_ref().take(limit) {
            age = age.max(Some(now.since(seen.at)));
            items.push(seen.view.clone());
        }
        let last = items.last().map(|view| view.name.to_string());
        let next_cursor = last.filter(|_| found.next().is_some());
        Some(stale(Page { items, next_cursor }, age?))
    }
}

fn stale<T>(value: T, age: Duration) -> Read<T> {
    Read {
        value,
        linearizable: false,
        age,
    }
}
