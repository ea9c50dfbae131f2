//! The laws of what is remembered: orders of classes, the indexes of deadlocks and of contended locks.
//! In: one table. Out: an edge that says what was not seen, a contradiction that was not told, a wrong index.
//! Never: code shared with `order.rs`, which these laws judge.

use std::collections::{BTreeMap, BTreeSet};

use super::super::command::EndCause;
use super::super::id::LockName;
use super::super::state::{HistoryEvent, Table};
use super::ensure;

/// Most edges that are kept.
const EDGES_MAX: usize = 4_096;

/// An edge leads from one class to another, counts, and has a sample of both that is not from the future.
pub(super) fn order_is_as_seen(table: &Table) -> Result<(), String> {
    ensure(table.order.len() <= EDGES_MAX, || {
        format!("{} edges between classes are kept", table.order.len())
    })?;
    for ((before, after), edge) in &table.order {
        let sample = &edge.sample;
        let right = before != after
            && edge.count > 0
            && sample.revision <= table.counters.revision
            && is_of(&sample.held, before.as_str())
            && is_of(&sample.taken, after.as_str());
        ensure(right, || {
            format!("{before} before {after} cannot be as {edge:?}")
        })?;
    }
    Ok(())
}

/// What is told as an inversion is a cycle of edges; the edges that are none contain no cycle.
pub(super) fn inversions_are_the_cycles(table: &Table) -> Result<(), String> {
    for (key, edge) in table.order.iter().filter(|(_, it)| !it.closes.is_empty()) {
        let (first, rest) = (edge.closes.iter(), edge.closes.iter().cycle().skip(1));
        let mut steps = first.zip(rest);
        let begins =
            edge.closes.len() > 1 && (&edge.closes[0], &edge.closes[1]) == (&key.0, &key.1);
        let broken = steps.find(|(before, after)| {
            let step = ((*before).clone(), (*after).clone());
            !table.order.contains_key(&step)
        });
        ensure(begins && broken.is_none(), || {
            format!("{key:?} closes no such cycle: {:?}", edge.closes)
        })?;
    }
    let mut left: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for ((before, after), _) in table.order.iter().filter(|(_, it)| it.closes.is_empty()) {
        left.entry(before.as_str())
            .or_default()
            .insert(after.as_str());
    }
    loop {
        // Whoever leads nowhere is on no cycle.
        let ends = |after: &&str| !left.contains_key(after);
        let done: Vec<&str> = left
            .iter()
            .filter(|(_, afters)| afters.iter().all(ends))
            .map(|(before, _)| *before)
            .collect();
        if done.is_empty() {
            break;
        }
        for before in done {
            left.remove(before);
        }
    }
    ensure(left.is_empty(), || {
        format!("orders that contradict each other and were not told: {left:?}")
    })
}

/// The index of deadlocks names exactly the records of victims, each with its cycle.
pub(super) fn deadlocks_are_indexed(table: &Table) -> Result<(), String> {
    let mut expected = BTreeSet::new();
    for (revision, record) in &table.history {
        let cycle = match &record.event {
            HistoryEvent::Deadlocked { cycle } => cycle,
            HistoryEvent::Left { cause, cycle } if *cause == EndCause::Deadlock => cycle,
            HistoryEvent::Left { cycle, .. } => {
                ensure(cycle.is_empty(), || {
                    format!("a cycle without a deadlock: {record:?}")
                })?;
                continue;
            }
            HistoryEvent::Queued
            | HistoryEvent::Granted { .. }
            | HistoryEvent::Ended { .. }
            | HistoryEvent::BreakAsked { .. } => continue,
        };
        ensure(!cycle.is_empty(), || {
            format!("a deadlock without a cycle: {record:?}")
        })?;
        expected.insert(*revision);
    }
    ensure(table.deadlocks == expected, || {
        format!(
            "{:?} are listed as deadlocks, {expected:?} are",
            table.deadlocks
        )
    })
}

/// The index of contended locks names exactly those with a queue.
pub(super) fn contended_locks_are_listed(table: &Table) -> Result<(), String> {
    let locks = table.locks.iter();
    let queued = locks.filter(|(_, lock)| !lock.queue.is_empty());
    let expected: BTreeSet<LockName> = queued.map(|(name, _)| name.clone()).collect();
    ensure(table.contended == expected, || {
        format!(
            "{:?} are listed as contended, {expected:?} are",
            table.contended
        )
    })
}

/// Whether a lock is of a class: the first part of its name between slashes that has a text.
fn is_of(lock: &LockName, class: &str) -> bool {
    let bare = lock.as_str().trim_start_matches('/');
    if bare.is_empty() {
        return lock.as_str() == class;
    }
    let rest = bare.strip_prefix(class);
    !class.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
