//! Design 7, claim ids: what PUT, DELETE and their repeats mean.

use sidelock::sidecar::desk::Now;
use sidelock::sidecar::handle::{ClaimAnswer, ClaimError, ClaimState, Reason, ReleaseAnswer};
use sidelock::table::command::{EndCause, Was};

use crate::bench::{Bench, ask, held_by_other, id, ms, queueing, waiting};

#[test]
fn put_of_a_granted_claim_repeats_the_grant() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    match bench.claim_now("c", ask("a")) {
        Ok(ClaimAnswer::AlreadyGranted(view)) => {
            assert!(view.replayed);
            assert_eq!(view.tokens[0].get(), 42);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.operations.len(), 1, "the core hears of it once");
}

#[test]
fn wait_and_queue_are_not_compared() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    let again = bench.claim_now("c", queueing("a", 5_000));
    assert!(matches!(again, Ok(ClaimAnswer::AlreadyGranted(_))));
}

#[test]
fn another_body_is_a_conflict() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    let mut other = ask("a");
    other.ttl = ms(20_000);
    assert_eq!(
        bench.claim_now("c", other),
        Err(ClaimError::Conflict(id("c")))
    );
}

#[test]
fn an_ungranted_try_may_be_put_again() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", ask("a"));
    bench.refuse(held_by_other());
    assert!(matches!(bench.claimed(caller), Err(ClaimError::Held(_))));
    bench.hold("c", ask("a"), 43);
}

#[test]
fn an_id_is_used_up_once_granted() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    assert_eq!(bench.released("c"), Ok(ReleaseAnswer::Released));
    match bench.claim_now("c", ask("a")) {
        Err(ClaimError::Ended(view)) => assert_eq!(view.state, ClaimState::Released),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ended_ids_are_remembered_for_ttl_and_wait_but_at_least_a_minute() {
    let mut bench = Bench::open();
    bench.hold("short", ask("a"), 1);
    bench.released("short").expect("held until now");
    let mut long = waiting("b", 30_000);
    long.ttl = ms(90_000);
    bench.hold("long", long.clone(), 2);
    bench.released("long").expect("held until now");
    bench.pass_renewed(59_000);
    assert!(bench.claim_now("short", ask("a")).is_err());
    bench.pass_renewed(2_000);
    bench.claim_later("short", ask("a"));
    bench.pass_renewed(58_000);
    assert!(bench.claim_now("long", long.clone()).is_err());
    bench.pass_renewed(2_000);
    bench.claim_later("long", long);
}

#[test]
fn delete_repeats() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    assert_eq!(bench.released("c"), Ok(ReleaseAnswer::Released));
    assert_eq!(bench.release("c"), Now::Done(Ok(ReleaseAnswer::Released)));
    assert_eq!(bench.releases().len(), 1);
}

#[test]
fn a_repeated_delete_waits_for_the_same_release() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    let Now::Later(first) = bench.release("c") else {
        panic!("the core must hear of it first");
    };
    let Now::Later(second) = bench.release("c") else {
        panic!("the core must hear of it first");
    };
    bench.applied_release(Was::Held);
    assert!(bench.answered(first).is_some());
    assert!(bench.answered(second).is_some());
    assert_eq!(bench.releases().len(), 1);
}

#[test]
fn delete_of_an_unknown_id_uses_it_up() {
    let mut bench = Bench::open();
    assert_eq!(bench.release("c"), Now::Done(Ok(ReleaseAnswer::Released)));
    match bench.claim_now("c", ask("a")) {
        Err(ClaimError::Ended(view)) => {
            assert_eq!(view.state, ClaimState::Cancelled);
            assert_eq!(view.reason, Some(Reason::Deleted));
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.operations.is_empty());
}

#[test]
fn delete_after_an_ungranted_try_uses_the_id_up() {
    let mut bench = Bench::open();
    bench.claim_later("c", ask("a"));
    bench.refuse(held_by_other());
    assert_eq!(bench.release("c"), Now::Done(Ok(ReleaseAnswer::Released)));
    assert!(matches!(
        bench.claim_now("c", ask("a")),
        Err(ClaimError::Ended(_))
    ));
}

#[test]
fn delete_while_the_acquire_is_under_way_gives_the_late_grant_back() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", ask("a"));
    bench.send();
    let deleting = bench.release("c");
    assert!(matches!(bench.claimed(caller), Err(ClaimError::Ended(_))));
    let seq = bench.grant(42);
    assert_eq!(bench.view("c").state, ClaimState::Cancelled);
    assert_eq!(bench.releases(), [(seq, EndCause::GrantTooLate)]);
    bench.applied_release(Was::Held);
    if let Now::Later(deleting) = deleting {
        assert!(bench.answered(deleting).is_some());
    }
}

#[test]
fn delete_of_a_claim_that_was_never_sent_tells_the_core_nothing() {
    let mut bench = Bench::open();
    bench.claim_later("c", ask("a"));
    assert_eq!(bench.release("c"), Now::Done(Ok(ReleaseAnswer::Released)));
    bench.send();
    assert!(bench.operations.is_empty());
}

#[test]
fn delete_of_a_waiting_claim_cancels_it() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 60_000));
    let seq = bench.enqueue();
    let deleting = bench.release("c");
    assert!(matches!(bench.claimed(caller), Err(ClaimError::Ended(_))));
    assert_eq!(bench.releases(), [(seq, EndCause::Cancelled)]);
    assert!(matches!(deleting, Now::Later(_)));
}

#[test]
fn delete_of_a_claim_that_ended_otherwise_tells_how() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.pass_renewed(10_500);
    match bench.release("c") {
        Now::Done(Err(ClaimError::Ended(view))) => {
            assert_eq!(view.state, ClaimState::Expired);
            assert_eq!(view.reason, Some(Reason::TtlExpired));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_release_that_finds_nothing_was_broken_by_an_operator() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    let Now::Later(caller) = bench.release("c") else {
        panic!("the core must hear of it first");
    };
    bench.applied_release(Was::Gone);
    match bench.answered(caller) {
        Some(sidelock::sidecar::desk::Answer::Release(Err(ClaimError::Ended(view)))) => {
            assert_eq!(view.state, ClaimState::Revoked);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_release_is_answered_when_the_core_has_applied_it() {
    let mut bench = Bench::open();
    let (seq, _) = bench.hold("c", ask("a"), 42);
    let Now::Later(caller) = bench.release("c") else {
        panic!("another sidecar must find the lock free once this is answered");
    };
    assert!(bench.answered(caller).is_none());
    assert_eq!(bench.releases(), [(seq, EndCause::Released)]);
    bench.applied_release(Was::Held);
    assert!(bench.answered(caller).is_some());
}

#[test]
fn who_asks_again_to_queue_waits_for_as_long_as_asked_last() {
    let mut bench = Bench::open();
    bench.claim_later("c", waiting("a", 1_000));
    bench.enqueue();
    bench.pass_renewed(500);
    let again = bench.claim_now("c", queueing("a", 10_000));
    assert!(matches!(again, Ok(ClaimAnswer::Queued(_))), "{again:?}");
    for _ in 0..9 {
        bench.pass_renewed(1_000);
        assert_eq!(bench.view("c").state, ClaimState::Queued);
    }
    bench.pass_renewed(1_100);
    assert_eq!(bench.state("c").0, ClaimState::Cancelled);
}

#[test]
fn min_hold_answers_at_once_and_releases_later() {
    let mut bench = Bench::open();
    let mut wanted = ask("a");
    wanted.min_hold = ms(2_000);
    let (seq, _) = bench.hold("c", wanted, 42);
    bench.pass(500);
    assert_eq!(bench.release("c"), Now::Done(Ok(ReleaseAnswer::Released)));
    assert_eq!(bench.view("c").state, ClaimState::Released);
    bench.pass_renewed(1_400);
    assert_eq!(bench.releases(), []);
    assert_eq!(bench.step(|desk, _| desk.lingering()), 1);
    bench.pass_renewed(200);
    assert_eq!(bench.step(|desk, _| desk.lingering()), 0);
    assert_eq!(bench.releases(), [(seq, EndCause::Released)]);
}
