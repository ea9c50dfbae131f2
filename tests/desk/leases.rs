//! Design 5, rule 5 and the two figures of rule 1: the app's own lease.

use sidelock::sidecar::handle::{ClaimError, ClaimState, Reason};
use sidelock::table::command::EndCause;

use crate::bench::{Bench, SESSION_SAFE, ask, id, ms};

#[test]
fn rule_5_5_a_claim_lives_its_ttl_from_the_last_renewal() {
    let mut bench = Bench::open();
    let (seq, _) = bench.hold("c", ask("a"), 42);
    for _ in 0..3 {
        bench.pass_renewed(9_000);
        let view = bench.renew("c").expect("it holds");
        assert_eq!(view.expires_in, Some(ms(10_000)));
    }
    bench.pass_renewed(9_999);
    assert_eq!(bench.view("c").state, ClaimState::Granted);
    bench.pass_renewed(1);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Expired, Some(Reason::TtlExpired))
    );
    assert_eq!(bench.releases(), [(seq, EndCause::LeaseExpired)]);
    assert!(matches!(bench.renew("c"), Err(ClaimError::Ended(_))));
}

#[test]
fn rule_5_5_a_renewal_may_change_the_ttl() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.step(|desk, now| desk.renew(now, &id("c"), Some(ms(60_000)), None));
    bench.pass_renewed(59_000);
    assert_eq!(bench.view("c").state, ClaimState::Granted);
}

#[test]
fn rule_5_5_a_renewal_costs_the_core_nothing() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.renew("c").expect("it holds");
    bench.send();
    assert_eq!(bench.operations.len(), 1);
}

#[test]
fn rule_5_1_safe_for_is_the_least_of_session_and_lease() {
    let mut bench = Bench::open();
    // The session was renewed at this very moment.
    let (_, view) = bench.hold("c", ask("a"), 42);
    assert_eq!(view.expires_in, Some(ms(10_000)));
    assert_eq!(view.safe_for, Some(ms(SESSION_SAFE)));
    assert_eq!(view.safe_until, Some(bench.now() + ms(SESSION_SAFE)));
    let mut short = ask("b");
    short.ttl = ms(500);
    let (_, view) = bench.hold("short", short, 43);
    assert_eq!(view.safe_for, Some(ms(500)));
}

#[test]
fn rule_5_1_an_app_that_counts_from_its_request_stops_before_the_sidecar() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", ask("a"));
    let sent_before = bench.now();
    bench.pass(700);
    bench.grant(42);
    let Ok(sidelock::sidecar::handle::ClaimAnswer::Granted(view)) = bench.claimed(caller) else {
        panic!("granted");
    };
    let app_stops = sent_before + view.expires_in.expect("granted");
    bench.pass_renewed(9_990);
    assert!(app_stops < bench.now());
    assert_eq!(bench.view("c").state, ClaimState::Granted);
}

#[test]
fn rule_5_5_a_bound_stream_renews_while_it_is_open() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench
        .step(|desk, now| desk.bind(now, &id("c")))
        .expect("it holds");
    bench.pass_renewed(60_000);
    let view = bench.view("c");
    assert_eq!(view.state, ClaimState::Granted);
    assert_eq!(view.expires_in, Some(ms(10_000)));
}

#[test]
fn rule_5_5_a_bound_stream_closed_by_the_app_is_a_death() {
    let mut bench = Bench::open();
    let (seq, _) = bench.hold("c", ask("a"), 42);
    bench
        .step(|desk, now| desk.bind(now, &id("c")))
        .expect("it holds");
    bench.step(|desk, now| desk.unbind(now, &id("c"), true));
    assert_eq!(
        bench.state("c"),
        (ClaimState::Expired, Some(Reason::StreamClosed))
    );
    assert_eq!(bench.releases(), [(seq, EndCause::StreamClosed)]);
}

#[test]
fn rule_5_5_a_bound_stream_that_breaks_leaves_the_ttl() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench
        .step(|desk, now| desk.bind(now, &id("c")))
        .expect("it holds");
    bench.pass_renewed(60_000);
    bench.step(|desk, now| desk.unbind(now, &id("c"), false));
    bench.pass_renewed(9_900);
    assert_eq!(bench.view("c").state, ClaimState::Granted);
    bench.pass_renewed(200);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Expired, Some(Reason::TtlExpired))
    );
}

#[test]
fn rule_5_5_the_sidecar_never_renews_for_an_app_that_stopped() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    // Looking is not renewing.
    for _ in 0..11 {
        bench.pass_renewed(1_000);
        bench.view("c");
    }
    assert_eq!(bench.view("c").state, ClaimState::Expired);
}

#[test]
fn a_lease_that_ran_out_is_over_even_if_no_timer_has_fired() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.now_ms += 10_001;
    let now = bench.now();
    // No `advance`: the decision itself must read the deadline.
    let view = bench.desk.view_now(now, &id("c")).expect("remembered");
    assert_eq!(view.state, ClaimState::Expired);
}
