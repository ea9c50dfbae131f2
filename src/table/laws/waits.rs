//! The laws of waiting: who is kept from a lock by whom, worked out anew from the claims before it.
//! In: one table. Out: a waiter that could be granted, or owners that wait for each other.
//! Never: code shared with `queue.rs` or `deadlock.rs`, which these laws judge.

use std::collections::BTreeSet;

use super::super::command::Mode;
use super::super::delegation::{Patience, Pledge};
use super::super::id::{ClaimRef, LockName, OwnerId, SessionId};
use super::super::state::{Claim, Lock, Stage, Table};
use super::{ensure, mode};

/// Each waiter is kept from at least one of its locks: by a delay, a holder or a waiter before it.
pub(super) fn no_waiter_could_be_granted(table: &Table) -> Result<(), String> {
    let blocked = blocked(
        table,
        |_| true,
        |lock, apart| lock.closed.is_some() || apart,
    )?;
    for (name, claim) in &table.claims {
        let waits = matches!(claim.stage, Stage::Waiting { .. });
        ensure(!waits || blocked.contains(name), || {
            format!("{name:?} waits for {:?}, which it could have", claim.locks)
        })?;
    }
    Ok(())
}

/// Taking away every owner that could finish, again and again, leaves nobody.
/// A lock-delay keeps nobody for ever, so it counts for nothing here; nor does a delegation, whose local
/// users wait for nothing else, nor another limit, which ends in a grant or a refusal.
pub(super) fn no_deadlock_remains(table: &Table) -> Result<(), String> {
    let is_lent = |name: &ClaimRef| matches!(table.pledges.get(name), Some(Pledge::Given { .. }));
    let mut left: BTreeSet<Owner<'_>> = table
        .claims
        .iter()
        .filter(|(name, _)| !is_lent(name))
        .map(|(name, claim)| owner(name, claim))
        .collect();
    loop {
        let here = |name: ClaimRef| {
            table
                .claims
                .get(&name)
                .is_some_and(|claim| !is_lent(&name) && left.contains(&owner(&name, claim)))
        };
        let stuck: BTreeSet<Owner<'_>> = blocked(table, here, |_, _| false)?
            .iter()
            .filter_map(|name| table.claims.get_key_value(name))
            .map(|(name, claim)| owner(name, claim))
            .collect();
        if stuck == left {
            break;
        }
        left = stuck;
    }
    ensure(left.is_empty(), || {
        format!("these owners wait for each other: {left:?}")
    })
}

/// One sequential party: an owner within a session.
type Owner<'a> = (SessionId, &'a OwnerId);

fn owner<'a>(name: &ClaimRef, claim: &'a Claim) -> Owner<'a> {
    (name.session, &claim.owner)
}

/// The claims before a place in one queue, holders first, added up by mode.
#[derive(Default)]
pub(super) struct Ahead {
    pub(super) exclusive: u32,
    pub(super) shared: u32,
    pub(super) semaphore: u32,
    permits: u64,
    limits: BTreeSet<u32>,
}

impl Ahead {
    pub(super) fn add(&mut self, mode: Mode) {
        match mode {
            Mode::Exclusive => self.exclusive += 1,
            Mode::Shared => self.shared += 1,
            Mode::Semaphore { permits, limit } => {
                self.semaphore += 1;
                self.permits += u64::from(permits);
                self.limits.insert(limit);
            }
        }
    }

    /// Whether permits are counted differently by these than by the claim.
    fn states_other_limit_than(&self, mode: Mode) -> bool {
        let Mode::Semaphore { limit: own, .. } = mode else {
            return false;
        };
        self.limits.iter().any(|limit| *limit != own)
    }

    /// A claim accepted under a greater limit than there is now needs all permits that there are.
    fn admits(&self, mode: Mode, limit: u32) -> bool {
        match mode {
            Mode::Exclusive => self.exclusive + self.shared + self.semaphore == 0,
            Mode::Shared => self.exclusive + self.semaphore == 0,
            Mode::Semaphore { permits, .. } => {
                self.exclusive + self.shared == 0
                    && self.permits + u64::from(permits.min(limit)) <= u64::from(limit)
            }
        }
    }
}

/// The waiting claims among those that are `here` that those before them keep from a lock, or the lock itself:
/// `in_the_way` is also told whether the claim tries for another limit than those before it.
fn blocked(
    table: &Table,
    here: impl Fn(ClaimRef) -> bool,
    in_the_way: impl Fn(&Lock, bool) -> bool,
) -> Result<BTreeSet<ClaimRef>, String> {
    let mut blocked = BTreeSet::new();
    for (name, lock) in &table.locks {
        let limit = limit(table, name, lock)?;
        let by_policy = policy_limit(table, name).is_some();
        let mut ahead = Ahead::default();
        for holder in lock.holders.iter().filter(|holder| here(**holder)) {
            ahead.add(mode(table, *holder, name)?);
        }
        for waiter in lock.queue.values().filter(|waiter| here(**waiter)) {
            let mode = mode(table, *waiter, name)?;
            let tries = matches!(
                table.pledges.get(waiter),
                Some(Pledge::Asked { patience, .. }) if *patience != Patience::Turn
            );
            let apart = tries && !by_policy && ahead.states_other_limit_than(mode);
            if in_the_way(lock, apart) || !ahead.admits(mode, limit) {
                blocked.insert(*waiter);
            }
            ahead.add(mode);
        }
    }
    Ok(blocked)
}

fn policy_limit(table: &Table, name: &LockName) -> Option<u32> {
    let matching = table.policies.iter();
    let matching = matching.filter(|(prefix, _)| name.as_str().starts_with(&***prefix));
    let policy = matching.max_by_key(|(prefix, _)| prefix.len());
    policy.and_then(|(_, policy)| policy.semaphore_limit)
}

/// The limit in force of a semaphore: that of the longest matching policy, else the least that a live
/// claim states. Zero where nobody asks for permits.
fn limit(table: &Table, name: &LockName, lock: &Lock) -> Result<u32, String> {
    if let Some(limit) = policy_limit(table, name) {
        return Ok(limit);
    }
    let mut least = None;
    for claim in lock.holders.iter().chain(lock.queue.values()) {
        if let Mode::Semaphore { limit, .. } = mode(table, *claim, name)? {
            least = Some(least.map_or(limit, |least: u32| least.min(limit)));
        }
    }
    Ok(least.unwrap_or(0))
}
