//! Design 6, modes: what happens while no quorum is seen.

use sidelock::sidecar::desk::{Answer, Now};
use sidelock::sidecar::frame::{FrameIn, LeaderNews, QueryNews, ReadAsk, ReadRefusal, ReadReply};
use sidelock::sidecar::handle::{
    ClaimAsk, ClaimError, ClaimState, Consistency, HolderView, LockView, ReleaseAnswer,
    SidecarMode, Unavailable, Why,
};
use sidelock::table::command::{EndCause, Mode, Want};
use sidelock::table::id::{ClaimRef, LockName, OwnerId, Revision, Seq, SessionId, Token};

use crate::bench::{BOUND, Bench, ask, ms, waiting};

fn mode(bench: &mut Bench) -> SidecarMode {
    bench.step(|desk, now| desk.mode_view(now)).standing.mode
}

#[test]
fn silence_of_an_idle_core_is_no_loss() {
    let mut bench = Bench::open();
    bench.pass_renewed(60_000);
    assert_eq!(mode(&mut bench), SidecarMode::Normal);
}

#[test]
fn new_claims_are_held_for_the_bound_and_then_refused_at_once() {
    let mut bench = Bench::open();
    bench.disconnect();
    let held = bench.claim_later("c", ask("a"));
    bench.pass(BOUND - 10);
    assert!(bench.answered(held).is_none());
    let later = bench.claim_later("d", ask("a"));
    bench.pass(20);
    for caller in [held, later] {
        assert!(matches!(
            bench.claimed(caller),
            Err(ClaimError::Unavailable(Unavailable::CoreUnreachable { .. }))
        ));
    }
    assert_eq!(mode(&mut bench), SidecarMode::ReadOnly);
    assert!(matches!(
        bench.claim_now("e", ask("a")),
        Err(ClaimError::Unavailable(Unavailable::CoreUnreachable { .. }))
    ));
}

#[test]
fn a_core_that_answers_without_a_leader_is_no_quorum() {
    let mut bench = Bench::open();
    bench.leader(false);
    bench.pass(BOUND);
    match bench.claim_now("c", ask("a")) {
        Err(ClaimError::Unavailable(Unavailable::NoQuorum { retry_after })) => {
            assert!(!retry_after.is_zero());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_leader_that_acknowledges_nothing_is_no_quorum() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", ask("a"));
    bench.send();
    bench.pass(BOUND);
    assert!(matches!(
        bench.claimed(caller),
        Err(ClaimError::Unavailable(Unavailable::NoQuorum { .. }))
    ));
    // It was sent: should the core grant it after all, it is given back.
    let seq = bench.asked().0;
    assert_eq!(bench.releases(), [(seq, EndCause::GrantTooLate)]);
}

#[test]
fn a_refused_claim_may_be_put_again_when_the_core_is_back() {
    let mut bench = Bench::open();
    bench.disconnect();
    bench.claim_later("c", ask("a"));
    bench.pass(BOUND);
    bench.connect();
    bench.attach(&[]);
    assert_eq!(mode(&mut bench), SidecarMode::Normal);
    bench.acknowledge();
    bench.hold("c", ask("a"), 42);
}

#[test]
fn held_claims_are_served_until_the_safe_deadline() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.disconnect();
    bench.pass(BOUND + 1);
    assert_eq!(mode(&mut bench), SidecarMode::ReadOnly);
    let view = bench.renew("c").expect("certain");
    assert_eq!(view.state, ClaimState::Granted);
    assert_eq!(view.mode, SidecarMode::ReadOnly);
}

#[test]
fn releases_are_accepted_and_delivered_later() {
    let mut bench = Bench::open();
    bench.hold("c", ask("a"), 42);
    bench.hold("d", ask("b"), 43);
    bench.disconnect();
    let Now::Later(caller) = bench.release("c") else {
        panic!("the bound has not passed");
    };
    bench.pass(BOUND + 1);
    assert!(matches!(
        bench.answered(caller),
        Some(Answer::Release(Ok(ReleaseAnswer::Accepted)))
    ));
    assert_eq!(bench.release("d"), Now::Done(Ok(ReleaseAnswer::Accepted)));
    bench.connect();
    bench.attach_after(&[(1, &[42]), (2, &[43])], sidelock::table::id::Seq(2));
    assert_eq!(bench.releases().len(), 2);
}

#[test]
fn waiting_claims_keep_their_place() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 60_000));
    bench.enqueue();
    bench.disconnect();
    bench.pass(BOUND + 1);
    assert!(bench.answered(caller).is_none());
    bench.connect();
    bench.attach(&[(1, &[])]);
    bench.acknowledge();
    bench.hand_over(sidelock::table::id::Seq(1), 42);
    assert!(bench.claimed(caller).is_ok());
}

fn question() -> ReadAsk {
    ReadAsk::Lock {
        name: LockName::parse("a").expect("valid"),
        after: None,
        wait: ms(0),
    }
}

fn answer(id: u64, linearizable: bool) -> QueryNews {
    QueryNews {
        id,
        linearizable,
        age: ms(5),
        reply: Ok(ReadReply::Lock(LockView {
            name: LockName::parse("a").expect("valid"),
            holders: Vec::new(),
            queue: Vec::new(),
            waiters: 0,
            lock_delay_ms: None,
            revision: Revision(1),
        })),
    }
}

fn hear_answer(bench: &mut Bench, news: QueryNews) {
    bench.hear(FrameIn {
        queries: vec![news],
        ..Default::default()
    });
}

/// The one read that is under way is refused.
fn refuse_read(bench: &mut Bench, refusal: ReadRefusal) {
    let asked = bench.send().remove(0).queries.remove(0);
    let news = QueryNews {
        reply: Err(refusal),
        ..answer(asked.id, true)
    };
    hear_answer(bench, news);
}

fn ask_read(bench: &mut Bench, consistency: Consistency) -> Now<Result<(), Unavailable>> {
    match bench.step(|desk, now| desk.read(now, question(), consistency)) {
        Now::Done(done) => Now::Done(done.map(|_| ())),
        Now::Later(caller) => Now::Later(caller),
    }
}

#[test]
fn a_linearizable_read_is_refused_rather_than_stale() {
    let mut bench = Bench::open();
    let Now::Later(caller) = ask_read(&mut bench, Consistency::Linearizable) else {
        panic!("the leader can answer");
    };
    let frames = bench.send();
    assert!(frames[0].queries[0].linearizable);
    // An answer from applied state does not do.
    let id = frames[0].queries[0].id;
    hear_answer(&mut bench, answer(id, false));
    assert!(bench.answered(caller).is_none());
    bench.leader(false);
    bench.pass(BOUND + 1);
    assert!(matches!(
        bench.answered(caller),
        Some(Answer::Read(Err(Unavailable::NoQuorum { .. })))
    ));
    assert!(matches!(
        ask_read(&mut bench, Consistency::Linearizable),
        Now::Done(Err(Unavailable::NoQuorum { .. }))
    ));
}

#[test]
fn an_available_read_falls_back_to_any_node_that_answers() {
    let mut bench = Bench::open();
    let Now::Later(caller) = ask_read(&mut bench, Consistency::Available) else {
        panic!("the leader can answer");
    };
    let first = bench.send().remove(0).queries.remove(0);
    assert!(first.linearizable);
    let refusal = QueryNews {
        reply: Err(ReadRefusal::NoQuorum),
        ..answer(first.id, true)
    };
    hear_answer(&mut bench, refusal);
    let second = bench.send().remove(0).queries.remove(0);
    assert!(!second.linearizable);
    hear_answer(&mut bench, answer(second.id, false));
    match bench.answered(caller) {
        Some(Answer::Read(Ok(read))) => assert!(!read.linearizable && read.age == ms(5)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_watched_lock_that_does_not_change_is_no_loss() {
    let mut bench = Bench::open();
    let watch = ReadAsk::Lock {
        name: LockName::parse("a").expect("valid"),
        after: Some(Revision(1)),
        wait: ms(30_000),
    };
    for consistency in [Consistency::Available, Consistency::Linearizable] {
        let watch = watch.clone();
        let asked = bench.step(|desk, now| desk.read(now, watch, consistency));
        assert!(matches!(asked, Now::Later(_)));
    }
    assert_eq!(bench.send()[0].queries.len(), 2);
    bench.pass_renewed(20_000);
    assert_eq!(mode(&mut bench), SidecarMode::Normal);
}

#[test]
fn a_read_that_is_refused_leaves_no_doubt() {
    for refusal in [ReadRefusal::Forbidden, ReadRefusal::Delegate] {
        let mut bench = Bench::open();
        ask_read(&mut bench, Consistency::Linearizable);
        refuse_read(&mut bench, refusal);
        bench.pass(BOUND + 10);
        assert_eq!(mode(&mut bench), SidecarMode::Normal);
    }
}

#[test]
fn a_refusal_does_not_hide_what_else_is_unanswered() {
    let mut bench = Bench::open();
    bench.claim_later("c", ask("b"));
    ask_read(&mut bench, Consistency::Linearizable);
    refuse_read(&mut bench, ReadRefusal::Forbidden);
    bench.pass(BOUND + 10);
    assert_eq!(mode(&mut bench), SidecarMode::ReadOnly);
}

#[test]
fn an_answer_counts_also_if_nobody_waits_for_it_any_more() {
    let mut bench = Bench::open();
    let Now::Later(caller) = ask_read(&mut bench, Consistency::Linearizable) else {
        panic!("the leader can answer");
    };
    let asked = bench.send().remove(0).queries.remove(0);
    bench.step(|desk, now| desk.gone(now, caller, None));
    hear_answer(&mut bench, answer(asked.id, true));
    bench.pass(BOUND + 10);
    assert_eq!(mode(&mut bench), SidecarMode::Normal);
}

#[test]
fn a_read_follows_its_stream_to_another_node() {
    let mut bench = Bench::open();
    let Now::Later(caller) = ask_read(&mut bench, Consistency::Available) else {
        panic!("the leader can answer");
    };
    let first = bench.send().remove(0).queries.remove(0);
    bench.disconnect();
    bench.connect();
    let again = bench.send().remove(0).queries.remove(0);
    assert_eq!(first.id, again.id);
    hear_answer(&mut bench, answer(again.id, true));
    assert!(bench.answered(caller).is_some());
}

#[test]
fn a_drained_sidecar_takes_no_claims_and_tells_waiters() {
    let mut bench = Bench::open();
    let caller = bench.claim_later("c", waiting("a", 60_000));
    bench.enqueue();
    bench.step(|desk, now| desk.drain(now));
    assert!(matches!(
        bench.claimed(caller),
        Err(ClaimError::Unavailable(Unavailable::Draining))
    ));
    assert!(matches!(
        bench.claim_now("d", ask("a")),
        Err(ClaimError::Unavailable(Unavailable::Draining))
    ));
    assert!(bench.step(|desk, now| desk.close(now)).is_some());
}

#[test]
fn a_prefix_is_put_before_names_and_taken_off_again() {
    use std::sync::Arc;
    let mut bench = Bench::with(sidelock::sidecar::desk::Rules {
        nodes: 1,
        session_ttl: ms(10_000),
        identity: Arc::from("bench"),
        caution: sidelock::sidecar::lease::Caution {
            rho_ppm: 10_000,
            margin: ms(100),
        },
        no_quorum_after: ms(BOUND),
        prefix: Arc::from("team/"),
        delegate: false,
        records: false,
        seed: [1; 32],
    });
    bench.connect();
    bench.attach(&[]);
    bench.acknowledge();
    let caller = bench.claim_later("c", ask("a"));
    assert_eq!(bench.asked().1.locks[0].name.as_str(), "team/a");
    let mut refusal = crate::bench::held_by_other();
    if let sidelock::table::command::Refusal::Held { lock, .. } = &mut refusal {
        *lock = LockName::parse("team/a").expect("valid");
    }
    bench.refuse(refusal);
    match bench.claimed(caller) {
        Err(ClaimError::Held(contention)) => assert_eq!(contention.lock.as_str(), "a"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_quorum_verify_answers_for_own_holds_while_they_are_certain() {
    let mut bench = Bench::open();
    let (_, view) = bench.hold("c", ask("a"), 7);
    let token = view.tokens[0];
    bench.disconnect();
    bench.pass(BOUND);
    let verify = |bench: &mut Bench, token: Token| {
        let ask = ReadAsk::Verify {
            name: LockName::parse("a").expect("a name"),
            token,
        };
        bench.step(|desk, now| desk.read(now, ask, Consistency::Linearizable))
    };
    match verify(&mut bench, token) {
        Now::Done(Ok(read)) => match read.value {
            ReadReply::Verified(view) => assert!(view.current && view.held),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    let another = Token::new(token.get() + 1).expect("a token");
    assert!(matches!(verify(&mut bench, another), Now::Done(Err(_))));
    // Beyond the safe deadline nothing is confirmed any more, whatever the claim's own lease says.
    bench.pass(10_000);
    assert!(matches!(verify(&mut bench, token), Now::Done(Err(_))));
}

#[test]
fn without_a_core_an_own_hold_does_not_hide_what_was_seen_of_others() {
    let mut bench = Bench::open();
    let shared = ClaimAsk {
        locks: vec![Want {
            mode: Mode::Shared,
            ..ask("a").locks.remove(0)
        }],
        ..ask("a")
    };
    bench.hold("c", shared, 7);
    ask_read(&mut bench, Consistency::Cached);
    let asked = bench.send().remove(0).queries.remove(0);
    let mut news = answer(asked.id, false);
    if let Ok(ReadReply::Lock(view)) = &mut news.reply {
        view.holders = vec![other_holder()];
        view.waiters = 3;
    }
    hear_answer(&mut bench, news);
    bench.disconnect();
    bench.pass(BOUND);
    let Now::Done(Ok(read)) =
        bench.step(|desk, now| desk.read(now, question(), Consistency::Cached))
    else {
        panic!("something is remembered");
    };
    assert!(!read.linearizable && read.age >= ms(BOUND));
    let ReadReply::Lock(view) = read.value else {
        panic!("a lock was asked for");
    };
    let holders: Vec<_> = view
        .holders
        .iter()
        .map(|one| one.claim_id.as_str())
        .collect();
    assert_eq!((holders, view.waiters), (vec!["c", "theirs"], 3));
}

fn other_holder() -> HolderView {
    HolderView {
        claim: ClaimRef {
            session: SessionId(999),
            seq: Seq(1),
        },
        claim_id: crate::bench::id("theirs"),
        owner: OwnerId::parse("theirs").expect("valid"),
        identity: "elsewhere".into(),
        mode: Mode::Shared,
        token: crate::bench::token(6),
        metadata: std::collections::BTreeMap::default(),
        value: None,
        breaking: false,
    }
}

#[test]
fn more_than_the_core_answers_is_refused_at_once_and_told_how_long() {
    let mut bench = Bench::open();
    // A core that takes its time: what waits for it is bounded, whatever is asked.
    let mut admitted = 0;
    let refused = loop {
        let name = format!("c{admitted}");
        match bench.claim(&name, ask("a")) {
            Now::Later(_) => admitted += 1,
            Now::Done(Err(error)) => break error,
            Now::Done(Ok(_)) => panic!("the core has said nothing"),
        }
        assert!(admitted < 100_000, "there is a bound");
    };
    match refused {
        ClaimError::Unavailable(Unavailable::Overloaded { retry_after }) => {
            assert!(!retry_after.is_zero());
        }
        other => panic!("{other:?}"),
    }
    let view = bench.step(|desk, now| desk.mode_view(now));
    assert_eq!(view.standing.why, Some(Why::Overloaded));
    assert_eq!(view.standing.mode, SidecarMode::Normal);
    // Releases are never refused, and what was admitted is served.
    bench.send();
    bench.pass(10);
    assert!(bench.released("unknown").is_ok());
}

#[test]
fn the_bound_counts_from_when_the_leader_lost_its_quorum() {
    let mut bench = Bench::open();
    bench.pass_renewed(20_000);
    // What was proven since counts: the silence cannot be older than that.
    let proven = bench.step(|desk, now| desk.mode_view(now)).quorum_seen;
    let proven = proven.expect("it renews");
    bench.pass(1_000_u64.saturating_sub(u64::try_from(proven.as_millis()).expect("small")));
    let leader = Some(LeaderNews {
        term: 1,
        serving: false,
        silent: ms(700),
    });
    bench.hear(FrameIn {
        leader,
        ..FrameIn::default()
    });
    bench.pass(BOUND - 700 - 10);
    assert_eq!(mode(&mut bench), SidecarMode::Normal);
    bench.pass(20);
    assert_eq!(mode(&mut bench), SidecarMode::ReadOnly);
}
