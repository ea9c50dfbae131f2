//! Deadlocks through several pods whose locks are delegated: found whole, never falsely.

use std::sync::Arc;

use sidelock::sidecar::driver::Driver;
use sidelock::sidecar::handle::{ClaimAnswer, ClaimAsk, ClaimError, Sidecar};
use sidelock::table::command::CycleEdge;
use sidelock::table::id::OwnerId;

use crate::cell::{Cell, ask, claim, hold, id, soon, until_waiters, waiting};

fn owned(owner: usize, ask: ClaimAsk) -> ClaimAsk {
    ClaimAsk {
        owner: OwnerId::parse(&format!("o{owner}")).ok(),
        ..ask
    }
}

/// A lock that this pod has as a whole, held by an owner of its own without a word to the core.
async fn hold_locally(driver: &Driver, pod: usize) {
    let lock = format!("lock-{pod}");
    for round in 0..3 {
        let before = format!("before-{pod}-{round}");
        hold(driver, &before, ask(&lock)).await;
        soon(driver.release(&id(&before))).await.expect("it holds");
    }
    let held = hold(driver, &format!("hold-{pod}"), owned(pod, ask(&lock))).await;
    assert!(held.local, "{held:?}");
}

/// Each owner, in a pod of its own, waits for the lock of the next.
async fn ring(pods: usize) {
    let cell = Cell::start().await;
    let drivers: Vec<Arc<Driver>> = (0..pods)
        .map(|pod| cell.sidecar(&format!("pod-{pod}")))
        .collect();
    for (pod, driver) in drivers.iter().enumerate() {
        hold_locally(driver, pod).await;
    }
    let mut waits = Vec::new();
    for (pod, driver) in drivers.iter().enumerate().take(pods - 1) {
        let next = owned(pod, waiting(&format!("lock-{}", pod + 1)));
        let name = format!("wait-{pod}");
        let waiter = Arc::clone(driver);
        waits.push(tokio::spawn(
            async move { claim(&waiter, &name, next).await },
        ));
        until_waiters(driver, &format!("lock-{}", pod + 1), 1).await;
    }
    // So far nobody waits in a ring: all waits stand.
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    let last = pods - 1;
    let closing = owned(last, waiting("lock-0"));
    let Err(ClaimError::Deadlock(cycle)) = claim(&drivers[last], "wait-last", closing).await else {
        panic!("it closes a ring of {pods}");
    };
    let mut owners: Vec<String> = cycle
        .iter()
        .map(|edge: &CycleEdge| edge.waiter.owner.to_string())
        .collect();
    owners.sort();
    let all: Vec<String> = (0..pods).map(|pod| format!("o{pod}")).collect();
    assert_eq!(owners, all, "{cycle:?}");
    // The victim lets go, and so all others are served, the one before it first.
    let mut freed = format!("hold-{last}");
    for pod in (0..last).rev() {
        soon(drivers[pod + 1].release(&id(&freed)))
            .await
            .expect("it holds");
        let granted = soon(waits.pop().expect("one each"))
            .await
            .expect("no panic");
        assert!(
            matches!(granted, Ok(ClaimAnswer::Granted(_))),
            "{granted:?}"
        );
        soon(drivers[pod].release(&id(&format!("wait-{pod}"))))
            .await
            .expect("it holds");
        freed = format!("hold-{pod}");
    }
}

#[tokio::test]
async fn rule_3_a_cycle_through_two_pods_with_local_holds_is_found_whole() {
    ring(2).await;
}

#[tokio::test]
async fn rule_3_a_cycle_through_three_pods_with_local_holds_is_found_whole() {
    ring(3).await;
}

#[tokio::test]
async fn rule_3_waits_at_several_pods_that_are_no_ring_are_no_deadlock() {
    let cell = Cell::start().await;
    let (one, other) = (cell.sidecar("one"), cell.sidecar("other"));
    hold_locally(&one, 0).await;
    hold_locally(&other, 1).await;
    // Two owners of the other pod wait for the first one's lock; it waits for nothing.
    let mut waits = Vec::new();
    for (place, owner) in [(1, 1), (2, 7)] {
        let driver = Arc::clone(&other);
        let name = format!("wait-{owner}");
        let ask = owned(owner, waiting("lock-0"));
        waits.push(tokio::spawn(
            async move { claim(&driver, &name, ask).await },
        ));
        until_waiters(&other, "lock-0", place).await;
    }
    soon(one.release(&id("hold-0"))).await.expect("it holds");
    for (wait, owner) in waits.into_iter().zip([1, 7]) {
        assert!(soon(wait).await.expect("no panic").is_ok());
        let name = format!("wait-{owner}");
        soon(other.release(&id(&name))).await.expect("it holds");
    }
}
