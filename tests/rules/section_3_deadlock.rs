//! Section 3: deadlocks, found exactly, in the entry that closes them.
//! In: owners that hold and wait. Out: the whole cycle, the youngest waiter gone. Never: a false one.

use sidelock::table::command::*;
use sidelock::table::id::*;

use crate::cell::*;

#[test]
fn rule_3_deadlock_is_found_in_the_entry_that_closes_it_with_the_whole_cycle() {
    let (mut cell, s) = Cell::with_sessions(3);
    let locks = ["a", "b", "c"];
    for (at, owner) in ["anna", "bert", "carl"].into_iter().enumerate() {
        cell.granted(s[at], &[(locks[at], X)], owned(owner));
    }
    cell.queued(s[0], &[("b", X)], owned("anna"));
    cell.queued(s[1], &[("c", X)], owned("bert"));
    let cycle = cycle_of(cell.refused(s[2], &[("a", X)], owned("carl")));
    let waits: Vec<_> = cycle
        .iter()
        .map(|edge| (edge.waiter.owner.as_str(), edge.lock.as_str()))
        .collect();
    assert_eq!(waits, [("carl", "a"), ("anna", "b"), ("bert", "c")]);
}

#[test]
fn rule_3_waiting_for_oneself_counts() {
    let (mut cell, s) = Cell::with_sessions(1);
    cell.granted(s[0], &[("a", X)], owned("anna"));
    assert_eq!(
        cycle_of(cell.refused(s[0], &[("a", S)], owned("anna"))).len(),
        1
    );
}

#[test]
fn rule_3_edges_run_between_owners_not_claims() {
    let (mut cell, s) = Cell::with_sessions(2);
    cell.granted(s[0], &[("a", X)], WAIT);
    cell.granted(s[1], &[("b", X)], WAIT);
    cell.queued(s[0], &[("b", X)], WAIT);
    cell.queued(s[1], &[("a", X)], WAIT); // each claim is its own owner: each holder can finish
}

#[test]
fn rule_3_a_semaphore_deadlocks_only_when_nobody_can_free_enough() {
    let (mut cell, s) = Cell::with_sessions(3);
    let pool = [("p", permits(1, 3))];
    for owner in ["anna", "bert", "carl"] {
        cell.granted(s[0], &pool, owned(owner));
    }
    cell.queued(s[0], &pool, owned("anna"));
    cell.queued(s[0], &pool, owned("bert")); // carl can still free enough
    cycle_of(cell.refused(s[0], &pool, owned("carl")));
}

#[test]
fn rule_3_a_waiter_waits_for_those_that_must_go_before_it() {
    let (mut cell, s) = Cell::with_sessions(3);
    cell.granted(s[2], &[("q", S)], owned("carl"));
    cell.granted(s[1], &[("r", X)], owned("bert"));
    cell.queued(s[0], &[("q", X)], owned("anna"));
    cell.queued(s[1], &[("q", S)], owned("bert")); // fits beside carl, but anna goes first
    let cycle = cycle_of(cell.refused(s[2], &[("r", X)], owned("carl")));
    assert!(
        cycle.iter().any(|edge| !edge.held),
        "one edge is a place in a queue"
    );
}

#[test]
fn rule_3_the_victim_is_the_youngest_waiting_claim() {
    let (mut cell, s) = Cell::with_sessions(3);
    cell.granted(s[1], &[("l", X)], owned("bert"));
    cell.granted(s[2], &[("m", S)], owned("carl"));
    cell.queued(s[0], &[("l", X)], owned("anna"));
    let youngest = cell.queued(s[1], &[("m", X)], owned("bert"));
    // anna's reader goes before bert's writer by priority: granted, and bert waits for anna too.
    let urgent = How {
        priority: 1,
        ..owned("anna")
    };
    let seq = cell.seqs[&s[0]] + 1;
    let (reply, effects) = cell.operate(s[0], acquire(seq, &[("m", S)], urgent));
    assert!(
        matches!(reply, OperationReply::Granted(_)),
        "what was granted stays"
    );
    let victims: Vec<ClaimRef> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::ClaimEnded {
                claim,
                cause: EndCause::Deadlock,
                cycle,
                ..
            } if cycle.len() == 2 => Some(*claim),
            _ => None,
        })
        .collect();
    assert_eq!(victims, [youngest]);
}
