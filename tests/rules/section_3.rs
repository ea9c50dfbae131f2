//! Section 3: the lock table.
//! In: claims, releases, deaths, breaks. Out: who is granted, refused, ended. Never: a look inside.

use std::collections::BTreeMap;

use sidelock::table::Table;
use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::state::{HistoryEvent, Key};

use crate::cell::*;

#[test]
fn rule_3_equal_logs_give_equal_tables_and_every_prefix_can_be_stored_and_loaded() {
    let (mut cell, s) = Cell::with_sessions(3);
    cell.policy(
        "a",
        Policy {
            lock_delay_ms: 5,
            ..Policy::default()
        },
    );
    let (first, _) = cell.granted(s[0], &[("a", X), ("b", S)], TRY);
    cell.queued(s[1], &[("a", X)], WAIT);
    cell.queued(
        s[2],
        &[("b", X), ("p", permits(1, 2))],
        How {
            priority: 3,
            ..WAIT
        },
    );
    cell.release(first, EndCause::LeaseExpired);
    cell.apply(Command::Reopen {
        lock: name("a"),
        delay: DelayNumber(1),
    });
    cell.expire(s[2], 0);
    cell.apply(Command::TrimHistory { up_to: Revision(4) });
    let mut replica = Table::default();
    let mut stored = BTreeMap::new();
    for (index, command) in (1..).zip(&cell.log) {
        replica.apply(index, command);
        let changes = replica.take_changes();
        let dropped = changes.history_dropped;
        stored.retain(|key, _| !matches!(key, Key::History(at) if *at <= dropped));
        for key in changes.keys {
            match replica.object(&key) {
                Some(object) => stored.insert(key, object),
                None => stored.remove(&key),
            };
        }
        let loaded = Table::load(stored.clone()).expect("what was stored fits together");
        assert_eq!(loaded, replica, "only dirty keys were stored, at {index}");
        assert_eq!(
            Table::load(replica.objects()),
            Ok(replica.clone()),
            "at {index}"
        );
    }
    assert_eq!(replica, cell.table);
}

#[test]
fn rule_3_readers_are_batched_up_to_the_first_waiting_writer() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (writer, _) = cell.granted(s[0], &[("a", X)], TRY);
    let r1 = cell.queued(s[0], &[("a", S)], WAIT);
    let r2 = cell.queued(s[0], &[("a", S)], WAIT);
    cell.queued(s[0], &[("a", X)], WAIT);
    cell.queued(s[0], &[("a", S)], WAIT);
    assert_eq!(cell.release(writer, EndCause::Released), [r1, r2]);
}

#[test]
fn rule_3_writers_are_not_starved() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (reader, _) = cell.granted(s[0], &[("a", S)], TRY);
    let writer = cell.queued(s[0], &[("a", X)], WAIT);
    cell.queued(s[0], &[("a", S)], WAIT);
    assert_eq!(cell.release(reader, EndCause::Released), [writer]);
}

#[test]
fn rule_3_another_limit_is_refused_and_lowering_it_revokes_nothing() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (first, _) = cell.granted(s[0], &[("p", permits(3, 4))], TRY);
    assert_eq!(
        cell.refused(s[0], &[("p", permits(1, 5))], WAIT),
        Refusal::SemaphoreLimit {
            lock: name("p"),
            limit: 4
        }
    );
    cell.policy(
        "p",
        Policy {
            semaphore_limit: Some(2),
            ..Policy::default()
        },
    );
    assert!(cell.table.claim(first).is_some());
    cell.queued(s[0], &[("p", permits(1, 2))], WAIT);
}

#[test]
fn rule_3_a_lock_is_used_in_one_family_at_a_time() {
    let (mut cell, s) = Cell::with_sessions(1);
    cell.granted(s[0], &[("a", S)], TRY);
    assert!(matches!(
        cell.refused(s[0], &[("a", permits(1, 9))], TRY),
        Refusal::Held { .. }
    ));
    cell.granted(s[0], &[("p", permits(1, 9))], TRY);
    assert!(matches!(
        cell.refused(s[0], &[("p", S)], TRY),
        Refusal::Held { .. }
    ));
}

#[test]
fn rule_3_a_claim_over_several_locks_is_granted_all_or_nothing_in_one_entry() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (held, _) = cell.granted(s[0], &[("b", X)], TRY);
    let both = cell.queued(s[0], &[("a", X), ("b", X)], WAIT);
    let a = cell.table.lock(&name("a")).expect("waited for");
    assert!(a.holders.is_empty(), "it holds nothing while it waits");
    assert_eq!(cell.release(held, EndCause::Released), [both]);
    let holds = |lock| {
        cell.table
            .lock(&name(lock))
            .is_some_and(|lock| lock.holders.contains(&both))
    };
    assert!(holds("a") && holds("b"));
}

#[test]
fn rule_3_a_claim_over_several_locks_keeps_its_place_in_each_queue() {
    let (mut cell, s) = Cell::with_sessions(1);
    cell.granted(s[0], &[("b", X)], TRY);
    let both = cell.queued(s[0], &[("a", X), ("b", X)], WAIT);
    let behind = cell.queued(s[0], &[("a", X)], WAIT);
    assert_eq!(cell.release(both, EndCause::Cancelled), [behind]);
}

#[test]
fn rule_3_a_waiter_passed_64_times_by_priority_goes_next() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (mut holder, _) = cell.granted(s[0], &[("a", X)], TRY);
    let poor = cell.queued(s[0], &[("a", X)], WAIT);
    let urgent = How {
        priority: 9,
        ..WAIT
    };
    for turn in 1..=64 {
        let next = cell.queued(s[0], &[("a", X)], urgent);
        assert_eq!(
            cell.release(holder, EndCause::Released),
            [next],
            "turn {turn}"
        );
        holder = next;
    }
    cell.queued(s[0], &[("a", X)], urgent);
    assert_eq!(cell.release(holder, EndCause::Released), [poor]);
}

#[test]
fn rule_3_release_and_next_grant_are_one_entry() {
    let (mut cell, s) = Cell::with_sessions(2);
    let (first, _) = cell.granted(s[0], &[("a", X)], TRY);
    let next = cell.queued(s[1], &[("a", X)], WAIT);
    assert_eq!(cell.release(first, EndCause::Released), [next]);
    let (record, granted) = cell.table.history().next().expect("history");
    assert!(matches!(granted.event, HistoryEvent::Granted { .. }));
    assert_eq!(
        granted.index,
        cell.log.len() as u64,
        "of the entry of the release"
    );
    assert_eq!(record, cell.table.counters().revision);
}

#[test]
fn rule_3_cancelled_waiters_leave_the_queue() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (first, _) = cell.granted(s[0], &[("a", X)], TRY);
    let gone = cell.queued(s[0], &[("a", X)], WAIT);
    let next = cell.queued(s[0], &[("a", X)], WAIT);
    assert_eq!(cell.release(gone, EndCause::Cancelled), []);
    assert_eq!(cell.release(first, EndCause::Released), [next]);
}

#[test]
fn rule_3_no_grant_to_a_dead_session() {
    let (mut cell, s) = Cell::with_sessions(3);
    let (first, _) = cell.granted(s[0], &[("a", X)], TRY);
    cell.queued(s[1], &[("a", X)], WAIT);
    let alive = cell.queued(s[2], &[("a", X)], WAIT);
    assert!(cell.expire(s[1], 0).0);
    assert_eq!(cell.release(first, EndCause::Released), [alive]);
}

#[test]
fn rule_3_a_session_that_dies_is_not_granted_what_its_own_death_frees() {
    let (mut cell, s) = Cell::with_sessions(2);
    cell.granted(s[0], &[("a", X)], TRY);
    cell.queued(s[0], &[("a", X)], WAIT);
    let alive = cell.queued(s[1], &[("a", X)], WAIT);
    assert_eq!(grants(&cell.expire(s[0], 0).1), [alive]);
}

#[test]
fn rule_3_operations_apply_once_and_strictly_in_order() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (first, tokens) = cell.granted(s[0], &[("a", X)], TRY);
    cell.release(first, EndCause::Released);
    let before = cell.table.clone();
    let again = operate(s[0], 1, acquire(1, &[("a", X)], TRY));
    match cell.apply(Command::Operate(again)) {
        (Reply::Operated(OperateReply::Applied(OperationReply::Granted(grant))), effects) => {
            assert_eq!(
                (numbers(&grant), effects),
                (tokens, Vec::new()),
                "the kept reply alone"
            );
        }
        other => panic!("no kept reply: {other:?}"),
    }
    let ahead = operate(s[0], 4, Operation::Close);
    let expected = Seq(3);
    let gap = Reply::Operated(OperateReply::Gap { expected });
    assert_eq!(cell.apply(Command::Operate(ahead)), (gap, Vec::new()));
    assert_eq!(cell.table, before);
}

#[test]
fn rule_3_an_acknowledged_reply_is_forgotten_and_its_operation_still_has_no_effect() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (first, _) = cell.granted(s[0], &[("a", X)], TRY);
    cell.release(first, EndCause::Released);
    let mut next = operate(s[0], 3, acquire(3, &[("b", X)], TRY));
    next.acked = Seq(2);
    cell.apply(Command::Operate(next));
    let again = operate(s[0], 1, acquire(1, &[("a", X)], TRY));
    let forgotten = Reply::Operated(OperateReply::Forgotten);
    assert_eq!(cell.apply(Command::Operate(again)), (forgotten, Vec::new()));
}

#[test]
fn rule_3_release_names_the_wait_that_it_ends() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (first, _) = cell.granted(s[0], &[("a", X)], TRY);
    cell.release(first, EndCause::Released);
    let (second, _) = cell.granted(s[0], &[("a", X)], TRY);
    cell.release(first, EndCause::Released);
    assert!(
        cell.table.claim(second).is_some(),
        "a late release hits no later claim"
    );
}

#[test]
fn rule_3_after_a_death_the_lock_stays_closed_after_a_release_it_does_not() {
    let (mut cell, s) = Cell::with_sessions(1);
    cell.policy(
        "",
        Policy {
            lock_delay_ms: 700,
            ..Policy::default()
        },
    );
    let (first, _) = cell.granted(s[0], &[("a", X)], TRY);
    cell.release(first, EndCause::Released);
    let (second, _) = cell.granted(s[0], &[("a", X)], TRY);
    let waiter = cell.queued(s[0], &[("a", X)], WAIT);
    assert_eq!(cell.release(second, EndCause::LeaseExpired), []);
    let closed = Refusal::LockDelay {
        lock: name("a"),
        delay_ms: 700,
    };
    assert_eq!(cell.refused(s[0], &[("a", X)], TRY), closed);
    let delay = DelayNumber(2);
    let stale = cell.apply(Command::Reopen {
        lock: name("a"),
        delay,
    });
    assert_eq!(
        stale,
        (Reply::Reopened(false), Vec::new()),
        "compare and reopen"
    );
    let delay = DelayNumber(1);
    let (_, effects) = cell.apply(Command::Reopen {
        lock: name("a"),
        delay,
    });
    assert_eq!(
        grants(&effects),
        [waiter],
        "waiters are granted in the same entry"
    );
}

#[test]
fn rule_3_the_longest_prefix_is_the_policy() {
    let (mut cell, s) = Cell::with_sessions(1);
    for (prefix, waiters) in [
        ("", 9),
        ("job", 8),
        ("job/", 1),
        ("job/aa", 7),
        ("job/a/b/c", 6),
    ] {
        cell.policy(
            prefix,
            Policy {
                waiters_max: Some(waiters),
                ..Policy::default()
            },
        );
    }
    cell.granted(s[0], &[("job/ab", X)], TRY);
    cell.queued(s[0], &[("job/ab", X)], WAIT);
    assert_eq!(
        cell.refused(s[0], &[("job/ab", X)], WAIT),
        Refusal::QueueFull {
            lock: name("job/ab"),
            waiters_max: 1,
            policy: "job/".into()
        }
    );
}

#[test]
fn rule_3_history_has_one_record_for_each_transition_and_is_bounded_by_count_and_age() {
    let (mut cell, s) = Cell::with_sessions(1);
    for _ in 0..6_000 {
        // Straight to the door: the laws are checked elsewhere, and not twelve thousand times.
        for release in [false, true] {
            let seq = cell.seqs.entry(s[0]).or_insert(0);
            *seq += 1;
            let operation = if release {
                let claim = Seq(*seq - 1);
                let cause = EndCause::Released;
                Operation::Release(Release {
                    claim,
                    cause,
                    waited_ms: 3,
                    held_ms: 4,
                })
            } else {
                acquire(*seq, &[("a", X)], TRY)
            };
            let mut operate = operate(s[0], *seq, operation);
            operate.acked = Seq(*seq - 1);
            cell.table.apply(*seq, &Command::Operate(operate));
        }
    }
    assert_eq!(cell.table.history().count(), 10_000);
    let (newest, record) = cell.table.history().next().expect("history");
    let ended = |event: &HistoryEvent| {
        matches!(
            event,
            HistoryEvent::Ended {
                waited_ms: Some(3),
                held_ms: Some(4),
                ..
            }
        )
    };
    assert!(ended(&record.event));
    cell.apply(Command::TrimHistory {
        up_to: Revision(newest.0 - 5),
    });
    assert_eq!(cell.table.history().count(), 5);
}
