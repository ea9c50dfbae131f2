//! Sidecars' streams against a real node: real gRPC, real Raft, real RocksDB.

use sidelock::wire::v1;
use sidelock::wire::v1::event::Event;
use sidelock::wire::v1::operation_reply::Outcome;
use sidelock::wire::v1::query::Query;
use sidelock::wire::v1::query_reply::Reply;
use sidelock::wire::v1::renewal_reply::Outcome as Renewed;
use sidelock::world::clock::{BootClock, Clock};

use crate::client::{Client, ask, cell, cell_with, let_go};

const LONG_MS: u32 = 60_000;

fn granted(outcome: Outcome) -> v1::Granted {
    match outcome {
        Outcome::Granted(granted) => granted,
        other => panic!("not granted: {other:?}"),
    }
}

#[tokio::test]
async fn a_release_grants_the_next_waiter_which_learns_of_it_by_an_event() {
    let cell = cell().await;
    let (mut one, attached) = Client::open(&cell, 1, LONG_MS).await;
    assert_eq!(
        (attached.seq, attached.ttl_ms, attached.claims.len()),
        (0, LONG_MS, 0)
    );
    let (mut two, _) = Client::open(&cell, 2, LONG_MS).await;

    let first = granted(one.acquire(1, "a", true).await);
    assert_eq!(first.claim, 1);
    let Outcome::Queued(queued) = two.acquire(1, "a", true).await else {
        panic!("the lock is held");
    };
    assert_eq!(queued.ahead, 0);
    let Outcome::Ended(ended) = one.release(2, 1).await else {
        panic!("it was held");
    };
    assert_eq!(ended.was, v1::Was::Held as i32);
    let Event::Granted(second) = two.event().await else {
        panic!("the waiter was not granted");
    };
    assert_eq!(second.claim, 1);
    assert!(second.revision > queued.revision);
    assert!(second.tokens[0] > first.tokens[0], "tokens increase");
    assert_eq!(one.events, [], "nobody else is told");
}

#[tokio::test]
async fn a_resent_operation_gets_its_kept_reply_and_no_second_effect() {
    let cell = cell().await;
    let (mut one, _) = Client::open(&cell, 1, LONG_MS).await;
    let first = one.acquire(1, "a", false).await;
    let again = one.acquire(1, "a", false).await;
    assert_eq!(first, again);
    // Were it applied twice, seq 2 would not be next.
    assert!(matches!(
        one.acquire(2, "b", false).await,
        Outcome::Granted(_)
    ));
    assert_eq!(one.acquire(9, "c", false).await, Outcome::GapExpected(3));
}

#[tokio::test]
async fn many_operations_of_one_frame_are_answered_in_order() {
    let cell = cell().await;
    let (mut one, _) = Client::open(&cell, 1, LONG_MS).await;
    let operations = (1..=3_000).map(|seq| one.operation(seq, ask(seq, &format!("l{seq}"), false)));
    one.operate(operations.collect()).await;
    while one.replies.len() < 3_000 {
        one.read().await.expect("replies");
    }
    let seqs: Vec<u64> = one.replies.iter().map(|reply| reply.seq).collect();
    assert!(seqs.iter().copied().eq(1..=3_000));
}

#[tokio::test]
async fn a_new_stream_is_told_all_the_session_holds_and_the_older_one_ends() {
    let cell = cell().await;
    let (mut one, _) = Client::open(&cell, 1, LONG_MS).await;
    let (mut other, _) = Client::open(&cell, 2, LONG_MS).await;
    let token = granted(one.acquire(1, "held", false).await).tokens[0];
    granted(other.acquire(1, "wanted", false).await);
    one.acquire(2, "wanted", true).await;
    one.acquire(3, "gone", false).await;
    one.release(4, 3).await;

    let (mut newer, attached) = Client::open(&cell, 1, LONG_MS).await;
    assert_eq!(one.end().await.code(), tonic::Code::Aborted);
    assert_eq!(attached.session, one.session);
    assert_eq!(attached.seq, 4);
    let told = |claim, tokens| v1::AttachedClaim {
        claim,
        claim_id: format!("claim-{claim}"),
        tokens,
        breaking: false,
        block: None,
        recalled: false,
        answer: false,
    };
    assert_eq!(attached.claims, [told(1, vec![token]), told(2, vec![])]);

    // Events go to the newer stream, and none at or before the attach is told again.
    other.release(2, 1).await;
    let Event::Granted(granted) = newer.event().await else {
        panic!("not granted");
    };
    assert_eq!(granted.claim, 2);
    assert!(granted.revision > attached.revision);
    // The session goes on where the table stands, whichever stream asked before.
    assert!(matches!(
        newer.acquire(5, "x", false).await,
        Outcome::Granted(_)
    ));
}

#[tokio::test]
async fn a_stream_may_attach_again_and_is_told_the_same() {
    let cell = cell().await;
    let (mut one, _) = Client::open(&cell, 1, LONG_MS).await;
    granted(one.acquire(1, "a", false).await);
    let attached = one.attach(1, LONG_MS).await;
    assert_eq!(attached.claims.len(), 1);
    assert!(matches!(one.release(2, 1).await, Outcome::Ended(_)));
}

#[tokio::test]
async fn what_is_meant_for_another_cell_shard_or_node_ends_the_stream() {
    let cell = cell().await;
    let wrong = [
        v1::SidecarFrame {
            cluster_id: "another".into(),
            ..v1::SidecarFrame::default()
        },
        v1::SidecarFrame {
            shard: 7,
            ..v1::SidecarFrame::default()
        },
        v1::SidecarFrame {
            to: 99,
            ..v1::SidecarFrame::default()
        },
    ];
    for frame in wrong {
        let mut one = Client::connect(&cell).await;
        one.send(frame.clone()).await;
        let status = one.end().await;
        assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{frame:?}");
    }
}

#[tokio::test]
async fn a_malformed_frame_ends_the_stream_and_names_the_field() {
    let cell = cell().await;
    let (mut one, _) = Client::open(&cell, 1, LONG_MS).await;
    one.operate(vec![one.operation(1, ask(1, "bad\u{7}name", false))])
        .await;
    let status = one.end().await;
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("Want.name"), "{status}");
}

#[tokio::test]
async fn without_an_attach_nothing_is_done() {
    let cell = cell().await;
    let mut one = Client::connect(&cell).await;
    one.session = 1;
    one.generation = 1;
    assert_eq!(one.acquire(1, "a", false).await, Outcome::NotLeader(true));
    assert_eq!(one.renew(1).await, Renewed::NotLeader(true));
}

#[tokio::test]
async fn rule_5_2_a_session_that_stops_renewing_ends_after_its_ttl_and_one_that_renews_does_not() {
    const TTL_MS: u32 = 600;
    let cell = cell().await;
    let before = BootClock.now();
    let (mut dying, _) = Client::open(&cell, 1, TTL_MS).await;
    let (mut living, _) = Client::open(&cell, 2, TTL_MS).await;
    let token = granted(dying.acquire(1, "a", false).await).tokens[0];
    living.acquire(1, "a", true).await;
    let mut number = 0;
    let granted = loop {
        number += 1;
        assert_eq!(living.renew(number).await, Renewed::RenewedTtlMs(TTL_MS));
        let event = tokio::time::timeout(std::time::Duration::from_millis(50), living.event());
        if let Ok(event) = event.await {
            break event;
        }
    };
    let took = BootClock.now().since(before);
    assert!(
        took.as_millis() >= TTL_MS.into(),
        "expired after only {took:?}"
    );
    let Event::Granted(granted) = granted else {
        panic!("{granted:?}");
    };
    assert!(granted.tokens[0] > token);
    let Event::SessionEnded(ended) = dying.event().await else {
        panic!("the dead session's stream is told");
    };
    assert_eq!(ended.cause, v1::EndCause::SessionExpired as i32);
    assert_eq!(dying.renew(1).await, Renewed::UnknownSession(true));
    assert_eq!(
        dying.acquire(2, "b", false).await,
        Outcome::UnknownSession(true)
    );
    // A late renewal number changes nothing.
    assert_eq!(living.renew(number).await, Renewed::Superseded(true));
}

#[tokio::test]
async fn reads_are_linearizable_on_the_leader_and_polls_wake_on_a_change() {
    let cell = cell().await;
    let (mut one, _) = Client::open(&cell, 1, LONG_MS).await;
    let get = |after_revision, wait_ms| {
        Query::GetLock(v1::GetLock {
            name: "a".into(),
            after_revision,
            wait_ms,
        })
    };
    let id = one.query(true, get(0, 0)).await;
    let reply = one.answer(id).await;
    assert!(reply.linearizable);
    let Some(Reply::Lock(free)) = reply.reply else {
        panic!("{reply:?}");
    };
    assert_eq!((free.holders.len(), free.waiters), (0, 0));

    // A change of another lock does not wake the poll, though it moves the table's revision.
    let poll = one.query(true, get(free.revision, 30_000)).await;
    granted(one.acquire(1, "b", false).await);
    let token = granted(one.acquire(2, "a", false).await).tokens[0];
    let Some(Reply::Lock(held)) = one.answer(poll).await.reply else {
        panic!("not a lock");
    };
    assert_eq!(held.holders[0].token, token);
    assert!(held.revision > free.revision);

    let verify = |token| {
        Query::Verify(v1::Verify {
            name: "a".into(),
            token,
        })
    };
    let id = one.query(false, verify(token)).await;
    let reply = one.answer(id).await;
    assert!(reply.linearizable, "verify always is");
    let Some(Reply::Verified(verified)) = reply.reply else {
        panic!("{reply:?}");
    };
    assert_eq!(
        (verified.current, verified.held, verified.newest),
        (true, true, Some(token))
    );

    let list = Query::ListLocks(v1::ListLocks {
        limit: 1,
        ..v1::ListLocks::default()
    });
    let id = one.query(false, list).await;
    let reply = one.answer(id).await;
    assert!(!reply.linearizable);
    let Some(Reply::Locks(locks)) = reply.reply else {
        panic!("{reply:?}");
    };
    assert_eq!((locks.locks.len(), locks.next_after.as_str()), (1, "a"));

    one.release(3, 2).await;
    let history = Query::GetHistory(v1::GetHistory {
        name: "a".into(),
        limit: 10,
        before: 0,
    });
    let id = one.query(true, history).await;
    let Some(Reply::History(history)) = one.answer(id).await.reply else {
        panic!("not a history");
    };
    assert_eq!(
        history.records.len(),
        2,
        "granted, and before it in the list: ended"
    );
}

#[tokio::test]
async fn a_break_needs_the_nodes_leave() {
    let ask_break = || {
        Query::BreakLock(v1::BreakLock {
            name: "a".into(),
            reason: "stuck".into(),
            force: false,
        })
    };
    let strict = cell().await;
    let (mut one, _) = Client::open(&strict, 1, LONG_MS).await;
    let id = one.query(true, ask_break()).await;
    let forbidden = v1::QueryError::Forbidden.into();
    assert_eq!(one.answer(id).await.reply, Some(Reply::Error(forbidden)));

    let lenient = cell_with(true).await;
    let (mut one, _) = Client::open(&lenient, 1, LONG_MS).await;
    granted(one.acquire(1, "a", false).await);
    let id = one.query(true, ask_break()).await;
    let asked = v1::BreakOutcome::Asked.into();
    assert_eq!(
        one.answer(id).await.reply,
        Some(Reply::Broken(v1::Broken { outcome: asked }))
    );
    let Event::BreakAsked(event) = one.event().await else {
        panic!("the holder's sidecar is asked");
    };
    assert_eq!(event.claim, 1);
    assert!(matches!(one.release(2, 1).await, Outcome::Ended(_)));
}

#[tokio::test]
async fn what_a_sidecar_sent_before_it_left_is_done() {
    let cell = cell().await;
    let (mut one, _) = Client::open(&cell, 1, LONG_MS).await;
    granted(one.acquire(1, "a", false).await);
    let (mut two, _) = Client::open(&cell, 2, LONG_MS).await;
    two.acquire(1, "a", true).await;
    one.operate(vec![one.operation(2, let_go(1))]).await;
    one.leave().await;
    let Event::Granted(granted) = two.event().await else {
        panic!("not granted");
    };
    assert_eq!(granted.claim, 1);
}
