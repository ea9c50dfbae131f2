//! The wire is cut: what is told, what is kept, what comes back.

use std::sync::Arc;
use std::time::Duration;

use sidelock::sidecar::handle::{
    ClaimAnswer, ClaimError, ClaimEventKind, ClaimState, Consistency, LockQuery, Reason,
    ReleaseAnswer, Sidecar, SidecarMode, Unavailable,
};

use crate::cell::{Cell, ask, claim, hold, id, name, soon, until, until_waiters, waiting};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_cut_shorter_than_the_session_costs_nothing() {
    let cell = Cell::start().await;
    let (driver, wire) = cell.behind_wire(LONG).await;
    let before = hold(&driver, "c", ask("a")).await;
    wire.cut();
    wire.mend();
    // The next claim goes over the new stream, so the attach has happened by then.
    hold(&driver, "d", waiting("b")).await;
    let view = soon(driver.claim_view(&id("c"), None, Duration::ZERO)).await;
    let view = view.expect("known");
    assert_eq!(view.state, ClaimState::Granted);
    assert_eq!(view.tokens, before.tokens);
    let released = soon(driver.release(&id("c"))).await;
    assert_eq!(released, Ok(ReleaseAnswer::Released));
}

#[tokio::test]
async fn a_grant_during_a_cut_is_learnt_from_the_attach() {
    let cell = Cell::start().await;
    let other = cell.sidecar("other");
    let (driver, wire) = cell.behind_wire(LONG).await;
    hold(&other, "c", ask("a")).await;
    let waiter = {
        let driver = Arc::clone(&driver);
        tokio::spawn(async move { hold(&driver, "w", waiting("a")).await })
    };
    until_waiters(&other, "a", 1).await;
    wire.cut();
    soon(other.release(&id("c"))).await.expect("it holds");
    until_waiters(&other, "a", 0).await;
    wire.mend();
    soon(waiter).await.expect("granted");
}

#[tokio::test]
async fn cuts_under_load_lose_and_double_nothing() {
    let cell = Cell::start().await;
    let (driver, wire) = cell.behind_wire(LONG).await;
    hold(&driver, "warm", ask("warm")).await;
    let (grant, mut grants) = tokio::sync::mpsc::channel(1_000);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..16 {
        let (driver, grant) = (Arc::clone(&driver), grant.clone());
        tasks.spawn(async move {
            for turn in 0..30 {
                let claim = format!("w{worker}-{turn}");
                let view = hold(&driver, &claim, waiting(&format!("l{}", worker % 4))).await;
                grant.send(view.tokens[0]).await.expect("it is read");
                soon(driver.release(&id(&claim))).await.expect("it held");
            }
        });
    }
    drop(grant);
    let mut tokens = Vec::new();
    while let Some(token) = soon(grants.recv()).await {
        tokens.push(token);
        // While others of the sixteen are asking, waiting and releasing.
        if tokens.len() % 24 == 0 {
            wire.cut();
            wire.mend();
        }
    }
    while let Some(done) = soon(tasks.join_next()).await {
        done.expect("no panic");
    }
    let all = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(
        (all, tokens.len()),
        (480, 480),
        "each grant has its own token"
    );
    let query = LockQuery {
        prefix: "l".to_owned(),
        limit: 10,
        consistency: Consistency::Linearizable,
        ..LockQuery::default()
    };
    let page = soon(driver.locks(query)).await.expect("the cell stands");
    assert!(page.value.items.is_empty(), "nothing is left behind");
}

#[tokio::test]
async fn a_cut_longer_than_the_session_loses_its_claims_and_says_so() {
    let cell = Cell::start().await;
    let other = cell.sidecar("other");
    let (driver, wire) = cell.behind_wire(SHORT).await;
    let lost = hold(&driver, "c", ask("a")).await;
    wire.cut();
    // Only the core's own timer can free it; until then the sidecar must have stopped believing.
    let jeopardy = until(&driver, "c", ClaimEventKind::Jeopardy);
    let taken = hold(&other, "d", waiting("a"));
    let (_, taken) = tokio::join!(jeopardy, taken);
    assert!(taken.tokens[0] > lost.tokens[0]);
    assert!(matches!(
        soon(driver.renew(&id("c"), None, None)).await,
        Err(ClaimError::Jeopardy(_))
    ));
    wire.mend();
    until(&driver, "c", ClaimEventKind::Lost).await;
    let view = soon(driver.claim_view(&id("c"), None, Duration::ZERO)).await;
    assert_eq!(view.expect("known").reason, Some(Reason::SessionLost));
    hold(&driver, "e", waiting("b")).await;
}

#[tokio::test]
async fn while_cut_new_claims_are_refused_and_releases_accepted() {
    let cell = Cell::start().await;
    let other = cell.sidecar("other");
    let (driver, wire) = cell.behind_wire(LONG).await;
    hold(&driver, "c", ask("a")).await;
    wire.cut();
    assert!(matches!(
        claim(&driver, "d", ask("b")).await,
        Err(ClaimError::Unavailable(Unavailable::CoreUnreachable { .. }))
    ));
    assert_eq!(driver.current_mode(), SidecarMode::ReadOnly);
    // Of its own hold it is certain; of anything else only the core could tell.
    let own = soon(driver.verify(&name("a"), token(1))).await;
    assert!(own.is_ok_and(|own| own.held && own.current));
    assert!(matches!(
        soon(driver.verify(&name("a"), token(2))).await,
        Err(Unavailable::CoreUnreachable { .. })
    ));
    assert!(soon(driver.renew(&id("c"), None, None)).await.is_ok());
    let released = soon(driver.release(&id("c"))).await;
    assert_eq!(released, Ok(ReleaseAnswer::Accepted));
    wire.mend();
    // It is delivered: the lock comes free although nobody asks again.
    hold(&other, "e", waiting("a")).await;
    // The first attempts may still meet the closed door.
    loop {
        match claim(&driver, "d", waiting("b")).await {
            Ok(ClaimAnswer::Granted(_)) => break,
            Err(ClaimError::Unavailable(_)) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
    let lock = name("a");
    let read = soon(driver.lock(&lock, Consistency::Linearizable, None, Duration::ZERO));
    assert!(read.await.is_ok());
}

fn token(value: u64) -> sidelock::table::id::Token {
    sidelock::table::id::Token::new(value).expect("in range")
}
