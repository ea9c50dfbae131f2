//! Waiting: who waits how long, and what ends a wait.

use sidelock::sidecar::desk::{Answer, Now};
use sidelock::sidecar::frame::News;
use sidelock::sidecar::handle::{ClaimAnswer, ClaimError, ClaimState, Reason};
use sidelock::table::command::{EndCause, Refusal};
use sidelock::table::id::Revision;

use crate::bench::{Bench, ask, held_by_other, id, ms, queueing, waiting};

#[test]
fn a_try_does_not_wait_and_a_wait_does() {
    let mut bench = Bench::open();
    bench.claim_later("try", ask("a"));
    assert!(!bench.asked().1.wait);
    bench.claim_later("wait", waiting("a", 1));
    assert!(bench.asked().1.wait);
    bench.claim_later("queue", queueing("a", 0));
    assert!(bench.asked().1.wait);
}

#[test]
fn the_owner_is_the_claim_unless_told() {
    let mut bench = Bench::open();
    bench.claim_later("c", ask("a"));
    assert_eq!(bench.asked().1.owner.as_str(), "c");
}

#[test]
fn a_wait_ends_by_its_own_timer() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 5_000));
    let seq = bench.enqueue();
    bench.pass_renewed(4_900);
    assert!(bench.answered(caller).is_none());
    bench.pass_renewed(200);
    match bench.claimed(caller) {
        Err(ClaimError::WaitTimeout { waited, .. }) => assert!(waited >= ms(5_000)),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.releases(), [(seq, EndCause::Cancelled)]);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Cancelled, Some(Reason::WaitTimeout))
    );
}

#[test]
fn a_grant_that_crosses_the_end_of_the_wait_is_not_told() {
    let mut bench = Bench::open();
    bench.claim_later("c", waiting("a", 5_000));
    let seq = bench.enqueue();
    bench.pass_renewed(5_100);
    bench.hand_over(seq, 42);
    assert_eq!(bench.view("c").state, ClaimState::Cancelled);
    assert_eq!(bench.releases(), [(seq, EndCause::Cancelled)]);
}

#[test]
fn the_lease_of_a_waiter_counts_from_its_grant() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 60_000));
    let seq = bench.enqueue();
    bench.pass_renewed(8_000);
    bench.hand_over(seq, 42);
    match bench.claimed(caller) {
        Ok(ClaimAnswer::Granted(view)) => {
            assert_eq!(view.expires_in, Some(ms(10_000)));
            assert_eq!(view.waited, ms(8_000));
        }
        other => panic!("{other:?}"),
    }
    bench.pass_renewed(9_900);
    assert_eq!(bench.view("c").state, ClaimState::Granted);
}

#[test]
fn closing_the_last_connection_cancels() {
    let mut bench = Bench::open();
    let first = bench.claim_later("c", waiting("a", 60_000));
    let seq = bench.enqueue();
    let second = bench.claim_later("c", waiting("a", 60_000));
    bench.step(|desk, now| desk.gone(now, first, Some(&id("c"))));
    assert_eq!(bench.view("c").state, ClaimState::Queued);
    bench.step(|desk, now| desk.gone(now, second, Some(&id("c"))));
    assert_eq!(
        bench.state("c"),
        (ClaimState::Cancelled, Some(Reason::CallerGone))
    );
    assert_eq!(bench.releases(), [(seq, EndCause::Cancelled)]);
}

#[test]
fn closing_the_connection_before_any_answer_gives_a_late_grant_back() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", ask("a"));
    bench.send();
    bench.step(|desk, now| desk.gone(now, caller, Some(&id("c"))));
    let seq = bench.grant(42);
    assert_eq!(bench.releases(), [(seq, EndCause::GrantTooLate)]);
}

#[test]
fn a_grant_that_nobody_took_is_given_back() {
    let mut bench = Bench::open();
    bench.claim_later("c", ask("a"));
    let seq = bench.grant(42);
    bench.step(|desk, now| desk.untold(now, &id("c")));
    assert_eq!(bench.releases(), [(seq, EndCause::GrantTooLate)]);
    bench.claim_later("c", ask("a"));
}

#[test]
fn a_grant_that_another_caller_took_stays() {
    let mut bench = Bench::open();
    bench.claim_later("c", waiting("a", 9_000));
    let other = bench.claim_later("c", waiting("a", 9_000));
    bench.grant(42);
    let Ok(granted) = bench.claimed(other) else {
        panic!("both callers are granted");
    };
    bench
        .step(|desk, now| desk.confirm(now, granted))
        .expect("still granted");
    bench.step(|desk, now| desk.untold(now, &id("c")));
    assert_eq!(bench.view("c").state, ClaimState::Granted);
}

#[test]
fn all_who_wait_for_a_claim_are_answered() {
    let mut bench = Bench::open();
    let first = bench.claim_later("c", waiting("a", 60_000));
    let seq = bench.enqueue();
    let second = bench.claim_later("c", waiting("a", 60_000));
    bench.hand_over(seq, 42);
    assert!(bench.claimed(first).is_ok());
    assert!(bench.claimed(second).is_ok());
}

#[test]
fn each_caller_waits_for_as_long_as_it_asked() {
    let mut bench = Bench::open();
    let patient = bench.claim_later("c", waiting("a", 60_000));
    bench.enqueue();
    let hasty = bench.claim_later("c", waiting("a", 1_000));
    bench.pass_renewed(1_100);
    assert!(matches!(
        bench.claimed(hasty),
        Err(ClaimError::WaitTimeout { .. })
    ));
    assert!(bench.answered(patient).is_none());
    assert_eq!(bench.releases(), []);
}

#[test]
fn a_try_that_is_joined_by_a_waiter_is_asked_again_to_wait() {
    let mut bench = Bench::open();
    bench.claim_later("c", ask("a"));
    bench.send();
    let patient = bench.claim_later("c", waiting("a", 60_000));
    bench.refuse(held_by_other());
    assert!(bench.answered(patient).is_none());
    assert!(bench.asked().1.wait);
}

#[test]
fn a_queued_claim_is_answered_at_once_and_keeps_waiting() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", queueing("a", 0));
    bench.enqueue();
    assert!(matches!(
        bench.claimed(caller),
        Ok(ClaimAnswer::Queued(view)) if view.obstacle.as_ref().is_some_and(|it| it.ahead == 1)
    ));
    assert_eq!(bench.view("c").state, ClaimState::Queued);
}

#[test]
fn a_queued_claim_that_can_be_granted_is() {
    let mut bench = Bench::open();
    bench.hold("c", queueing("a", 0), 42);
}

#[test]
fn rule_5_5_a_queued_claim_ends_unless_attended_within_its_ttl() {
    let mut bench = Bench::open();
    bench.claim_later("c", queueing("a", 0));
    let seq = bench.enqueue();
    bench.pass_renewed(9_000);
    bench.view("c");
    bench.pass_renewed(9_000);
    bench.renew("c").expect("it waits");
    bench.pass_renewed(9_000);
    assert_eq!(bench.releases(), []);
    bench.pass_renewed(1_100);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Cancelled, Some(Reason::Unattended))
    );
    assert_eq!(bench.releases(), [(seq, EndCause::Cancelled)]);
}

#[test]
fn rule_5_5_a_queued_claim_that_is_streamed_stays() {
    let mut bench = Bench::open();
    bench.claim_later("c", queueing("a", 0));
    bench.enqueue();
    bench
        .step(|desk, _| desk.watch(&id("c")))
        .expect("it can be watched");
    bench.pass_renewed(25_000);
    assert_eq!(bench.releases(), []);
}

#[test]
fn a_queued_claim_ends_after_its_wait() {
    let mut bench = Bench::open();
    bench.claim_later("c", queueing("a", 5_000));
    bench.enqueue();
    bench.pass_renewed(5_100);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Cancelled, Some(Reason::WaitTimeout))
    );
}

#[test]
fn closing_the_connection_does_not_cancel_a_queued_claim() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", queueing("a", 0));
    bench.send();
    bench.step(|desk, now| desk.gone(now, caller, Some(&id("c"))));
    bench.enqueue();
    assert_eq!(bench.view("c").state, ClaimState::Queued);
}

#[test]
fn delete_of_a_queued_claim_that_ended_by_itself_tells_how() {
    let mut bench = Bench::open();
    bench.claim_later("c", queueing("a", 5_000));
    bench.enqueue();
    bench.pass_renewed(5_100);
    assert!(matches!(
        bench.release("c"),
        Now::Done(Err(ClaimError::Ended(_)))
    ));
}

#[test]
fn a_deadlock_tells_its_victim() {
    let mut bench = Bench::open();
    let asking = bench.claim_later("asking", waiting("a", 9_000));
    bench.refuse(Refusal::Deadlock(Vec::new()));
    assert!(matches!(
        bench.claimed(asking),
        Err(ClaimError::Deadlock(_))
    ));
    let waits = bench.claim_later("waits", waiting("a", 9_000));
    let claim = bench.enqueue();
    bench.revision += 1;
    let revision = Revision(bench.revision);
    bench.event(News::ClaimEnded {
        claim,
        revision,
        cause: EndCause::Deadlock,
        cycle: Vec::new(),
    });
    assert!(matches!(bench.claimed(waits), Err(ClaimError::Deadlock(_))));
    assert_eq!(bench.releases(), [], "the core knows");
}

#[test]
fn news_that_are_not_newer_are_dropped() {
    let mut bench = Bench::open();
    bench.claim_later("c", waiting("a", 9_000));
    let claim = bench.enqueue();
    bench.hand_over(claim, 42);
    let revision = Revision(bench.revision);
    bench.event(News::ClaimEnded {
        claim,
        revision,
        cause: EndCause::Broken,
        cycle: Vec::new(),
    });
    assert_eq!(bench.view("c").state, ClaimState::Granted);
}

#[test]
fn a_watcher_is_woken_by_a_change() {
    let mut bench = Bench::open();
    bench.claim_later("c", queueing("a", 0));
    let claim = bench.enqueue();
    let watcher = bench
        .step(|desk, _| desk.watch(&id("c")))
        .expect("it can be watched");
    assert!(bench.answered(watcher).is_none());
    bench.hand_over(claim, 42);
    assert!(matches!(bench.answered(watcher), Some(Answer::Changed)));
}

#[test]
fn events_are_told_in_order_and_resume_where_they_stopped() {
    use sidelock::sidecar::handle::ClaimEventKind as Kind;
    let mut bench = Bench::open();
    bench.claim_later("c", queueing("a", 0));
    let claim = bench.enqueue();
    let kinds = |bench: &mut Bench, after| {
        let (events, more) = bench
            .step(|desk, now| desk.events(now, &id("c"), after))
            .expect("the claim is known");
        let kinds: Vec<Kind> = events.iter().map(|event| event.kind).collect();
        (kinds, events.last().map(|event| event.revision), more)
    };
    let (first, seen, more) = kinds(&mut bench, None);
    assert_eq!((first, more), (vec![Kind::State], true));
    assert_eq!(kinds(&mut bench, seen).0, []);
    bench.hand_over(claim, 42);
    bench.renew("c").expect("it holds");
    let (next, seen, _) = kinds(&mut bench, seen);
    assert_eq!(next, [Kind::Granted, Kind::Renewed]);
    bench.released("c").expect("it holds");
    let (last, seen, more) = kinds(&mut bench, seen);
    assert_eq!((last, more), (vec![Kind::Released], false));
    assert_eq!(kinds(&mut bench, seen), (vec![], None, false));
}
