//! Shows that each law can fail: a healthy table, one thing wrong with it, the law that says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::command::{Mode, OperationReply, Want};
use super::super::id::{
    ClaimId, ClaimRef, DelayNumber, Generation, LockName, OwnerId, RenewalNumber, Revision, Seq,
    SessionId, SessionKey, Token,
};
use super::super::order::{LockClass, OrderEdge, OrderSample};
use super::super::state::{
    Claim, Closed, Counters, HistoryEvent, HistoryRecord, Newest, PartyEntry, Place, Session,
    Stage, Table,
};
use super::{LAWS, check};

const PERMIT: fn(u32, u32) -> Mode = |permits, limit| Mode::Semaphore { permits, limit };

fn lock(name: &str) -> LockName {
    LockName::parse(name).expect("a valid name")
}

fn token(value: u64) -> Option<Token> {
    Token::new(value)
}

fn name(session: u64, seq: u64) -> ClaimRef {
    ClaimRef {
        session: SessionId(session),
        seq: Seq(seq),
    }
}

fn place(rank: u8, arrival: u64) -> Place {
    Place { rank, arrival }
}

fn holding(first_token: u64, locks: usize) -> Stage {
    let tokens = (first_token..).take(locks).filter_map(Token::new).collect();
    Stage::Holding {
        tokens,
        granted: Revision(3),
        breaking: false,
    }
}

fn waiting(arrival: u64) -> Stage {
    Stage::Waiting {
        place: place(10, arrival),
        passed: 0,
    }
}

fn session(id: u64, seq: u64) -> Session {
    Session {
        key: SessionKey(u128::from(id)),
        identity: "pod".into(),
        principal: None,
        ttl_ms: 10_000,
        generation: Generation(1),
        renewal: RenewalNumber(0),
        listed: None,
        seq: Seq(seq),
        acked: Seq(seq - 1),
        ending: None,
    }
}

fn claim(owner: &str, wants: &[(&str, Mode)], stage: Stage) -> Claim {
    Claim {
        claim_id: ClaimId::parse(owner).expect("a valid id"),
        owner: OwnerId::parse(owner).expect("a valid owner"),
        locks: wants
            .iter()
            .map(|(name, mode)| Want {
                name: lock(name),
                mode: *mode,
            })
            .collect(),
        priority: 0,
        metadata: BTreeMap::new(),
        value: None,
        trace_id: "".into(),
        stage,
    }
}

/// Puts a claim in, with all that follows from it; its bare effect, legal or not.
fn put(table: &mut Table, at: ClaimRef, claim: Claim) {
    for (index, want) in claim.locks.iter().enumerate() {
        let lock = table.locks.entry(want.name.clone()).or_default();
        lock.limits.add(want.mode);
        match &claim.stage {
            Stage::Waiting { place, .. } => {
                lock.queue.insert(*place, at);
                table.contended.insert(want.name.clone());
            }
            Stage::Holding { tokens, .. } => {
                lock.holders.insert(at);
                lock.used.add(want.mode);
                let token = tokens.get(index).copied();
                lock.newest.any = lock.newest.any.max(token);
                if want.mode == Mode::Exclusive {
                    lock.newest.exclusive = lock.newest.exclusive.max(token);
                }
            }
        }
    }
    table.parties.insert(PartyEntry {
        owner: (at.session, claim.owner.clone()),
        holds: matches!(claim.stage, Stage::Holding { .. }),
        seq: at.seq,
    });
    table.claims.insert(at, Box::new(claim));
}

/// Two sessions; `a` held and awaited, `s` shared by two, `p` with 3 of 4 permits out, `f` free.
fn healthy() -> Table {
    let mut table = Table {
        counters: Counters {
            table_version: 1,
            token: 20,
            revision: Revision(20),
            delay: DelayNumber(3),
            arrival: 20,
            order_missed: 0,
        },
        ..Table::default()
    };
    for (id, seq) in [(1, 9), (2, 9)] {
        table.keys.insert(SessionKey(u128::from(id)), SessionId(id));
        table.sessions.insert(SessionId(id), session(id, seq));
        let reply = OperationReply::ValueSet(true);
        table.replies.insert((SessionId(id), Seq(seq)), reply);
    }
    put(
        &mut table,
        name(1, 1),
        claim("ann", &[("a", Mode::Exclusive)], holding(1, 1)),
    );
    put(
        &mut table,
        name(1, 2),
        claim("bob", &[("s", Mode::Shared)], holding(2, 1)),
    );
    put(
        &mut table,
        name(2, 1),
        claim("cat", &[("s", Mode::Shared)], holding(3, 1)),
    );
    let both = [("p", PERMIT(3, 4)), ("x", Mode::Exclusive)];
    put(&mut table, name(2, 2), claim("dan", &both, holding(4, 2)));
    put(
        &mut table,
        name(2, 3),
        claim("eve", &[("a", Mode::Exclusive)], waiting(1)),
    );
    put(
        &mut table,
        name(2, 4),
        claim(
            "fay",
            &[("a", Mode::Shared), ("p", PERMIT(1, 4))],
            waiting(2),
        ),
    );
    let free = table.locks.entry(lock("f")).or_default();
    free.revision = Revision(7);
    free.newest = Newest {
        any: token(9),
        exclusive: token(8),
        semaphore: None,
    };
    table.free.insert((Revision(7), lock("f")));
    for (before, after, closes) in [
        ("a", "b", &[][..]),
        ("b", "c", &[]),
        ("c", "a", &["c", "a", "b"]),
    ] {
        note(&mut table, before, after, closes);
    }
    table
}

fn class(name: &str) -> LockClass {
    LockClass::parse(name).expect("a valid class")
}

/// Notes an order of two classes, seen or not.
fn note(table: &mut Table, before: &str, after: &str, closes: &[&str]) {
    let edge = OrderEdge {
        count: 1,
        sample: OrderSample {
            held: lock(&format!("{before}/1")),
            taken: lock(after),
            claim_id: ClaimId::parse("ann").expect("a valid id"),
            owner: OwnerId::parse("ann").expect("a valid owner"),
            identity: "pod".into(),
            revision: Revision(5),
        },
        closes: closes.iter().map(|name| class(name)).collect(),
    };
    table.order.insert((class(before), class(after)), edge);
}

fn edge<'a>(table: &'a mut Table, before: &str, after: &str) -> &'a mut OrderEdge {
    let key = (class(before), class(after));
    table.order.get_mut(&key).expect("put by healthy()")
}

fn past(event: HistoryEvent) -> HistoryRecord {
    HistoryRecord {
        index: 1,
        event,
        locks: [].into(),
        claim: name(1, 1),
        claim_id: ClaimId::parse("ann").expect("a valid id"),
        owner: OwnerId::parse("ann").expect("a valid owner"),
        identity: "pod".into(),
        trace_id: "".into(),
    }
}

fn of(table: &mut Table, session: u64, seq: u64) -> &mut Claim {
    table
        .claims
        .get_mut(&name(session, seq))
        .expect("put by healthy()")
}

/// What to do to a healthy table, and the law that this breaks.
type Wrong = (&'static str, fn(&mut Table));

const WRONGS: &[Wrong] = &[
    ("claims_are_well_formed", |t| of(t, 1, 1).locks = [].into()),
    ("claims_are_well_formed", |t| {
        let once = of(t, 1, 1).locks[0].clone();
        of(t, 1, 1).locks = [once.clone(), once].into();
    }),
    ("claims_are_well_formed", |t| {
        Arc::make_mut(&mut of(t, 2, 4).locks)[1].mode = PERMIT(5, 4)
    }),
    ("claims_are_well_formed", |t| {
        Arc::make_mut(&mut of(t, 2, 4).locks)[1].mode = PERMIT(0, 4)
    }),
    ("claims_are_well_formed", |t| of(t, 2, 4).priority = 10),
    ("claims_are_well_formed", |t| {
        of(t, 1, 1).stage = holding(1, 2)
    }),
    ("locks_agree_with_claims", |t| {
        t.locks.remove(&lock("s"));
    }),
    ("locks_agree_with_claims", |t| {
        t.claims.remove(&name(2, 1));
    }),
    ("locks_agree_with_claims", |t| {
        t.locks
            .entry(lock("s"))
            .or_default()
            .queue
            .insert(place(10, 1), name(2, 3));
    }),
    ("locks_agree_with_claims", |t| {
        put(
            t,
            name(2, 5),
            claim("gil", &[("a", Mode::Exclusive)], waiting(1)),
        );
    }),
    ("idle_locks_are_the_free_ones", |t| t.free.clear()),
    ("idle_locks_are_the_free_ones", |t| {
        t.free.insert((Revision(8), lock("a")));
    }),
    ("idle_locks_are_the_free_ones", |t| {
        t.locks.entry(lock("f")).or_default().newest.any = None;
    }),
    ("idle_locks_are_the_free_ones", |t| {
        for number in 100..10_200 {
            let name = lock(&format!("free-{number}"));
            let lock = t.locks.entry(name.clone()).or_default();
            lock.revision = Revision(number);
            lock.newest.any = token(1);
            t.free.insert((Revision(number), name));
        }
    }),
    ("sums_agree_with_claims", |t| {
        t.locks.entry(lock("p")).or_default().used.add(PERMIT(1, 4));
    }),
    ("sums_agree_with_claims", |t| {
        t.locks
            .entry(lock("p"))
            .or_default()
            .limits
            .remove(PERMIT(1, 4));
    }),
    ("sums_agree_with_claims", |t| {
        t.parties.pop_first();
    }),
    ("session_keys_agree", |t| t.keys.clear()),
    ("session_keys_agree", |t| {
        t.keys.insert(SessionKey(77), SessionId(1));
    }),
    ("no_dead_session_holds_or_waits", |t| {
        t.sessions.remove(&SessionId(1));
        t.keys.remove(&SessionKey(1));
    }),
    ("no_dead_session_holds_or_waits", |t| {
        put(
            t,
            name(1, 99),
            claim("gil", &[("g", Mode::Exclusive)], holding(10, 1)),
        );
    }),
    ("replies_are_kept_until_acked", |t| t.replies.clear()),
    ("replies_are_kept_until_acked", |t| {
        t.replies
            .insert((SessionId(1), Seq(8)), OperationReply::Closed);
    }),
    ("replies_are_kept_until_acked", |t| {
        t.replies
            .insert((SessionId(9), Seq(1)), OperationReply::Closed);
    }),
    ("replies_are_kept_until_acked", |t| {
        let session = t.sessions.get_mut(&SessionId(1)).expect("put by healthy()");
        session.acked = Seq(10);
    }),
    ("replies_are_kept_until_acked", |t| {
        let session = t.sessions.get_mut(&SessionId(1)).expect("put by healthy()");
        session.seq = Seq(20_000);
        let all = (9..=20_000).map(|seq| ((SessionId(1), Seq(seq)), OperationReply::Closed));
        t.replies.extend(all);
    }),
    ("history_is_bounded", |t| {
        let record = past(HistoryEvent::Queued);
        t.counters.revision = Revision(20_000);
        let all = (1..10_002).map(|at| (Revision(at), record.clone()));
        t.history.extend(all);
    }),
    ("deadlocks_are_indexed", |t| {
        t.deadlocks.insert(Revision(1));
    }),
    ("deadlocks_are_indexed", |t| {
        let cycle = [].into();
        t.history
            .insert(Revision(1), past(HistoryEvent::Deadlocked { cycle }));
        t.deadlocks.insert(Revision(1));
    }),
    ("contended_locks_are_listed", |t| {
        t.contended.pop_first();
    }),
    ("contended_locks_are_listed", |t| {
        t.contended.insert(lock("f"));
    }),
    ("order_is_as_seen", |t| note(t, "a", "a", &[])),
    ("order_is_as_seen", |t| edge(t, "a", "b").count = 0),
    ("order_is_as_seen", |t| {
        edge(t, "a", "b").sample.held = lock("ab/1")
    }),
    ("order_is_as_seen", |t| {
        edge(t, "a", "b").sample.revision = Revision(21)
    }),
    ("order_is_as_seen", |t| {
        (0..4_100).for_each(|number| note(t, "z", &format!("z{number}"), &[]));
    }),
    ("inversions_are_the_cycles", |t| {
        edge(t, "c", "a").closes = [].into()
    }),
    ("inversions_are_the_cycles", |t| {
        edge(t, "c", "a").closes = [class("c"), class("a")].into()
    }),
    ("inversions_are_the_cycles", |t| {
        edge(t, "c", "a").closes = [class("a"), class("b"), class("c")].into()
    }),
    ("counters_lead", |t| t.counters.arrival = 1),
    ("counters_lead", |t| t.counters.revision = Revision(2)),
    ("counters_lead", |t| t.counters.token = 5),
    ("counters_lead", |t| {
        let closed = Closed {
            delay: DelayNumber(4),
            delay_ms: 100,
        };
        t.locks.entry(lock("a")).or_default().closed = Some(closed);
    }),
    ("promotion_follows_passes", |t| {
        of(t, 2, 3).stage = Stage::Waiting {
            place: place(10, 1),
            passed: 64,
        };
    }),
    ("promotion_follows_passes", |t| of(t, 2, 3).priority = 1),
    ("holders_are_compatible", |t| {
        put(
            t,
            name(2, 6),
            claim("gil", &[("a", Mode::Exclusive)], holding(10, 1)),
        );
    }),
    ("holders_are_compatible", |t| {
        put(
            t,
            name(2, 6),
            claim("gil", &[("s", Mode::Exclusive)], holding(10, 1)),
        );
    }),
    ("holders_are_compatible", |t| {
        put(
            t,
            name(2, 6),
            claim("gil", &[("p", Mode::Shared)], holding(10, 1)),
        );
    }),
    ("tokens_outrank_incompatible_ones", |t| {
        of(t, 1, 2).stage = holding(3, 1)
    }),
    ("tokens_outrank_incompatible_ones", |t| {
        t.locks.entry(lock("a")).or_default().newest.exclusive = token(2);
    }),
    ("tokens_outrank_incompatible_ones", |t| {
        t.locks.entry(lock("a")).or_default().newest.any = token(2);
    }),
    ("tokens_outrank_incompatible_ones", |t| {
        t.locks.entry(lock("s")).or_default().newest.exclusive = token(3);
    }),
    ("tokens_outrank_incompatible_ones", |t| {
        t.locks.entry(lock("s")).or_default().newest.any = token(2);
    }),
    ("tokens_outrank_incompatible_ones", |t| {
        t.locks.entry(lock("f")).or_default().newest.any = token(7);
    }),
    ("no_waiter_could_be_granted", |t| {
        put(
            t,
            name(2, 5),
            claim(
                "gil",
                &[("p", PERMIT(1, 4)), ("y", Mode::Shared)],
                waiting(1),
            ),
        );
        of(t, 2, 3).stage = waiting(0);
        let queue = &mut t.locks.entry(lock("a")).or_default().queue;
        let eve = queue.remove(&place(10, 1)).expect("put by healthy()");
        queue.insert(place(10, 0), eve);
    }),
    ("no_waiter_could_be_granted", |t| {
        put(
            t,
            name(2, 5),
            claim("gil", &[("s", Mode::Shared)], waiting(3)),
        );
    }),
    ("no_deadlock_remains", |t| {
        put(
            t,
            name(1, 5),
            claim("bob", &[("y", Mode::Exclusive)], holding(10, 1)),
        );
        put(
            t,
            name(1, 6),
            claim("ann", &[("y", Mode::Exclusive)], waiting(3)),
        );
        put(
            t,
            name(1, 7),
            claim("bob", &[("a", Mode::Exclusive)], waiting(4)),
        );
    }),
    // For oneself; through a queue; for permits.
    ("no_deadlock_remains", |t| {
        put(
            t,
            name(1, 5),
            claim("ann", &[("a", Mode::Exclusive)], waiting(3)),
        );
    }),
    ("no_deadlock_remains", |t| {
        put(
            t,
            name(2, 5),
            claim("fay", &[("y", Mode::Exclusive)], holding(10, 1)),
        );
        put(
            t,
            name(2, 6),
            claim("eve", &[("y", Mode::Exclusive)], waiting(3)),
        );
    }),
    ("no_deadlock_remains", |t| {
        put(
            t,
            name(2, 6),
            claim("dan", &[("p", PERMIT(2, 4))], waiting(3)),
        );
    }),
];

#[test]
fn a_healthy_table_breaks_no_law() {
    assert_eq!(check(&healthy()), Ok(()));
    assert_eq!(check(&Table::default()), Ok(()));
}

#[test]
fn each_wrong_breaks_its_law() {
    for (index, (law, wrong)) in WRONGS.iter().enumerate() {
        let mut table = healthy();
        wrong(&mut table);
        let violation = check(&table).expect_err(&format!("wrong {index} must break {law}"));
        assert_eq!(violation.law, *law, "wrong {index}: {violation}");
    }
}

#[test]
fn each_law_has_a_wrong() {
    for (law, _) in LAWS {
        assert!(
            WRONGS.iter().any(|(broken, _)| broken == law),
            "no wrong breaks {law}"
        );
    }
}

#[test]
fn permits_that_one_of_several_can_free_are_no_deadlock_until_all_are_stuck() {
    let mut table = healthy();
    put(
        &mut table,
        name(1, 5),
        claim("gil", &[("p", PERMIT(1, 4))], holding(10, 1)),
    );
    put(
        &mut table,
        name(2, 6),
        claim("dan", &[("p", PERMIT(1, 4))], waiting(3)),
    );
    assert_eq!(
        check(&table),
        Ok(()),
        "gil can finish, and frees one permit for dan"
    );
    put(
        &mut table,
        name(1, 6),
        claim("gil", &[("x", Mode::Shared)], waiting(4)),
    );
    let violation = check(&table).expect_err("dan holds x, and gil the last permit but dan's own");
    assert_eq!(violation.law, "no_deadlock_remains");
}
