//! Design 5, rules 1 and 4, and design 6 on streams: deadlines, jeopardy, safe, lost, resends.

use sidelock::sidecar::desk::{Answer, Now};
use sidelock::sidecar::frame::{FrameIn, News, OperationNews, RenewalOutcome};
use sidelock::sidecar::handle::{
    ClaimAnswer, ClaimError, ClaimEventKind, ClaimState, Reason, ReleaseAnswer, Unavailable,
};
use sidelock::table::command::{EndCause, OperateReply, OperationReply};
use sidelock::table::id::{Revision, Seq, SessionId};

use crate::bench::{Bench, RENEW_EVERY, SESSION_SAFE, SESSION_TTL, ask, id, ms, queueing, waiting};

#[test]
fn rule_5_1_the_deadline_counts_from_the_send_of_the_acknowledged_renewal() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.renewals.clear();
    bench.pass(RENEW_EVERY);
    bench.send();
    let (number, sent) = bench.renewals[0];
    bench.pass(1_000);
    bench.renewed(number, RenewalOutcome::Renewed(ms(SESSION_TTL)));
    let until = bench.view("c").safe_until.expect("certain");
    let lease_end = bench.now() + bench.view("c").expires_in.expect("held");
    let deadline = sidelock::world::clock::Instant::from_boot(ms(sent + SESSION_SAFE));
    assert_eq!(until, deadline.min(lease_end));
}

#[test]
fn rule_5_1_the_deadline_counts_from_the_renewal_that_was_acknowledged_not_from_a_later_one() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.renewals.clear();
    for _ in 0..2 {
        bench.pass(RENEW_EVERY);
        bench.send();
        bench.renew("c").expect("it holds");
    }
    let [(first, sent), .., (_, later)] = bench.renewals[..] else {
        panic!("two renewals are open: {:?}", bench.renewals);
    };
    assert!(sent < later, "{sent} and {later}");
    bench.renewed(first, RenewalOutcome::Renewed(ms(SESSION_TTL)));
    let lease_end = bench.now() + bench.view("c").expires_in.expect("held");
    let deadline = sidelock::world::clock::Instant::from_boot(ms(sent + SESSION_SAFE));
    let until = bench.view("c").safe_until.expect("certain");
    assert_eq!(until, deadline.min(lease_end));
}

#[test]
fn rule_5_1_the_acknowledgement_of_a_void_number_moves_nothing() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.renew("c").expect("it holds");
    let before = bench.view("c").safe_until;
    bench.pass(RENEW_EVERY);
    bench.send();
    let (number, _) = bench.renewals[0];
    // A number never sent, then one whose stream is superseded.
    let unsent = sidelock::table::id::RenewalNumber(number.0 + 10);
    bench.renewed(unsent, RenewalOutcome::Renewed(ms(SESSION_TTL)));
    bench.disconnect();
    bench.connect();
    bench.attach(&[(1, &[42])]);
    bench.renewed(number, RenewalOutcome::Renewed(ms(SESSION_TTL)));
    bench.renew("c").expect("it holds");
    assert_eq!(bench.view("c").safe_until, before);
}

#[test]
fn rule_5_1_the_acknowledgement_states_the_ttl_that_counts() {
    let mut bench = Bench::open();
    bench.pass(RENEW_EVERY);
    bench.send();
    bench.pass_renewed(0);
    bench.hold("c", ask("a"), 42);
    let before = bench.view("c").safe_until;
    bench.pass(RENEW_EVERY);
    bench.send();
    let (number, _) = *bench.renewals.last().expect("a renewal is due");
    bench.renewed(number, RenewalOutcome::Renewed(ms(1_000)));
    assert_eq!(
        bench.view("c").safe_until,
        before,
        "a shorter ttl never moves it back, and its own is not taken"
    );
}

#[test]
fn a_new_stream_sends_a_new_renewal_at_once() {
    let mut bench = Bench::open();
    bench.renewals.clear();
    bench.disconnect();
    bench.connect();
    bench.attach(&[]);
    bench.send();
    assert_eq!(bench.renewals.len(), 1);
}

#[test]
fn opening_alone_makes_nothing_certain() {
    let mut bench = Bench::cold();
    let caller = bench.claim_later("c", ask("a"));
    bench.connect();
    bench.attach(&[]);
    bench.grant(42);
    assert!(bench.answered(caller).is_none(), "granted, but not certain");
    bench.acknowledge();
    assert!(matches!(bench.claimed(caller), Ok(ClaimAnswer::Granted(_))));
}

#[test]
fn rule_5_4_past_the_deadline_all_claims_are_in_jeopardy() {
    let mut bench = Bench::open();
    let mut long = ask("a");
    long.ttl = ms(60_000);
    bench.hold("c", long.clone(), 42);
    bench.disconnect();
    bench.pass(SESSION_SAFE + 1);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Jeopardy, Some(Reason::DeadlinePassed))
    );
    assert!(bench.view("c").safe_for.is_none());
    assert!(matches!(bench.renew("c"), Err(ClaimError::Jeopardy(_))));
    assert!(matches!(
        bench.claim_now("c", long),
        Err(ClaimError::Jeopardy(_))
    ));
    let (events, _) = bench
        .step(|desk, now| desk.events(now, &id("c"), Some(2)))
        .expect("known");
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [ClaimEventKind::Jeopardy]);
}

#[test]
fn rule_5_4_the_deadline_is_read_at_the_moment_of_the_decision() {
    let mut bench = Bench::open();
    let mut long = ask("a");
    long.ttl = ms(60_000);
    bench.hold("c", long, 42);
    bench.now_ms += SESSION_SAFE;
    let now = bench.now();
    // No timer has fired.
    let view = bench.desk.view_now(now, &id("c")).expect("known");
    assert_eq!(view.state, ClaimState::Jeopardy);
}

fn in_jeopardy() -> Bench {
    let mut bench = Bench::open();
    let mut long = ask("a");
    long.ttl = ms(60_000);
    bench.hold("c", long, 42);
    bench.disconnect();
    bench.pass(SESSION_SAFE + 1_000);
    assert_eq!(bench.view("c").state, ClaimState::Jeopardy);
    bench.connect();
    bench
}

#[test]
fn rule_5_4_safe_again_with_the_same_token() {
    let mut bench = in_jeopardy();
    bench.attach(&[(1, &[42])]);
    assert_eq!(
        bench.view("c").state,
        ClaimState::Jeopardy,
        "the core knows the session, but no new deadline is ahead"
    );
    bench.acknowledge();
    let view = bench.view("c");
    assert_eq!(view.state, ClaimState::Granted);
    assert_eq!(view.tokens[0].get(), 42);
    let (events, _) = bench
        .step(|desk, now| desk.events(now, &id("c"), Some(2)))
        .expect("known");
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [ClaimEventKind::Jeopardy, ClaimEventKind::Safe]);
}

#[test]
fn rule_5_4_not_safe_by_an_acknowledgement_whose_deadline_has_passed() {
    let mut bench = in_jeopardy();
    bench.attach(&[(1, &[42])]);
    bench.renewals.clear();
    bench.send();
    let (number, _) = bench.renewals[0];
    bench.now_ms += SESSION_SAFE + 1;
    bench.renewed(number, RenewalOutcome::Renewed(ms(SESSION_TTL)));
    assert_eq!(bench.view("c").state, ClaimState::Jeopardy);
}

#[test]
fn rule_5_4_lost_when_the_core_has_another_session_under_the_key() {
    let mut bench = in_jeopardy();
    bench.session = SessionId(8);
    bench.operations.clear();
    bench.attach(&[]);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Lost, Some(Reason::SessionLost))
    );
    assert_eq!(bench.view("c").tokens[0].get(), 42);
    bench.acknowledge();
    bench.hold("next", ask("a"), 43);
    assert_eq!(bench.operations[0].0, Seq(1), "numbers start anew");
}

#[test]
fn rule_5_4_lost_when_the_core_says_so() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    let session = bench.session;
    bench.event(News::SessionEnded {
        session,
        cause: EndCause::SessionExpired,
    });
    assert_eq!(
        bench.state("c"),
        (ClaimState::Lost, Some(Reason::SessionExpired))
    );
    assert!(matches!(
        bench.claim_now("c", ask("a")),
        Err(ClaimError::Ended(_))
    ));
    // The next session opens on the same stream, under another key.
    bench.operations.clear();
    bench.session = SessionId(9);
    bench.attach(&[]);
    bench.acknowledge();
    bench.hold("d", ask("a"), 43);
}

#[test]
fn rule_5_4_a_renewal_of_an_unknown_session_loses_it() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.pass(RENEW_EVERY);
    bench.send();
    let (number, _) = *bench.renewals.last().expect("a renewal is due");
    bench.renewed(number, RenewalOutcome::UnknownSession);
    assert_eq!(bench.view("c").state, ClaimState::Lost);
}

#[test]
fn rule_5_4_a_grant_in_jeopardy_is_not_told_until_safe() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 60_000));
    bench.enqueue();
    bench.disconnect();
    bench.pass(SESSION_SAFE + 1_000);
    bench.connect();
    bench.attach(&[(1, &[42])]);
    assert!(bench.answered(caller).is_none());
    assert_eq!(bench.view("c").state, ClaimState::Queued);
    bench.acknowledge();
    assert!(matches!(
        bench.claimed(caller),
        Ok(ClaimAnswer::Granted(view)) if view.tokens[0].get() == 42
    ));
}

#[test]
fn rule_5_4_a_grant_that_stays_untold_beyond_the_wait_is_given_back() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 12_000));
    let seq = bench.enqueue();
    bench.disconnect();
    bench.pass(SESSION_SAFE + 1_000);
    bench.connect();
    bench.attach(&[(1, &[42])]);
    bench.pass(2_000);
    assert!(matches!(
        bench.claimed(caller),
        Err(ClaimError::Unavailable(Unavailable::Jeopardy { .. }))
    ));
    assert_eq!(bench.releases(), [(seq, EndCause::GrantTooLate)]);
}

#[test]
fn delete_in_jeopardy_is_accepted_and_delivered() {
    let mut bench = in_jeopardy();
    assert_eq!(bench.release("c"), Now::Done(Ok(ReleaseAnswer::Accepted)));
    bench.attach_after(&[(1, &[42])], Seq(1));
    bench.acknowledge();
    assert_eq!(bench.releases(), [(Seq(1), EndCause::Released)]);
    assert_eq!(bench.view("c").state, ClaimState::Released);
}

#[test]
fn unanswered_operations_go_again_with_the_same_seq_on_the_next_stream() {
    let mut bench = Bench::open();
    let first = bench.claim_later("c", ask("a"));
    let second = bench.claim_later("d", ask("b"));
    bench.send();
    let before = std::mem::take(&mut bench.operations);
    bench.disconnect();
    bench.connect();
    // The first was applied, and its reply lost.
    bench.attach_after(&[(1, &[42])], Seq(1));
    bench.send();
    assert_eq!(bench.operations, before);
    assert!(
        matches!(bench.claimed(first), Ok(ClaimAnswer::Granted(view)) if view.tokens[0].get() == 42)
    );
    bench.grant(43);
    assert!(matches!(bench.claimed(second), Ok(ClaimAnswer::Granted(_))));
}

#[test]
fn an_operation_whose_outcome_is_unknown_goes_again() {
    let mut bench = Bench::open();
    bench.claim_later("c", ask("a"));
    let (seq, _) = bench.asked();
    bench.operations.clear();
    let replies = vec![OperationNews { seq, reply: None }];
    bench.hear(FrameIn {
        replies,
        ..FrameIn::default()
    });
    bench.pass(200);
    assert_eq!(bench.asked().0, seq);
}

#[test]
fn nothing_of_a_superseded_stream_counts() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", ask("a"));
    bench.send();
    let old = bench.stream;
    bench.disconnect();
    bench.connect();
    bench.attach_after(&[], Seq(0));
    let current = bench.stream;
    bench.stream = old;
    bench.grant(42);
    bench.stream = current;
    assert!(bench.answered(caller).is_none());
}

#[test]
fn a_kept_reply_older_than_the_attach_does_not_raise_the_dead() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", ask("a"));
    let (seq, _) = bench.asked();
    bench.disconnect();
    bench.connect();
    // It was granted and broken by force while the stream was down.
    bench.attach_after(&[], Seq(1));
    let kept = sidelock::table::command::Grant {
        claim: sidelock::table::id::ClaimRef {
            session: bench.session,
            seq,
        },
        revision: Revision(50),
        tokens: vec![crate::bench::token(42)],
    };
    bench.reply(seq, OperationReply::Granted(kept));
    assert!(matches!(bench.claimed(caller), Err(ClaimError::Ended(_))));
}

#[test]
fn a_held_claim_that_the_core_does_not_list_is_gone() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.disconnect();
    bench.connect();
    bench.attach(&[]);
    assert_eq!(
        bench.state("c"),
        (ClaimState::Revoked, Some(Reason::Broken))
    );
}

#[test]
fn a_listed_claim_that_we_do_not_know_is_given_back() {
    let mut bench = Bench::open();
    bench.disconnect();
    bench.connect();
    bench.attach(&[(5, &[42])]);
    assert_eq!(bench.releases(), [(Seq(5), EndCause::GrantTooLate)]);
}

#[test]
fn a_waiter_granted_while_the_stream_was_down_learns_it_from_the_attach() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 60_000));
    bench.enqueue();
    bench.disconnect();
    bench.connect();
    bench.attach(&[(1, &[42])]);
    bench.acknowledge();
    assert!(matches!(bench.claimed(caller), Ok(ClaimAnswer::Granted(_))));
}

#[test]
fn waiters_of_a_lost_session_are_told() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 60_000));
    bench.enqueue();
    bench.claim_later("q", queueing("a", 0));
    bench.enqueue();
    let session = bench.session;
    bench.event(News::SessionEnded {
        session,
        cause: EndCause::SessionExpired,
    });
    assert!(matches!(
        bench.claimed(caller),
        Err(ClaimError::Unavailable(Unavailable::SessionLost { .. }))
    ));
    assert_eq!(
        bench.state("q"),
        (ClaimState::Lost, Some(Reason::SessionExpired))
    );
}

#[test]
fn a_release_of_a_lost_session_was_a_release() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    let Now::Later(caller) = bench.release("c") else {
        panic!("the core must hear of it first");
    };
    let (seq, _) = {
        bench.send();
        bench.operations[1].clone()
    };
    let reply = Some(OperateReply::UnknownSession);
    bench.hear(FrameIn {
        replies: vec![OperationNews { seq, reply }],
        ..FrameIn::default()
    });
    assert!(matches!(
        bench.answered(caller),
        Some(Answer::Release(Ok(ReleaseAnswer::Released)))
    ));
}

#[test]
fn a_broken_claim_is_told_and_let_go() {
    let mut bench = Bench::open();
    let (claim, _) = bench.hold("c", ask("a"), 42);
    bench.revision += 1;
    let revision = Revision(bench.revision);
    bench.event(News::BreakAsked { claim, revision });
    assert_eq!(
        bench.state("c"),
        (ClaimState::Revoked, Some(Reason::Broken))
    );
    assert_eq!(bench.releases(), [(claim, EndCause::Broken)]);
}

#[test]
fn releases_leave_before_claims_that_were_asked_earlier() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.operations.clear();
    bench.claim_later("d", ask("b"));
    bench.release("c");
    bench.send();
    let kinds: Vec<bool> = bench
        .operations
        .iter()
        .map(|(_, operation)| matches!(operation, sidelock::table::command::Operation::Release(_)))
        .collect();
    assert_eq!(kinds, [true, false]);
    assert_eq!(bench.operations[0].0, Seq(2));
}

#[test]
fn acknowledged_replies_may_be_forgotten() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.claim_later("d", ask("b"));
    let frames = bench.send();
    assert_eq!(frames[0].operations[0].acked, Seq(1));
}
