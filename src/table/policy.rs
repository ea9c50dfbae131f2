//! Which policy holds for a lock: the one of its longest name prefix.
//! In: a lock's name. Out: its policy with the prefix that set it. Never: a walk over all policies.

use std::ops::Bound;
use std::sync::Arc;

use super::apply::Step;
use super::command::Policy;
use super::id::LockName;
use super::state::{Key, Lock, Table};

/// Most claims that wait for one lock, unless a policy says otherwise. At some 1 KiB each that is
/// 10 MiB; whoever is number 10,001 is better told at once.
pub const WAITERS_MAX: u32 = 10_000;

impl Table {
    /// The policy in force for a lock, with its prefix.
    pub fn policy_of(&self, name: &LockName) -> Option<(&Arc<str>, &Policy)> {
        let name = name.as_str();
        let mut bound = name.len();
        while !self.policies.is_empty() {
            let (prefix, policy) = self
                .policies
                .range::<str, _>(below(&name[..bound]))
                .next_back()?;
            if name.starts_with(prefix.as_ref()) {
                return Some((prefix, policy));
            }
            // `prefix` sorts before the name and parts from it after `common` bytes. A longer prefix
            // of the name would sort between the two, so the longest has at most `common` bytes.
            let common = prefix
                .bytes()
                .zip(name.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            bound = name.floor_char_boundary(common);
        }
        None
    }

    /// The limit in force of a semaphore: its policy's, else the least that a live claim states (they
    /// only differ after a policy went away), else none.
    pub(super) fn limit_of(&self, name: &LockName, lock: Option<&Lock>) -> Option<u32> {
        self.policy_limit_of(name)
            .or_else(|| lock.and_then(|lock| lock.limits.least()))
    }

    /// The limit that a policy fixes.
    pub(super) fn policy_limit_of(&self, name: &LockName) -> Option<u32> {
        self.policy_of(name)
            .and_then(|(_, policy)| policy.semaphore_limit)
    }

    /// How many claims may wait for a lock, and the prefix that says so (empty for the built-in bound).
    pub(super) fn waiters_max_of(&self, name: &LockName) -> (u32, Arc<str>) {
        match self.policy_of(name) {
            Some((prefix, policy)) if policy.waiters_max.is_some() => {
                (policy.waiters_max.unwrap_or(WAITERS_MAX), prefix.clone())
            }
            Some(_) | None => (WAITERS_MAX, Arc::from("")),
        }
    }

    /// How long a lock stays closed after a holder died; 0 for not at all.
    pub(super) fn lock_delay_of(&self, name: &LockName) -> u32 {
        self.policy_of(name)
            .map_or(0, |(_, policy)| policy.lock_delay_ms)
    }

    /// Sets or removes a policy. It binds claims and deaths from now on; nothing is revoked and no
    /// delay that runs is shortened. Another semaphore limit may let waiters in, or make them wait for
    /// others than before, so those of every contended lock under the prefix are looked at again.
    pub(super) fn set_policy(
        &mut self,
        step: &mut Step,
        prefix: &Arc<str>,
        policy: Option<Policy>,
    ) {
        let before = match policy {
            Some(policy) => self.policies.insert(prefix.clone(), policy),
            None => self.policies.remove(prefix),
        };
        self.dirty.insert(Key::Policy(prefix.clone()));
        // A policy that comes or goes uncovers or shadows that of a shorter prefix, whatever its own
        // limit. Only one that is replaced by its like changes nothing.
        let limit = |policy: Policy| policy.semaphore_limit;
        if before.map(limit) == policy.map(limit) {
            return;
        }
        let mut kept = Vec::new();
        let under = self
            .locks
            .range::<str, _>((Bound::Included(prefix.as_ref()), Bound::Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(prefix.as_ref()));
        for (name, lock) in under {
            if !lock.queue.is_empty() {
                step.freed.insert(name.clone());
                step.tried.insert(name.clone());
            }
            if lock.limits.least().is_some() {
                kept.push(name.clone());
            }
        }
        for name in kept {
            if let Some(limit) = self.policy_limit_of(&name) {
                self.recall_for_limit(step, &name, limit);
            }
        }
        let freed: Vec<LockName> = step.freed.iter().cloned().collect();
        for name in freed {
            self.suspect_waiters(step, &name);
        }
    }

    /// Another limit of a lock may make any of its waiters wait for others than before.
    pub(super) fn suspect_waiters(&self, step: &mut Step, name: &LockName) {
        let Some(lock) = self.locks.get(name) else {
            return;
        };
        let waiters = lock.queue.values();
        step.suspects
            .extend(waiters.map(|waiter| self.owner_of(*waiter)));
    }
}

fn below(text: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Unbounded, Bound::Included(text))
}
