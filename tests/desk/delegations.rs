//! Delegations at one desk: what it grants without the core, and when it must not.

use sidelock::sidecar::desk::{Answer, Now, Rules};
use sidelock::sidecar::frame::{News, ReadAsk};
use sidelock::sidecar::handle::{
    ClaimAnswer, ClaimAsk, ClaimError, ClaimState, Consistency, ReleaseAnswer, Unavailable,
};
use sidelock::table::command::{Delegated, Grant, Mode, Operation, OperationReply, Was};
use sidelock::table::id::{ClaimRef, LockName, OwnerId, Revision, Seq, SessionId};
use sidelock::table::token::TokenBlock;

use crate::bench::{BOUND, Bench, SESSION_TTL, ask, id, ms, rules, token, waiting};

/// A desk that has held and released `a` once, and has asked for it to be delegated for a second claim.
fn second() -> (Bench, Seq) {
    let mut bench = Bench::with(Rules {
        delegate: true,
        ..rules()
    });
    bench.connect();
    bench.attach(&[]);
    bench.acknowledge();
    bench.hold("once", ask("a"), 1);
    bench.release("once");
    bench.applied_release(Was::Held);
    bench.claim_later("first", ask("a"));
    bench.send();
    let asked = bench.operations.iter().rev().find_map(|(seq, operation)| {
        matches!(operation, Operation::Delegate { .. }).then_some(*seq)
    });
    (
        bench,
        asked.expect("a lock that is used again is asked for"),
    )
}

fn lent() -> (Bench, Seq) {
    let (mut bench, seq) = second();
    assert_eq!(lend(&mut bench, 10), seq);
    assert_eq!(bench.state("first").0, ClaimState::Granted);
    (bench, seq)
}

fn silent(bench: &mut Bench) -> usize {
    bench.send();
    bench.operations.len()
}

#[test]
fn after_a_local_release_the_next_claim_is_granted_without_a_message() {
    let (mut bench, _) = lent();
    let before = silent(&mut bench);
    for turn in 0..20 {
        let last = if turn == 0 {
            "first".to_owned()
        } else {
            format!("c{}", turn - 1)
        };
        assert_eq!(bench.release(&last), Now::Done(Ok(ReleaseAnswer::Released)));
        let answer = bench.claim_now(&format!("c{turn}"), ask("a"));
        let Ok(ClaimAnswer::Granted(view)) = answer else {
            panic!("{answer:?}")
        };
        assert!(view.local);
        assert_eq!(view.tokens, [token(11 + turn)], "ascending, one each");
    }
    assert_eq!(silent(&mut bench), before);
}

#[test]
fn local_waiters_queue_here_in_order() {
    let (mut bench, _) = lent();
    let one = bench.claim_later("one", waiting("a", 5_000));
    let two = bench.claim_later("two", waiting("a", 5_000));
    let before = silent(&mut bench);
    assert!(matches!(
        bench.claim_now("try", ask("a")),
        Err(ClaimError::Held(_))
    ));
    bench.release("first");
    assert!(bench.claimed(one).is_ok());
    assert!(bench.answered(two).is_none());
    bench.release("one");
    assert!(bench.claimed(two).is_ok());
    assert_eq!(silent(&mut bench), before);
}

#[test]
fn past_the_deadline_nothing_is_granted_from_a_kept_delegation() {
    let (mut bench, _) = lent();
    bench.release("first");
    bench.disconnect();
    bench.pass(SESSION_TTL);
    let answer = bench.claim_now("late", ask("a"));
    assert!(
        matches!(
            answer,
            Err(ClaimError::Unavailable(
                Unavailable::Jeopardy { .. }
                    | Unavailable::NoQuorum { .. }
                    | Unavailable::CoreUnreachable { .. }
            ))
        ),
        "{answer:?}"
    );
}

#[test]
fn in_read_only_nothing_is_granted_from_a_kept_delegation() {
    let (mut bench, _) = lent();
    bench.release("first");
    bench.disconnect();
    bench.pass(BOUND + 100);
    let answer = bench.claim_now("late", ask("a"));
    assert!(
        matches!(answer, Err(ClaimError::Unavailable(_))),
        "{answer:?}"
    );
}

#[test]
fn a_recalled_lock_goes_back_when_its_user_lets_go_though_others_wait_here() {
    let (mut bench, seq) = lent();
    bench.claim_later("waits", waiting("a", 60_000));
    bench.event(News::Recalled {
        claim: seq,
        revision: Revision(99),
        answer: false,
        wanted_by: None,
    });
    let before = silent(&mut bench);
    bench.release("first");
    bench.send();
    let sent: Vec<_> = bench.operations[before..]
        .iter()
        .map(|(_, sent)| sent)
        .collect();
    assert!(
        matches!(
            sent[..],
            [
                Operation::Return(_),
                Operation::Delegate { .. } | Operation::Acquire(_)
            ]
        ),
        "{sent:?}"
    );
    assert_eq!(bench.state("waits").0, ClaimState::Queued);
}

#[test]
fn an_idle_lock_goes_back_at_once_when_it_is_recalled() {
    let (mut bench, seq) = lent();
    bench.release("first");
    let before = silent(&mut bench);
    bench.event(News::Recalled {
        claim: seq,
        revision: Revision(99),
        answer: true,
        wanted_by: None,
    });
    bench.send();
    assert!(matches!(
        bench.operations[before..],
        [(_, Operation::Return(_))]
    ));
}

#[test]
fn claims_of_an_owner_that_has_another_go_to_the_core_with_all_of_it() {
    let (mut bench, seq) = lent();
    bench.release("first");
    let mut mine = ask("a");
    mine.owner = Some(OwnerId::parse("o").expect("an owner"));
    assert!(bench.claim_now("here", mine.clone()).is_ok());
    let before = silent(&mut bench);
    mine.locks[0].name = LockName::parse("b").expect("a name");
    bench.claim_later("there", mine);
    bench.send();
    let [(_, Operation::Return(back)), (_, Operation::Acquire(_))] = &bench.operations[before..]
    else {
        panic!("{:?}", &bench.operations[before..])
    };
    assert_eq!(back.delegation, seq);
    assert_eq!(back.kept.len(), 1);
    assert_eq!(back.kept[0].user.claim_id, id("here"));
    assert_eq!(bench.state("here").0, ClaimState::Granted);
}

/// Permits of `pool`, out of three.
fn permits(wait: u64) -> ClaimAsk {
    let mut ask = waiting("pool", wait);
    ask.locks[0].mode = Mode::Semaphore {
        permits: 1,
        limit: 3,
    };
    ask
}

/// The core gives the newest request as a delegation, with tokens from here.
fn lend(bench: &mut Bench, first: u64) -> Seq {
    bench.send();
    let asked = bench.operations.iter().rev().find_map(|(seq, operation)| {
        matches!(operation, Operation::Delegate { .. }).then_some(*seq)
    });
    let seq = asked.expect("it was asked for");
    bench.revision += 1;
    let grant = Grant {
        claim: ClaimRef {
            session: SessionId(1),
            seq,
        },
        revision: Revision(bench.revision),
        tokens: vec![token(first)],
    };
    let block = TokenBlock::new(first + 1, 100).expect("a block");
    bench.reply(seq, OperationReply::Delegated(Delegated { grant, block }));
    seq
}

#[test]
fn permits_are_kept_one_by_one_and_a_claim_beyond_them_asks_for_its_own() {
    let mut bench = Bench::with(Rules {
        delegate: true,
        ..rules()
    });
    bench.connect();
    bench.attach(&[]);
    bench.acknowledge();
    bench.hold("once", permits(0), 1);
    bench.release("once");
    bench.applied_release(Was::Held);
    bench.claim_later("one", permits(0));
    lend(&mut bench, 10);
    // The first is in use: there may be more at the core, so nobody waits for it here.
    bench.claim_later("two", permits(0));
    let second = lend(&mut bench, 200);
    assert_eq!(bench.state("two").0, ClaimState::Granted);
    bench.release("one");
    bench.release("two");
    let before = silent(&mut bench);
    for name in ["three", "four"] {
        let answer = bench.claim_now(name, permits(0));
        assert!(matches!(answer, Ok(ClaimAnswer::Granted(view)) if view.local));
    }
    assert_eq!(silent(&mut bench), before, "both were kept");
    bench.event(News::Recalled {
        claim: second,
        revision: Revision(bench.revision + 1),
        answer: true,
        wanted_by: None,
    });
    silent(&mut bench);
    let told = &bench.operations[before..];
    assert!(matches!(told, [(_, Operation::InUse { delegation, .. })] if *delegation == second));
    // An exclusive claim wants it all: what is here goes back first, with whoever holds.
    bench.claim_later("alone", waiting("pool", 1_000));
    silent(&mut bench);
    let told = &bench.operations[before + 1..];
    let kept = told.iter().filter_map(|(_, operation)| match operation {
        Operation::Return(back) => Some(back.kept.len()),
        _ => None,
    });
    assert_eq!(kept.collect::<Vec<_>>(), [1, 1]);
    assert!(matches!(told.last(), Some((_, Operation::Acquire(_)))));
}

#[test]
fn whoever_waits_here_is_not_granted_in_read_only_when_the_lock_is_let_go() {
    let (mut bench, _) = lent();
    let waits = bench.claim_later("waits", waiting("a", 60_000));
    bench.disconnect();
    bench.pass(BOUND + 100);
    bench.release("first");
    assert_ne!(bench.state("waits").0, ClaimState::Granted);
    let answer = bench.answered(waits);
    assert!(
        !matches!(answer, Some(Answer::Claim(Ok(ClaimAnswer::Granted(_))))),
        "{answer:?}"
    );
}

#[test]
fn a_recall_told_before_its_grant_holds_for_it() {
    let (mut bench, seq) = second();
    bench.event(News::Recalled {
        claim: seq,
        revision: Revision(bench.revision + 1),
        answer: false,
        wanted_by: None,
    });
    assert_eq!(lend(&mut bench, 10), seq);
    assert_eq!(bench.state("first").0, ClaimState::Granted);
    bench.claim_later("waits", waiting("a", 60_000));
    let before = silent(&mut bench);
    bench.release("first");
    silent(&mut bench);
    assert!(matches!(
        bench.operations[before],
        (_, Operation::Return(_))
    ));
    assert_eq!(bench.state("waits").0, ClaimState::Queued);
}

#[test]
fn an_owner_of_a_kept_lock_gets_no_second_one_from_here() {
    let (mut bench, first) = lent();
    bench.release("first");
    bench.hold("once-b", ask("b"), 20);
    bench.release("once-b");
    bench.applied_release(Was::Held);
    bench.claim_later("second", ask("b"));
    let second = lend(&mut bench, 200);
    bench.release("second");
    let mut mine = ask("a");
    mine.owner = Some(OwnerId::parse("o").expect("an owner"));
    assert!(bench.claim_now("here", mine.clone()).is_ok());
    let before = silent(&mut bench);
    mine.locks[0].name = LockName::parse("b").expect("a name");
    bench.claim_later("there", mine);
    silent(&mut bench);
    let told = &bench.operations[before..];
    let returned = told.iter().filter_map(|(_, operation)| match operation {
        Operation::Return(back) => Some((back.delegation, back.kept.len())),
        _ => None,
    });
    assert_eq!(returned.collect::<Vec<_>>(), [(first, 1), (second, 0)]);
    assert!(matches!(told.last(), Some((_, Operation::Acquire(_)))));
}

#[test]
fn a_drain_gives_back_what_nobody_holds_and_nothing_else() {
    let (mut bench, held) = lent();
    bench.hold("once-b", ask("b"), 20);
    bench.release("once-b");
    bench.applied_release(Was::Held);
    bench.claim_later("idle", ask("b"));
    let idle = lend(&mut bench, 200);
    bench.release("idle");
    let before = silent(&mut bench);
    bench.step(|desk, now| desk.drain(now));
    silent(&mut bench);
    let told = |bench: &Bench, from: usize| {
        let told = bench.operations[from..].iter();
        let returned = told.filter_map(|(_, operation)| match operation {
            Operation::Return(back) => Some(back.delegation),
            _ => None,
        });
        returned.collect::<Vec<_>>()
    };
    assert_eq!(told(&bench, before), [idle]);
    assert_eq!(bench.state("first").0, ClaimState::Granted);
    bench.release("first");
    silent(&mut bench);
    assert_eq!(told(&bench, before), [idle, held]);
}

#[test]
fn a_lock_that_others_wait_for_is_not_read_here() {
    let (mut bench, seq) = lent();
    let read = |bench: &mut Bench| {
        let name = LockName::parse("a").expect("a name");
        let ask = ReadAsk::Lock {
            name,
            after: None,
            wait: ms(0),
        };
        bench.step(|desk, now| desk.read(now, ask, Consistency::Linearizable))
    };
    assert!(matches!(read(&mut bench), Now::Done(Ok(_))));
    bench.event(News::Recalled {
        claim: seq,
        revision: Revision(99),
        answer: false,
        wanted_by: None,
    });
    assert!(
        matches!(read(&mut bench), Now::Later(_)),
        "only the core knows who they are"
    );
}

#[test]
fn readers_of_a_lock_that_only_wanders_do_not_stand_in_one_line() {
    let (mut bench, mut seq) = second();
    bench.claim_later("second", waiting("a", 60_000));
    let shared = || {
        let mut ask = waiting("a", 60_000);
        ask.locks[0].mode = Mode::Shared;
        ask
    };
    bench.claim_later("one", shared());
    bench.claim_later("two", shared());
    // Called back before it was used twice, and once more: it is not kept from now on.
    let mut before = 0;
    for (name, value) in [("first", 10), ("second", 200)] {
        bench.event(News::Recalled {
            claim: seq,
            revision: Revision(bench.revision + 1),
            answer: false,
            wanted_by: None,
        });
        seq = lend(&mut bench, value);
        before = silent(&mut bench);
        bench.release(name);
        silent(&mut bench);
        seq = bench.operations.last().map_or(seq, |(last, _)| *last);
    }
    let told = bench.operations[before..].iter();
    let acquired = told.filter_map(|(_, operation)| match operation {
        Operation::Acquire(acquire) => Some((acquire.claim_id.to_string(), acquire.locks[0].mode)),
        _ => None,
    });
    let asked = ["one", "two"].map(|name| (name.to_owned(), Mode::Shared));
    assert_eq!(acquired.collect::<Vec<_>>(), asked);
    // Nor does one that comes later stand behind them here.
    bench.claim_later("three", shared());
    silent(&mut bench);
    assert!(
        matches!(bench.operations.last(), Some((_, Operation::Acquire(it))) if it.locks[0].mode == Mode::Shared)
    );
}
