//! Section 3: the order of lock classes, and inversions before they ever deadlock; deadlocks as remembered.
//! In: owners that hold and take. Out: edges, inversions, cycles. Never: an order that nobody showed.

use std::collections::BTreeMap;
use std::time::Duration;

use sidelock::table::Table;
use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::order::{EDGES_MAX, Inversion};
use sidelock::table::state::{HistoryEvent, Key, Object};
use sidelock::table::survey::{CLAIMS_COUNTED_MAX, Findings, Survey};

use crate::cell::*;
use crate::delegations::{back, lend, tokens, user};

fn edges(cell: &Cell) -> Vec<(String, String, u64)> {
    let edges = cell.table.order();
    edges
        .map(|(before, after, edge)| (before.to_string(), after.to_string(), edge.count))
        .collect()
}

fn edge(before: &str, after: &str, count: u64) -> (String, String, u64) {
    (before.to_owned(), after.to_owned(), count)
}

fn inversions(effects: &[Effect]) -> Vec<&Inversion> {
    let inverted = effects.iter().filter_map(|effect| match effect {
        Effect::OrderInverted(inversion) => Some(inversion),
        _ => None,
    });
    inverted.collect()
}

fn take(cell: &mut Cell, session: SessionId, lock: &str, owner: &'static str) -> Vec<Effect> {
    let seq = cell.seqs.get(&session).copied().unwrap_or(0) + 1;
    let (reply, effects) = cell.operate(session, acquire(seq, &[(lock, X)], owned(owner)));
    assert!(matches!(reply, OperationReply::Granted(_)), "{reply:?}");
    effects
}

fn find(cell: &Cell, ask: &Survey) -> Findings {
    cell.table.survey(ask, |_| Duration::ZERO)
}

#[test]
fn rule_3_what_an_owner_holds_comes_before_what_it_takes() {
    let (mut cell, s) = Cell::with_sessions(2);
    take(&mut cell, s[0], "orders/1", "anna");
    take(&mut cell, s[0], "stock/7", "anna");
    take(&mut cell, s[0], "stock/8", "anna"); // stock was held too: of one class there is no order
    take(&mut cell, s[1], "mail/1", "anna"); // another pod's anna
    take(&mut cell, s[0], "mail/2", "bert");
    assert_eq!(edges(&cell), [edge("orders", "stock", 2)]);
    cell.granted(s[1], &[("x/1", X), ("y/1", X)], WAIT); // taken at once
    assert_eq!(edges(&cell).len(), 1);
}

#[test]
fn rule_3_an_inversion_is_reported_before_it_ever_deadlocks_and_once() {
    let (mut cell, s) = Cell::with_sessions(1);
    take(&mut cell, s[0], "orders/1", "anna");
    assert!(inversions(&take(&mut cell, s[0], "stock/7", "anna")).is_empty());
    take(&mut cell, s[0], "stock/1", "bert");
    let effects = take(&mut cell, s[0], "orders/2", "bert");
    let [inversion] = inversions(&effects)[..] else {
        panic!("nobody waits, and the orders contradict each other: {effects:?}")
    };
    let classes: Vec<&str> = inversion
        .classes
        .iter()
        .map(|class| class.as_str())
        .collect();
    assert_eq!(classes, ["stock", "orders"]);
    assert_eq!(inversion.sample.held.as_str(), "stock/1");
    assert_eq!(inversion.sample.taken.as_str(), "orders/2");
    assert_eq!(inversion.sample.owner.as_str(), "bert");
    assert!(inversions(&take(&mut cell, s[0], "orders/3", "bert")).is_empty());
    let Findings::Order(view) = find(&cell, &Survey::Order) else {
        panic!("another kind")
    };
    let closing: Vec<_> = view
        .edges
        .iter()
        .filter(|it| !it.2.closes.is_empty())
        .collect();
    assert_eq!((closing.len(), closing[0].2.count), (1, 2));
}

#[test]
fn rule_3_a_kept_lock_counts_once_its_owner_has_taken_it_back_into_the_table() {
    let (mut cell, pods) = Cell::with_sessions(1);
    let (lent, delegated) = lend(&mut cell, pods[0], "orders/1", X);
    take(&mut cell, pods[0], "stock/1", "c1"); // in whose name it was lent; it may be idle by now
    assert!(edges(&cell).is_empty());
    let token = tokens(delegated.block)[0];
    let kept = Kept {
        user: user("local"),
        mode: X,
        token,
        priority: 0,
        metadata: BTreeMap::new(),
    };
    cell.operate(pods[0], back(lent, Some(token), vec![kept]));
    take(&mut cell, pods[0], "stock/2", "local");
    assert_eq!(edges(&cell), [edge("orders", "stock", 1)]);
}

#[test]
fn rule_3_edges_have_a_bound_beyond_which_they_are_only_counted() {
    let (mut cell, s) = Cell::with_sessions(1);
    // Each claim of this one shows an order with every class that it holds, of the newest 64 locks.
    let many = 120;
    for number in 0..many {
        let operation = acquire(number, &[(&format!("c{number}"), X)], owned("anna"));
        let seq = number + 1;
        cell.log
            .push(Command::Operate(operate(s[0], seq, operation)));
        let command = cell.log.last().expect("just pushed").clone();
        cell.table.apply(seq, &command);
    }
    let seen: u64 = (0..many).map(|held| held.min(64)).sum();
    assert!(seen > EDGES_MAX as u64, "{seen}");
    assert_eq!(cell.table.order().count(), EDGES_MAX);
    let missed = cell.table.counters().order_missed;
    assert_eq!(missed, seen - EDGES_MAX as u64);
    let objects: BTreeMap<Key, Object> = cell.table.objects().collect();
    assert_eq!(Table::load(objects).as_ref(), Ok(&cell.table));
}

#[test]
fn rule_3_a_deadlock_is_remembered_with_its_cycle_and_trace_ids() {
    let (mut cell, s) = Cell::with_sessions(2);
    cell.granted(s[0], &[("a", X)], owned("anna"));
    cell.granted(s[1], &[("b", X)], owned("bert"));
    let traced = |id: u64, lock: &str, owner: &'static str, trace: &str| {
        let Operation::Acquire(mut ask) = acquire(id, &[(lock, X)], owned(owner)) else {
            unreachable!("it makes acquires")
        };
        ask.trace_id = trace.into();
        Operation::Acquire(ask)
    };
    cell.operate(s[0], traced(2, "b", "anna", "aa"));
    let (reply, _) = cell.operate(s[1], traced(2, "a", "bert", "bb"));
    let OperationReply::Refused(Refusal::Deadlock(cycle)) = reply else {
        panic!("no deadlock: {reply:?}")
    };
    let Findings::Deadlocks(told) = find(&cell, &Survey::Deadlocks { limit: 9 }) else {
        panic!("another kind")
    };
    assert_eq!(told.len(), 1);
    assert_eq!(*told[0].edges, *cycle);
    assert!(!told[0].is_cut());
    let traces: Vec<&str> = cycle.iter().map(|edge| &*edge.waiter.trace_id).collect();
    assert_eq!(traces, ["bb", "aa"]);
    let (revision, newest) = cell.table.history().next().expect("it was recorded");
    assert_eq!(revision, told[0].revision);
    assert!(matches!(newest.event, HistoryEvent::Deadlocked { .. }));
}

#[test]
fn rule_3_of_a_very_long_cycle_the_first_edges_are_remembered() {
    let (mut cell, s) = Cell::with_sessions(1);
    let owners: Vec<String> = (0..40).map(|at| format!("o{at}")).collect();
    let ask = |at: usize, lock: usize| {
        let Operation::Acquire(mut ask) = acquire(at as u64, &[(&format!("l{lock}"), X)], WAIT)
        else {
            unreachable!("it makes acquires")
        };
        ask.owner = OwnerId::parse(&owners[at]).expect("an owner");
        Operation::Acquire(ask)
    };
    for at in 0..40 {
        cell.operate(s[0], ask(at, at));
    }
    for at in 0..40 {
        cell.operate(s[0], ask(at, (at + 1) % 40));
    }
    let Findings::Deadlocks(told) = find(&cell, &Survey::Deadlocks { limit: 9 }) else {
        panic!("another kind")
    };
    assert_eq!((told.len(), told[0].edges.len()), (1, 32));
    assert!(told[0].is_cut());
}

#[test]
fn a_list_of_sessions_counts_no_more_claims_than_a_bound() {
    let (mut cell, s) = Cell::with_sessions(2);
    let count = CLAIMS_COUNTED_MAX as u64 + 10;
    for seq in 1..=count {
        let operation = acquire(seq, &[(&format!("l{seq}"), X)], TRY);
        let command = Command::Operate(operate(s[0], seq, operation));
        cell.table.apply(seq, &command);
    }
    let Findings::Sessions(view) = find(&cell, &Survey::Sessions) else {
        panic!("another kind")
    };
    let claims: Vec<u32> = view.sessions.iter().map(|it| it.claims).collect();
    assert_eq!((claims, view.truncated), (vec![20_000, 0], true));
}
