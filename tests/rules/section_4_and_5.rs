//! Sections 4 and 5: fencing tokens; leases, as far as the table keeps them.
//! In: grants, renewals, expiries. Out: numbers that ascend, sessions that end by compare. Never: a clock.

use std::collections::BTreeMap;

use sidelock::table::Table;
use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::state::{Key, Object};

use crate::cell::*;

#[test]
fn rule_4_tokens_ascend_across_locks_modes_and_deaths_and_are_never_reset() {
    let (mut cell, s) = Cell::with_sessions(2);
    let mut last = 0;
    for wants in [
        &[("a", X), ("b", S)][..],
        &[("a", X)],
        &[("p", permits(1, 2))],
        &[("a", S)],
    ] {
        let (claim, tokens) = cell.granted(s[0], wants, TRY);
        for token in tokens {
            assert_eq!(
                token,
                last + 1,
                "one counter for the shard, one number each"
            );
            last = token;
        }
        cell.release(claim, EndCause::StreamClosed);
    }
    cell.expire(s[0], 0);
    let loaded = Table::load(cell.table.objects()).expect("a table");
    assert_eq!(loaded.counters().token, last);
    assert_eq!(cell.granted(s[1], &[("a", X)], TRY).1, [last + 1]);
}

#[test]
fn rule_4_the_counter_outlives_locks_that_are_forgotten() {
    let (mut cell, s) = Cell::with_sessions(1);
    for turn in 1..=10_001_u64 {
        let lock = format!("l{turn}");
        for (seq, operation) in [
            (turn * 2 - 1, acquire(turn, &[(&lock, X)], TRY)),
            (
                turn * 2,
                Operation::Release(Release {
                    claim: Seq(turn * 2 - 1),
                    cause: EndCause::Released,
                    waited_ms: 0,
                    held_ms: 0,
                }),
            ),
        ] {
            let mut operate = operate(s[0], seq, operation);
            operate.acked = Seq(seq - 1);
            cell.table.apply(seq, &Command::Operate(operate));
        }
    }
    cell.seqs.insert(s[0], 20_002);
    assert!(
        cell.table.lock(&name("l1")).is_none(),
        "the oldest is forgotten"
    );
    assert_eq!(
        cell.verify("l1", 1),
        (false, false),
        "a forgotten lock verifies nothing"
    );
    assert_eq!(cell.verify("l2", 2), (true, false), "the next is not");
    assert_eq!(cell.granted(s[0], &[("l1", X)], TRY).1, [10_002]);
}

#[test]
fn rule_4_no_number_left_no_grant() {
    let (cell, s) = Cell::with_sessions(1);
    let mut objects: BTreeMap<_, _> = cell.table.objects().collect();
    let mut counters = cell.table.counters();
    counters.token = TOKEN_MAX - 1;
    objects.insert(Key::Counters, Object::Counters(counters));
    let table = Table::load(objects).expect("a table");
    let mut cell = Cell {
        table,
        ..Cell::default()
    };
    assert!(matches!(
        cell.refused(s[0], &[("a", X), ("b", X)], TRY),
        Refusal::Invalid(_)
    ));
    assert_eq!(cell.granted(s[0], &[("a", X)], TRY).1, [TOKEN_MAX]);
    assert!(matches!(
        cell.refused(s[0], &[("b", X)], TRY),
        Refusal::Invalid(_)
    ));
}

#[test]
fn rule_4_verify_answers_for_exclusive_shared_and_semaphore_tokens() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (x, _) = cell.granted(s[0], &[("a", X)], TRY);
    assert_eq!(cell.verify("a", 1), (true, true));
    cell.release(x, EndCause::Released);
    assert_eq!(cell.verify("a", 1), (true, false), "nobody came after it");
    let (r1, _) = cell.granted(s[0], &[("a", S)], TRY);
    let (r2, _) = cell.granted(s[0], &[("a", S)], TRY);
    cell.release(r1, EndCause::Released);
    assert_eq!(cell.verify("a", 1), (false, false), "readers came after it");
    assert_eq!(
        cell.verify("a", 2),
        (true, false),
        "another reader is compatible"
    );
    cell.release(r2, EndCause::Released);
    let (p, _) = cell.granted(s[0], &[("a", permits(1, 2))], TRY);
    assert_eq!(cell.verify("a", 3), (false, false), "another family is not");
    assert_eq!(cell.verify("a", 4), (true, true));
    cell.release(p, EndCause::Released);
    assert_eq!(
        cell.verify("a", 4),
        (false, false),
        "a semaphore token only names its hold"
    );
}

#[test]
fn rule_5_1_only_a_greater_number_renews() {
    let (mut cell, s) = Cell::with_sessions(1);
    let renewed = |number| RenewalReply::Renewed {
        number: RenewalNumber(number),
        ttl_ms: 10_000,
    };
    assert_eq!(cell.renew(s[0], 2).0, renewed(2));
    assert_eq!(cell.renew(s[0], 2), (RenewalReply::Superseded, Vec::new()));
    assert_eq!(cell.renew(s[0], 1), (RenewalReply::Superseded, Vec::new()));
    assert_eq!(cell.renew(s[0], 3).0, renewed(3));
}

#[test]
fn rule_5_2_each_renewal_starts_a_timer_of_its_number_when_it_is_applied() {
    let (mut cell, s) = Cell::with_sessions(1);
    let timer = Effect::SessionTimer {
        session: s[0],
        number: RenewalNumber(1),
        ttl_ms: 10_000,
    };
    assert_eq!(cell.renew(s[0], 1).1, [timer]);
}

#[test]
fn rule_5_2_a_resent_open_finds_the_session_and_starts_no_timer() {
    let (mut cell, s) = Cell::with_sessions(1);
    let open = OpenSession {
        key: SessionKey(1),
        ttl_ms: 99,
        identity: "again".into(),
        generation: Generation(1),
        principal: None,
    };
    let (reply, effects) = cell.apply(Command::OpenSession(open));
    let generation = Generation(1);
    assert_eq!(
        reply,
        Reply::SessionOpened {
            session: s[0],
            generation,
            ttl_ms: 10_000
        }
    );
    assert_eq!(effects, []);
}

#[test]
fn rule_5_3_expire_needs_the_last_renewal() {
    let (mut cell, s) = Cell::with_sessions(1);
    cell.granted(s[0], &[("a", X)], TRY);
    cell.renew(s[0], 1);
    assert_eq!(cell.expire(s[0], 0), (false, Vec::new()));
    let (expired, effects) = cell.expire(s[0], 1);
    let cause = EndCause::SessionExpired;
    assert!(
        expired
            && effects.contains(&Effect::SessionEnded {
                session: s[0],
                cause
            })
    );
    assert_eq!(cell.table.claims_of(s[0]).count(), 0);
    assert_eq!(cell.renew(s[0], 2).0, RenewalReply::UnknownSession);
}

#[test]
fn rule_5_3_a_session_number_is_never_used_again() {
    let (mut cell, s) = Cell::with_sessions(1);
    cell.expire(s[0], 0);
    assert!(cell.open(1) > s[0], "the same key opens another session");
}

#[test]
fn rule_5_5_a_closed_stream_is_a_death_and_a_late_grant_given_back_is_not() {
    let (mut cell, s) = Cell::with_sessions(1);
    cell.policy(
        "",
        Policy {
            lock_delay_ms: 700,
            ..Policy::default()
        },
    );
    let (late, _) = cell.granted(s[0], &[("a", X)], TRY);
    cell.release(late, EndCause::GrantTooLate);
    let (bound, _) = cell.granted(s[0], &[("a", X)], TRY);
    cell.release(bound, EndCause::StreamClosed);
    assert!(matches!(
        cell.refused(s[0], &[("a", X)], TRY),
        Refusal::LockDelay { .. }
    ));
}

#[test]
fn rule_6_an_attach_of_another_generation_refuses_operations_and_renewals() {
    let (mut cell, s) = Cell::with_sessions(1);
    let mut other = operate(s[0], 1, Operation::Close);
    other.generation = Generation(2);
    let superseded = Reply::Operated(OperateReply::Superseded);
    assert_eq!(
        cell.apply(Command::Operate(other)),
        (superseded, Vec::new())
    );
    let renewal = Renewal {
        session: s[0],
        generation: Generation(2),
        number: RenewalNumber(1),
        heard: RenewalNumber(0),
    };
    let (reply, _) = cell.apply(Command::Renew(vec![renewal]));
    assert_eq!(reply, Reply::Renewed(vec![RenewalReply::Superseded]));
}

#[test]
fn rule_6_a_process_that_takes_a_session_over_shuts_the_earlier_ones_out() {
    let (mut cell, s) = Cell::with_sessions(1);
    let (held, _) = cell.granted(s[0], &[("a", X)], TRY);
    let open = |generation| {
        Command::OpenSession(OpenSession {
            key: SessionKey(1),
            ttl_ms: 99,
            identity: "again".into(),
            generation: Generation(generation),
            principal: None,
        })
    };
    let taken_over = Reply::SessionOpened {
        session: s[0],
        generation: Generation(3),
        ttl_ms: 10_000,
    };
    assert_eq!(cell.apply(open(3)), (taken_over, Vec::new()));
    assert_eq!(cell.apply(open(2)), (Reply::SessionTakenOver, Vec::new()));
    // What the dead process had under way may still arrive: it has no effect, not even a kept reply.
    let next = held.seq.0 + 1;
    for seq in [held.seq.0, next] {
        let late = operate(s[0], seq, Operation::Close);
        let superseded = Reply::Operated(OperateReply::Superseded);
        assert_eq!(cell.apply(Command::Operate(late)), (superseded, Vec::new()));
    }
    let attachment = cell.table.attachment(s[0]).expect("it stands");
    assert_eq!(attachment.generation, Generation(3));
    assert_eq!(attachment.claims[0].claim, held);
    let mut last = operate(s[0], next, Operation::Close);
    last.generation = Generation(3);
    let closed = OperateReply::Applied(OperationReply::Closed);
    let (reply, _) = cell.apply(Command::Operate(last));
    assert_eq!(reply, Reply::Operated(closed));
}

#[test]
fn rule_11_a_session_is_found_again_only_by_whose_it_is() {
    let (mut cell, _) = Cell::with_sessions(0);
    let open = |principal: Option<&str>| {
        Command::OpenSession(OpenSession {
            key: SessionKey(9),
            ttl_ms: 10_000,
            identity: "pod".into(),
            generation: Generation(1),
            principal: principal.map(Into::into),
        })
    };
    let (first, _) = cell.apply(open(None));
    assert!(matches!(first, Reply::SessionOpened { .. }), "{first:?}");
    // One from before there were certificates belongs to the first who shows one, and to nobody else then.
    assert_eq!(cell.apply(open(Some("a"))).0, first);
    assert_eq!(cell.apply(open(Some("a"))).0, first);
    for other in [Some("b"), None] {
        assert_eq!(
            cell.apply(open(other)),
            (Reply::SessionOfAnother, Vec::new())
        );
    }
    assert_eq!(cell.apply(open(Some("a"))).0, first);
}

#[test]
fn rule_11_what_is_denied_is_refused_in_its_turn() {
    let (mut cell, s) = Cell::with_sessions(1);
    let denied = operate(s[0], 1, Operation::Denied(name("a")));
    let refused = OperationReply::Refused(Refusal::Denied { lock: name("a") });
    let refused = Reply::Operated(OperateReply::Applied(refused));
    assert_eq!(cell.apply(Command::Operate(denied.clone())).0, refused);
    // Sent again it gets the same; the next number is the next.
    assert_eq!(cell.apply(Command::Operate(denied)).0, refused);
    let close = operate(s[0], 2, Operation::Close);
    let closed = Reply::Operated(OperateReply::Applied(OperationReply::Closed));
    assert_eq!(cell.apply(Command::Operate(close)).0, closed);
}
