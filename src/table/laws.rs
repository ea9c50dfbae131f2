//! Every invariant of the table as a named function, all run by [`check`]: tests call it after every step.
//! In: one table. Out: the first law it breaks, with what breaks it.
//! Never: code shared with the rules it judges, so that one slip cannot hide in both.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Mode, Want};
use super::history::HISTORY_MAX;
use super::id::{ClaimRef, LockName, PRIORITY_MAX, Seq, Token};
use super::queue::{Limits, Load};
use super::session::REPLIES_MAX;
use super::state::{Lock, PartyEntry, Place, Stage, Table};
use super::verify::FREE_LOCKS_MAX;
use order::{
    contended_locks_are_listed, deadlocks_are_indexed, inversions_are_the_cycles, order_is_as_seen,
};
use waits::{Ahead, no_deadlock_remains, no_waiter_could_be_granted};

mod order;
#[cfg(test)]
mod tests;
mod waits;

/// A waiter passed so often by priority goes before all that were not (design section 3).
const PASSES_BEFORE_PROMOTION: u32 = 64;

/// A law: what breaks it, or nothing.
pub type Law = fn(&Table) -> Result<(), String>;

/// All laws by name. The first ones say that the maps agree, which the later ones rely on.
pub const LAWS: &[(&str, Law)] = &[
    ("claims_are_well_formed", claims_are_well_formed),
    ("locks_agree_with_claims", locks_agree_with_claims),
    ("sums_agree_with_claims", sums_agree_with_claims),
    ("idle_locks_are_the_free_ones", idle_locks_are_the_free_ones),
    ("session_keys_agree", session_keys_agree),
    (
        "no_dead_session_holds_or_waits",
        no_dead_session_holds_or_waits,
    ),
    ("replies_are_kept_until_acked", replies_are_kept_until_acked),
    ("counters_lead", counters_lead),
    ("history_is_bounded", history_is_bounded),
    ("deadlocks_are_indexed", deadlocks_are_indexed),
    ("contended_locks_are_listed", contended_locks_are_listed),
    ("order_is_as_seen", order_is_as_seen),
    ("inversions_are_the_cycles", inversions_are_the_cycles),
    ("promotion_follows_passes", promotion_follows_passes),
    ("holders_are_compatible", holders_are_compatible),
    (
        "tokens_outrank_incompatible_ones",
        tokens_outrank_incompatible_ones,
    ),
    ("no_waiter_could_be_granted", no_waiter_could_be_granted),
    ("no_deadlock_remains", no_deadlock_remains),
];

/// A broken law.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the table breaks the law {law}: {what}")]
pub struct Violation {
    /// Its name in [`LAWS`].
    pub law: &'static str,
    /// What breaks it, for people.
    pub what: String,
}

/// Runs every law; near linear in the size of the table, for each round of the deadlock reduction.
///
/// # Errors
/// The first law broken, in the order of [`LAWS`].
pub fn check(table: &Table) -> Result<(), Violation> {
    for &(law, holds) in LAWS {
        holds(table).map_err(|what| Violation { law, what })?;
    }
    Ok(())
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// A claim wants at least one lock, none twice, permits within its limit, and holds a token for each.
fn claims_are_well_formed(table: &Table) -> Result<(), String> {
    for (name, claim) in &table.claims {
        let distinct: BTreeSet<&LockName> = claim.locks.iter().map(|want| &want.name).collect();
        ensure(
            !claim.locks.is_empty() && distinct.len() == claim.locks.len(),
            || format!("{name:?} wants no lock, or one twice: {:?}", claim.locks),
        )?;
        for want in claim.locks.iter() {
            if let Mode::Semaphore { permits, limit } = want.mode {
                ensure((1..=limit).contains(&permits), || {
                    format!("{name:?} wants {permits} permits of {limit}")
                })?;
            }
        }
        ensure(claim.priority <= PRIORITY_MAX, || {
            format!("{name:?} has priority {}", claim.priority)
        })?;
        if let Stage::Holding { tokens, .. } = &claim.stage {
            ensure(tokens.len() == claim.locks.len(), || {
                format!("{name:?} holds {} locks with {tokens:?}", claim.locks.len())
            })?;
        }
    }
    Ok(())
}

/// A lock's holders and queue are exactly the claims that hold and await it.
fn locks_agree_with_claims(table: &Table) -> Result<(), String> {
    let mut holders: BTreeMap<&LockName, BTreeSet<ClaimRef>> = BTreeMap::new();
    let mut queues: BTreeMap<&LockName, BTreeMap<Place, ClaimRef>> = BTreeMap::new();
    let mut arrivals = BTreeSet::new();
    for (&name, claim) in &table.claims {
        if let Stage::Waiting { place, .. } = &claim.stage {
            ensure(arrivals.insert(place.arrival), || {
                format!("{name:?} shares its arrival {} with another", place.arrival)
            })?;
        }
        for want in claim.locks.iter() {
            match &claim.stage {
                Stage::Waiting { place, .. } => {
                    queues.entry(&want.name).or_default().insert(*place, name);
                }
                Stage::Holding { .. } => {
                    holders.entry(&want.name).or_default().insert(name);
                }
            }
        }
    }
    for (name, lock) in &table.locks {
        let expected = holders.remove(name).unwrap_or_default();
        ensure(lock.holders.iter().eq(&expected), || {
            format!(
                "{name} lists the holders {:?}, claims say {expected:?}",
                lock.holders
            )
        })?;
        let expected = queues.remove(name).unwrap_or_default();
        ensure(lock.queue == expected, || {
            format!(
                "{name} lists the queue {:?}, claims say {expected:?}",
                lock.queue
            )
        })?;
    }
    ensure(holders.is_empty() && queues.is_empty(), || {
        format!("claims hold {holders:?} and await {queues:?}, which are no locks")
    })
}

/// What is counted of a lock's claims, and the list of each owner's claims, follow from the claims.
fn sums_agree_with_claims(table: &Table) -> Result<(), String> {
    let mut parties = BTreeSet::new();
    let mut sums: BTreeMap<&LockName, (Load, Limits)> = BTreeMap::new();
    for (&name, claim) in &table.claims {
        let holds = matches!(claim.stage, Stage::Holding { .. });
        parties.insert(PartyEntry {
            owner: (name.session, claim.owner.clone()),
            holds,
            seq: name.seq,
        });
        for want in claim.locks.iter() {
            let (used, limits) = sums.entry(&want.name).or_default();
            limits.add(want.mode);
            if holds {
                used.add(want.mode);
            }
        }
    }
    for (name, lock) in &table.locks {
        let (used, limits) = sums.remove(name).unwrap_or_default();
        ensure(lock.used == used && lock.limits == limits, || {
            format!("{name} is {lock:?}, claims add up to {used:?} and {limits:?}")
        })?;
    }
    ensure(table.parties == parties, || {
        format!("owners have {:?}, claims say {parties:?}", table.parties)
    })
}

/// The index of free locks names exactly those that nobody holds, awaits or keeps closed. There are no
/// more than a bound, and each has a token to be remembered for.
fn idle_locks_are_the_free_ones(table: &Table) -> Result<(), String> {
    let idle =
        |lock: &Lock| lock.holders.is_empty() && lock.queue.is_empty() && lock.closed.is_none();
    let locks = table.locks.iter().filter(|(_, lock)| idle(lock));
    let expected: BTreeSet<_> = locks
        .map(|(name, lock)| (lock.revision, name.clone()))
        .collect();
    ensure(table.free == expected, || {
        format!("{:?} are listed as free, {expected:?} are", table.free)
    })?;
    ensure(table.free.len() <= FREE_LOCKS_MAX, || {
        format!("{} free locks are remembered", table.free.len())
    })?;
    let useless = |name: &&LockName| {
        let lock = table.locks.get(*name);
        lock.is_none_or(|lock| lock.newest.any.is_none())
    };
    let useless = table.free.iter().map(|(_, name)| name).find(useless);
    ensure(useless.is_none(), || {
        format!("{useless:?} is remembered for no token")
    })
}

/// Every session is found by its key, and by no other.
fn session_keys_agree(table: &Table) -> Result<(), String> {
    let live = || {
        let all = table.sessions.iter();
        all.filter(|(_, session)| session.ending.is_none())
    };
    for (id, session) in live() {
        ensure(table.keys.get(&session.key) == Some(id), || {
            format!("session {id} is not found by its key {:?}", session.key)
        })?;
    }
    let sessions = live().count();
    ensure(table.keys.len() == sessions, || {
        format!("{} keys for {sessions} sessions", table.keys.len())
    })
}

/// Every claim belongs to a live session that has asked for it, or is held by one that is being ended.
fn no_dead_session_holds_or_waits(table: &Table) -> Result<(), String> {
    for name in table.claims.keys() {
        let session = table.sessions.get(&name.session);
        ensure(
            session.is_some_and(|session| (Seq(1)..=session.seq).contains(&name.seq)),
            || format!("{name:?} is of a session that is gone or never asked: {session:?}"),
        )?;
    }
    Ok(())
}

/// The kept replies are exactly those applied and not yet acknowledged, up to a bound.
fn replies_are_kept_until_acked(table: &Table) -> Result<(), String> {
    let mut kept = table.replies.keys().copied();
    for (&id, session) in &table.sessions {
        ensure(session.acked <= session.seq, || {
            format!(
                "session {id} acknowledged {} of {}",
                session.acked, session.seq
            )
        })?;
        ensure(session.seq.0 - session.acked.0 <= REPLIES_MAX, || {
            format!(
                "session {id} has replies from {} to {}",
                session.acked, session.seq
            )
        })?;
        for seq in session.acked.0 + 1..=session.seq.0 {
            let found = kept.next();
            ensure(found == Some((id, Seq(seq))), || {
                format!("the reply {seq} of session {id} should be kept, not {found:?}")
            })?;
        }
    }
    let rest = kept.next();
    ensure(rest.is_none(), || {
        format!("the reply {rest:?} is kept for nobody")
    })
}

/// No number in the table is ahead of the counter it was drawn from.
fn counters_lead(table: &Table) -> Result<(), String> {
    let counters = table.counters;
    let bound = |what: &str, number: u64, counter: u64| {
        ensure(number <= counter, || {
            format!("{what} {number} is ahead of {counter}")
        })
    };
    for claim in table.claims.values() {
        match &claim.stage {
            Stage::Waiting { place, .. } => bound("arrival", place.arrival, counters.arrival)?,
            Stage::Holding {
                tokens, granted, ..
            } => {
                bound("granted", granted.0, counters.revision.0)?;
                for token in tokens.iter() {
                    bound("token", token.get(), counters.token)?;
                }
            }
        }
    }
    for lock in table.locks.values() {
        bound("lock revision", lock.revision.0, counters.revision.0)?;
        bound(
            "delay",
            lock.closed.map_or(0, |closed| closed.delay.0),
            counters.delay.0,
        )?;
        bound(
            "newest token",
            lock.newest.any.map_or(0, Token::get),
            counters.token,
        )?;
    }
    let last = table.history.keys().next_back();
    bound(
        "history",
        last.map_or(0, |revision| revision.0),
        counters.revision.0,
    )
}

/// History is bounded.
fn history_is_bounded(table: &Table) -> Result<(), String> {
    let records = table.history.len();
    ensure(records <= HISTORY_MAX, || {
        format!("{records} records are kept")
    })
}

/// A waiter's rank is that of its class, or 0 once it was passed 64 times.
fn promotion_follows_passes(table: &Table) -> Result<(), String> {
    for (name, claim) in &table.claims {
        if let Stage::Waiting { place, passed } = &claim.stage {
            let promoted = *passed >= PASSES_BEFORE_PROMOTION;
            let rank = if promoted {
                0
            } else {
                PRIORITY_MAX + 1 - claim.priority
            };
            ensure(place.rank == rank, || {
                format!(
                    "{name:?}, passed {passed} times, has rank {}, not {rank}",
                    place.rank
                )
            })?;
        }
    }
    Ok(())
}

/// Holders of a lock are one exclusive claim, or shared ones, or semaphore ones; never mixed.
fn holders_are_compatible(table: &Table) -> Result<(), String> {
    for (name, lock) in &table.locks {
        let mut seen = Ahead::default();
        for holder in lock.holders.iter() {
            seen.add(mode(table, *holder, name)?);
        }
        let families = [seen.exclusive, seen.shared, seen.semaphore];
        let mixed = families.iter().filter(|count| **count > 0).count() > 1;
        ensure(!mixed && seen.exclusive <= 1, || {
            format!("{name} is held by incompatible claims: {:?}", lock.holders)
        })?;
    }
    Ok(())
}

/// Tokens in use are distinct; a holder's is above that of every exclusive holder before it,
/// and an exclusive holder's is the newest of its lock.
fn tokens_outrank_incompatible_ones(table: &Table) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (name, claim) in &table.claims {
        let Stage::Holding { tokens, .. } = &claim.stage else {
            continue;
        };
        for (want, token) in claim.locks.iter().zip(tokens.iter()) {
            ensure(seen.insert(*token), || {
                format!("token {token} is held twice")
            })?;
            let newest = lock(table, &want.name)?.newest;
            let right = match want.mode {
                Mode::Exclusive => newest.exclusive == Some(*token) && newest.any == Some(*token),
                Mode::Shared | Mode::Semaphore { .. } => {
                    newest.exclusive < Some(*token) && newest.any >= Some(*token)
                }
            };
            ensure(right, || {
                format!("{name:?} holds {want:?} with token {token}, the newest are {newest:?}")
            })?;
        }
    }
    for (name, lock) in &table.locks {
        ensure(lock.newest.exclusive <= lock.newest.any, || {
            format!(
                "{name} has a newest exclusive token above its newest: {:?}",
                lock.newest
            )
        })?;
    }
    Ok(())
}

fn mode(table: &Table, claim: ClaimRef, name: &LockName) -> Result<Mode, String> {
    let wants = |want: &&Want| want.name == *name;
    let claim = table.claims.get(&claim);
    claim
        .and_then(|claim| claim.locks.iter().find(wants))
        .map(|want| want.mode)
        .ok_or_else(|| format!("{name} lists a claim that does not want it"))
}

fn lock<'a>(table: &'a Table, name: &LockName) -> Result<&'a Lock, String> {
    let lock = table.locks.get(name).map(Box::as_ref);
    lock.ok_or_else(|| format!("{name} is no lock"))
}
