//! A whole cell: take, renew, wait, cancel, expire, break, read.

use std::sync::Arc;
use std::time::Duration;

use sidelock::sidecar::handle::{
    BreakAnswer, ClaimAnswer, ClaimAsk, ClaimError, ClaimEventKind, ClaimState, Consistency,
    LockQuery, ReleaseAnswer, Sidecar, SidecarMode,
};

use crate::cell::{Cell, ask, claim, hold, id, name, soon, until, until_waiters, waiting};

#[tokio::test]
async fn take_renew_release() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    let view = hold(&driver, "c", ask("a")).await;
    assert_eq!(view.state, ClaimState::Granted);
    assert_eq!(view.tokens.len(), 1);
    assert!(view.safe_for.expect("certain") <= Duration::from_secs(10));
    let renewed = soon(driver.renew(&id("c"), Some(Duration::from_secs(60)), None)).await;
    let left = renewed.expect("it holds").expires_in.expect("it holds");
    assert!(left > Duration::from_secs(59));
    let released = soon(driver.release(&id("c"))).await;
    assert_eq!(released, Ok(ReleaseAnswer::Released));
    let next = hold(&driver, "d", ask("a")).await;
    assert!(next.tokens[0] > view.tokens[0]);
    assert_eq!(driver.mode().standing.mode, SidecarMode::Normal);
}

#[tokio::test]
async fn a_try_is_refused_and_a_wait_is_served_across_sidecars() {
    let cell = Cell::start().await;
    let (one, two) = (cell.sidecar("one"), cell.sidecar("two"));
    let first = hold(&one, "c", ask("a")).await;
    match claim(&two, "c", ask("a")).await {
        Err(ClaimError::Held(contention)) => {
            let holder = contention.holder.expect("somebody holds it");
            assert_eq!(&*holder.identity, "one");
        }
        other => panic!("{other:?}"),
    }
    let waiter = {
        let two = Arc::clone(&two);
        tokio::spawn(async move { hold(&two, "c", waiting("a")).await })
    };
    until_waiters(&one, "a", 1).await;
    soon(one.release(&id("c"))).await.expect("it holds");
    let second = soon(waiter).await.expect("no panic");
    assert!(second.tokens[0] > first.tokens[0]);
    assert!(second.waited > Duration::ZERO);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_queue() {
    let cell = Cell::start().await;
    let (one, two) = (cell.sidecar("one"), cell.sidecar("two"));
    hold(&one, "c", ask("a")).await;
    let waiter = {
        let two = Arc::clone(&two);
        tokio::spawn(async move { claim(&two, "w", waiting("a")).await })
    };
    until_waiters(&one, "a", 1).await;
    waiter.abort();
    until_waiters(&one, "a", 0).await;
    let view = soon(two.claim_view(&id("w"), None, Duration::ZERO)).await;
    assert_eq!(view.expect("remembered").state, ClaimState::Cancelled);
}

#[tokio::test]
async fn a_lease_that_runs_out_frees_the_lock() {
    let cell = Cell::start().await;
    let (one, two) = (cell.sidecar("one"), cell.sidecar("two"));
    let short = ClaimAsk {
        ttl: Duration::from_millis(500),
        ..ask("a")
    };
    hold(&one, "c", short).await;
    hold(&two, "w", waiting("a")).await;
    let view = soon(one.claim_view(&id("c"), None, Duration::ZERO)).await;
    assert_eq!(view.expect("remembered").state, ClaimState::Expired);
}

#[tokio::test]
async fn a_wait_that_runs_out_is_told() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    hold(&driver, "c", ask("a")).await;
    let brief = ClaimAsk {
        wait: Duration::from_millis(200),
        ..ask("a")
    };
    assert!(matches!(
        claim(&driver, "w", brief).await,
        Err(ClaimError::WaitTimeout { .. })
    ));
}

#[tokio::test]
async fn a_queued_claim_is_granted_without_a_connection() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    hold(&driver, "c", ask("a")).await;
    let queued = ClaimAsk {
        queue: true,
        ..ask("a")
    };
    assert!(matches!(
        claim(&driver, "q", queued).await,
        Ok(ClaimAnswer::Queued(_))
    ));
    soon(driver.release(&id("c"))).await.expect("it holds");
    until(&driver, "q", ClaimEventKind::Granted).await;
}

#[tokio::test]
async fn a_deadlock_is_broken() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    let owned = |owner: &str, ask: ClaimAsk| ClaimAsk {
        owner: sidelock::table::id::OwnerId::parse(owner).ok(),
        ..ask
    };
    hold(&driver, "xa", owned("x", ask("a"))).await;
    hold(&driver, "yb", owned("y", ask("b"))).await;
    let x = {
        let driver = Arc::clone(&driver);
        let ask = owned("x", waiting("b"));
        tokio::spawn(async move { claim(&driver, "xb", ask).await })
    };
    until_waiters(&driver, "b", 1).await;
    match claim(&driver, "ya", owned("y", waiting("a"))).await {
        Err(ClaimError::Deadlock(cycle)) => assert_eq!(cycle.len(), 2),
        other => panic!("{other:?}"),
    }
    soon(driver.release(&id("yb"))).await.expect("it holds");
    assert!(soon(x).await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_broken_lock_is_taken_away() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    hold(&driver, "c", ask("a")).await;
    let asked = soon(driver.break_lock(&name("a"), Arc::from("test"), false)).await;
    assert_eq!(asked, Ok(BreakAnswer::Asked));
    until(&driver, "c", ClaimEventKind::Revoked).await;
    hold(&driver, "d", waiting("a")).await;
    let freed = soon(driver.break_lock(&name("a"), Arc::from("test"), true)).await;
    assert_eq!(freed, Ok(BreakAnswer::Freed));
    until(&driver, "d", ClaimEventKind::Revoked).await;
}

#[tokio::test]
async fn locks_are_read_with_holders_values_history_and_worth_of_tokens() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    let view = hold(&driver, "c", ask("a")).await;
    soon(driver.renew(&id("c"), None, Some(Arc::from("me:80"))))
        .await
        .expect("it holds");
    let read = soon(async {
        loop {
            // What nobody confirms within a second is told as of before, and asked for again.
            let name = name("a");
            let asked = driver.lock(&name, Consistency::Available, None, Duration::ZERO);
            match asked.await.expect("the cell stands") {
                read if read.linearizable => return read,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    assert_eq!(read.value.holders[0].value.as_deref(), Some("me:80"));
    let cached = soon(driver.lock(&name("a"), Consistency::Cached, None, Duration::ZERO)).await;
    assert!(!cached.expect("a node answers").linearizable);
    let query = LockQuery {
        prefix: "a".to_owned(),
        limit: 10,
        ..LockQuery::default()
    };
    let page = soon(driver.locks(query)).await.expect("the cell stands");
    assert_eq!(page.value.items.len(), 1);
    let history = soon(driver.history(&name("a"), 10, None)).await;
    assert!(!history.expect("the cell stands").value.items.is_empty());
    let verified = soon(driver.verify(&name("a"), view.tokens[0])).await;
    let verified = verified.expect("the cell stands");
    assert!(verified.current && verified.held);
}

#[tokio::test]
async fn a_stopped_sidecar_without_claims_closes_its_session() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    hold(&driver, "c", ask("a")).await;
    soon(driver.release(&id("c"))).await.expect("it holds");
    assert!(driver.status().mode.sessions[0].session.is_some());
    soon(driver.shutdown()).await;
    assert!(driver.status().mode.sessions[0].session.is_none());
}

#[tokio::test]
async fn a_stopped_sidecar_leaves_what_it_holds_to_expire() {
    let cell = Cell::start().await;
    let (one, two) = (cell.sidecar("one"), cell.sidecar("two"));
    hold(&one, "c", ask("a")).await;
    soon(one.shutdown()).await;
    assert!(matches!(
        claim(&two, "d", ask("a")).await,
        Err(ClaimError::Held(_))
    ));
}

#[tokio::test]
async fn many_at_once_are_all_served() {
    let cell = Cell::start().await;
    let driver = cell.sidecar("one");
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..64 {
        let driver = Arc::clone(&driver);
        tasks.spawn(async move {
            for turn in 0..20 {
                let claim = format!("w{worker}-{turn}");
                hold(&driver, &claim, waiting(&format!("l{}", worker % 8))).await;
                let released = soon(driver.release(&id(&claim))).await;
                assert_eq!(released, Ok(ReleaseAnswer::Released));
            }
        });
    }
    while let Some(done) = soon(tasks.join_next()).await {
        done.expect("no panic");
    }
    assert_eq!(driver.status().granted, 0);
    assert_eq!(driver.status().queued, 0);
}
