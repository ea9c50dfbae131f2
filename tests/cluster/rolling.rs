//! All three nodes are restarted, one at a time, while a sidecar works: nobody notices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sidelock::sidecar::driver::{Config, Driver};
use sidelock::sidecar::handle::{ClaimAnswer, ClaimAsk, ClaimState, ReleaseAnswer, Sidecar, Trace};
use sidelock::table::command::{Mode, Want};
use sidelock::table::id::{ClaimId, LockName};
use sidelock::world::clock::BootClock;

use crate::cell::Cell;

const WORKERS: u64 = 8;
/// Pairs that are asked for between two restarts, so that each falls into traffic.
const PAIRS_BETWEEN: u64 = 200;

fn ask(lock: &str) -> ClaimAsk {
    let name = LockName::parse(lock).expect("a name");
    ClaimAsk {
        locks: vec![Want {
            name,
            mode: Mode::Exclusive,
        }],
        ttl: Duration::from_secs(600),
        wait: Duration::from_secs(10),
        queue: false,
        owner: None,
        metadata: BTreeMap::new(),
        value: None,
        priority: 0,
        min_hold: Duration::ZERO,
    }
}

/// Takes and releases its own lock until told to stop; any refusal fails the test.
async fn work(driver: Arc<Driver>, worker: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let id = ClaimId::parse(&format!("w{worker}-{turn}")).expect("an id");
        let answer = driver.claim(id.clone(), ask(&format!("lock-{worker}")), Trace::default());
        assert!(matches!(answer.await, Ok(ClaimAnswer::Granted(_))));
        assert_eq!(driver.release(&id).await, Ok(ReleaseAnswer::Released));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_rolling_restart_fails_no_claim_and_loses_no_lease() {
    let mut cell = Cell::of_three().await;
    let cores = (1..=3).map(|place| cell.grpc(place)).collect();
    let driver = Driver::start(Config::new(cores, "rolling".into()), Arc::new(BootClock));
    let held = ClaimId::parse("held").expect("an id");
    let answer = driver
        .claim(held.clone(), ask("held"), Trace::default())
        .await;
    let Ok(ClaimAnswer::Granted(before)) = answer else {
        panic!("{answer:?}")
    };
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(work(driver.clone(), worker, stop.clone(), done.clone()));
    }
    // The leader first: its hand-over is the hard part, and the next one leads by then.
    for turn in 1..=3 {
        let target = done.load(Ordering::Relaxed) + PAIRS_BETWEEN;
        cell.until("traffic", async || {
            (done.load(Ordering::Relaxed) >= target).then_some(())
        })
        .await;
        let leader = cell.leader().await;
        assert!(cell.stop(leader).await, "turn {turn}: it ends well");
        cell.start(leader, &[]);
        cell.until("the node is ready again", async || {
            let (status, _) = cell.get(leader, "/readyz").await?;
            (status == 200).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.expect("every claim was granted and released");
    }
    let after = driver
        .claim_view(&held, None, Duration::ZERO)
        .await
        .expect("known");
    assert_eq!(
        (after.state, after.tokens),
        (ClaimState::Granted, before.tokens)
    );
    driver.shutdown().await;
}
