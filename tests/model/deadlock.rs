//! Deadlock by brute force, word for word as in section 3 of the design.
//! In: the slow model. Out: the owners on a cycle of what remains. Never: a graph kept between steps.

use std::collections::BTreeSet;

use sidelock::table::command::{CycleEdge, Mode};
use sidelock::table::id::{ClaimRef, LockName, OwnerId, SessionId};

use super::slow::{Claim, Slow};

/// Claims of one owner of one session are one party.
pub type Party = (SessionId, OwnerId);

fn party(claim: &Claim) -> Party {
    (claim.name.session, claim.owner.clone())
}

/// Owners that cannot finish: what remains after repeatedly removing every owner of which all waits
/// would fit if those removed had released. A lock-delay ends by itself, so it does not count.
pub fn remaining(slow: &Slow) -> BTreeSet<Party> {
    let mut remaining: BTreeSet<Party> = slow.claims.iter().map(party).collect();
    loop {
        let could_finish = |owner: &Party| {
            let mut waits = slow
                .claims
                .iter()
                .filter(|claim| party(claim) == *owner && claim.waits());
            waits.all(|claim| {
                claim
                    .wants
                    .iter()
                    .all(|want| fits(slow, claim, &want.name, &remaining))
            })
        };
        let Some(free) = remaining.iter().find(|owner| could_finish(owner)).cloned() else {
            return remaining;
        };
        remaining.remove(&free);
    }
}

/// Owners that can be reached from themselves along waits among those that remain.
pub fn on_cycles(slow: &Slow) -> BTreeSet<Party> {
    if !slow.claims.iter().any(Claim::waits) {
        return BTreeSet::new();
    }
    let remaining = remaining(slow);
    let blockers = |owner: &Party| -> BTreeSet<Party> {
        let waits = slow
            .claims
            .iter()
            .filter(|claim| party(claim) == *owner && claim.waits());
        waits
            .flat_map(|claim| claim.wants.iter().map(move |want| (claim, &want.name)))
            .filter(|(claim, lock)| !fits(slow, claim, lock, &remaining))
            .flat_map(|(claim, lock)| {
                slow.ahead(claim, lock)
                    .map(move |other| (claim, lock, other))
            })
            .filter(|(claim, lock, other)| keeps_out(other, claim, lock))
            .map(|(_, _, other)| party(other))
            .filter(|other| remaining.contains(other))
            .collect()
    };
    let is_on_cycle = |owner: &Party| {
        let mut reached = BTreeSet::new();
        let mut todo = vec![owner.clone()];
        while let Some(next) = todo.pop() {
            todo.extend(
                blockers(&next)
                    .into_iter()
                    .filter(|other| reached.insert(other.clone())),
            );
        }
        reached.contains(owner)
    };
    remaining
        .iter()
        .filter(|owner| is_on_cycle(owner))
        .cloned()
        .collect()
}

/// Panics unless `victim` is the youngest waiting claim of a real cycle, told edge by edge.
pub fn judge(slow: &Slow, victim: ClaimRef, cycle: &[CycleEdge]) {
    let remaining = remaining(slow);
    let live = |name| slow.claim(name).expect("a cycle is of live claims");
    assert!(
        !cycle.is_empty(),
        "a deadlock without a cycle, of {victim:?}"
    );
    let mut waiting = Vec::new();
    for (edge, next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
        let (waiter, blocker) = (live(edge.waiter.claim), live(edge.blocker.claim));
        assert_eq!(edge.waiter, super::heard::party(waiter));
        assert_eq!(edge.blocker, super::heard::party(blocker));
        assert_eq!(
            party(blocker),
            party(live(next.waiter.claim)),
            "the cycle is broken: {cycle:?}"
        );
        assert!(
            remaining.contains(&party(waiter)),
            "{waiter:?} could finish, in {cycle:?}"
        );
        assert!(
            waiter.waits() && !fits(slow, waiter, &edge.lock, &remaining),
            "{edge:?} is no wait"
        );
        assert_eq!(edge.held, !blocker.waits(), "{edge:?} is told wrong");
        let ahead = slow
            .ahead(waiter, &edge.lock)
            .any(|other| other.name == blocker.name);
        assert!(
            ahead && keeps_out(blocker, waiter, &edge.lock),
            "{edge:?} is no edge"
        );
        waiting.push(waiter);
        waiting.extend(Some(blocker).filter(|blocker| blocker.waits()));
    }
    let youngest = waiting
        .iter()
        .max_by_key(|claim| claim.arrival)
        .map(|claim| claim.name);
    assert_eq!(
        Some(victim),
        youngest,
        "the victim is not the youngest of {cycle:?}"
    );
}

/// Whether a wait would fit if only the owners that remain had claims.
fn fits(slow: &Slow, claim: &Claim, lock: &LockName, remaining: &BTreeSet<Party>) -> bool {
    let ahead = slow
        .ahead(claim, lock)
        .filter(|other| remaining.contains(&party(other)));
    slow.fits(claim, lock, ahead)
}

/// Whether one claim is among those because of which another does not fit.
fn keeps_out(other: &Claim, claim: &Claim, lock: &LockName) -> bool {
    let both = (other.mode(lock), claim.mode(lock));
    both.0.is_some() && both != (Some(Mode::Shared), Some(Mode::Shared))
}
