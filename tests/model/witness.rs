//! The invariants that span a step: tokens rise, no inversion, permits in limits, watchers told.
//! In: what was before and after one command. Out: a panic that names the claims. Never: the table's own rules.

use std::collections::{BTreeMap, BTreeSet};

use sidelock::table::command::{Command, Mode, Reply};
use sidelock::table::id::{ClaimRef, LockName};
use sidelock::table::state::{Closed, Counters};

use super::heard::{Heard, Past};
use super::run::Run;
use super::slow::Claim;

type Visible = (Vec<ClaimRef>, Vec<ClaimRef>, Option<Closed>);

/// What was visible before a command.
pub struct Before {
    counters: Counters,
    locks: BTreeMap<LockName, Visible>,
}

impl Before {
    pub fn new(run: &Run) -> Self {
        Self {
            counters: run.table.counters(),
            locks: visible(run),
        }
    }

    /// Panics if the command led from there to here by an illegal way.
    pub fn judge(&self, run: &Run, command: &Command, heard: &Heard) {
        let (before, after) = (self.counters, run.table.counters());
        let rises = before.revision <= after.revision
            && before.token <= after.token
            && before.delay <= after.delay
            && before.arrival <= after.arrival;
        assert!(rises, "a counter fell: {before:?} to {after:?}");
        for revision in &heard.revisions {
            let here = before.revision < *revision && *revision <= after.revision;
            assert!(
                here,
                "told {revision}, not within {} to {}",
                before.revision, after.revision
            );
        }
        if let Reply::SessionOpened { session, .. } = &heard.raw {
            let fresh = session.0 > before.revision.0;
            let same = |timer: &super::heard::Told| matches!(timer, super::heard::Told::Timer(..));
            assert_eq!(
                fresh,
                heard.told.iter().any(same),
                "only a fresh session has a timer"
            );
        }
        let past = run.past_since(before.revision);
        if !matches!(command, Command::TrimHistory { .. }) {
            assert_eq!(
                past, run.slow.past,
                "left: the table's history, right: the model's"
            );
        }
        self.tokens_rise(&past);
        for granted in past.iter().filter_map(granted) {
            if let Some(claim) = run.slow.claim(granted) {
                no_inversion(run, claim);
                permits_are_within_limits(run, claim);
            }
        }
        self.watchers_are_told(run, heard);
    }

    /// Every token is above all that were handed out before it, of any lock: so also above those of
    /// incompatible holders of its own.
    fn tokens_rise(&self, past: &[Past]) {
        let mut last = self.counters.token;
        for event in past {
            if let Past::Granted(name, tokens) = event {
                for token in tokens {
                    assert!(last < *token, "{name:?} got token {token} after {last}");
                    last = *token;
                }
            }
        }
    }

    fn watchers_are_told(&self, run: &Run, heard: &Heard) {
        let now = visible(run);
        let names: BTreeSet<&LockName> = self.locks.keys().chain(now.keys()).collect();
        let nothing = || (Vec::new(), Vec::new(), None);
        for name in names {
            let old = self.locks.get(name).cloned().unwrap_or_else(nothing);
            let new = now.get(name).cloned().unwrap_or_else(nothing);
            let told = heard
                .changed
                .iter()
                .filter(|changed| *changed == name)
                .count();
            assert!(told <= 1, "{name} changed {told} times in one command");
            assert!(
                old == new || told == 1,
                "nobody was told that {name} changed"
            );
        }
    }
}

fn granted(past: &Past) -> Option<ClaimRef> {
    match past {
        Past::Granted(name, _) => Some(*name),
        _ => None,
    }
}

fn visible(run: &Run) -> BTreeMap<LockName, Visible> {
    let locks = run.table.locks_after(None);
    let visible = locks.map(|(name, lock)| {
        let holders = lock.holders.iter().copied().collect();
        let queue = lock.queue.values().copied().collect();
        (name.clone(), (holders, queue, lock.closed))
    });
    visible.collect()
}

/// Nobody of the same class who came before waits for one of these locks in an incompatible mode.
fn no_inversion(run: &Run, granted: &Claim) {
    if granted.passed >= 64 {
        return; // promoted: a class of its own
    }
    for waiter in run.slow.claims.iter().filter(|other| other.waits()) {
        if waiter.priority != granted.priority || waiter.arrival > granted.arrival {
            continue;
        }
        for want in &granted.wants {
            let beside = match (waiter.mode(&want.name), want.mode) {
                (None, _) | (Some(Mode::Shared), Mode::Shared) => true,
                (Some(Mode::Semaphore { permits, .. }), Mode::Semaphore { .. }) => {
                    let limit = run.slow.limit(&want.name).unwrap_or(0);
                    held(run, &want.name) + u64::from(permits.min(limit)) <= u64::from(limit)
                }
                (Some(_), _) => false,
            };
            assert!(
                beside,
                "{granted:?} was granted before {waiter:?}, which came first"
            );
        }
    }
}

/// A grant never brings the permits held beyond the limit in force, but for one that was accepted under
/// a greater limit and now holds all alone.
fn permits_are_within_limits(run: &Run, granted: &Claim) {
    for want in &granted.wants {
        if let Mode::Semaphore { permits, .. } = want.mode {
            let limit = run.slow.limit(&want.name).unwrap_or(0);
            let (held, most) = (held(run, &want.name), u64::from(limit.max(permits)));
            assert!(
                held <= most,
                "{held} permits of {} are held, of {most}",
                want.name
            );
        }
    }
}

fn held(run: &Run, name: &LockName) -> u64 {
    let holders = run.slow.claims.iter().filter(|claim| !claim.waits());
    let permits = holders.filter_map(|claim| match claim.mode(name) {
        Some(Mode::Semaphore { permits, .. }) => Some(u64::from(permits)),
        Some(Mode::Exclusive | Mode::Shared) | None => None,
    });
    permits.sum()
}
