//! Real processes under real faults: kill -9, SIGSTOP and restarts of cores and sidecars, while apps in pods
//! take locks, pause for longer than their leases, and write to what the locks guard.
//! In: `SIDELOCK_CHAOS_SECONDS` (40), `SIDELOCK_CHAOS_LOCKS` (6), `SIDELOCK_SEED` (1). Out: a table of what happened; a law that broke.
//! Never: a verdict without faults, or without updates that a resource without tokens did lose.

#[path = "../cluster/cell.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod cell;
#[path = "../pods/pod.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod pod;

mod app;
mod clocks;
mod faults;
mod full_disk;
mod guarded;
mod held;
mod judge;
mod stopped_leader;

use std::sync::Arc;
use std::time::Duration;

use sidelock::world::clock::{BootClock, Clock};

use app::Record;
use faults::Stage;

const PODS: usize = 3;
const APPS_PER_POD: usize = 8;
/// The lease of every claim; some apps pause for longer.
const TTL: Duration = Duration::from_secs(2);

/// How many locks the apps share.
fn locks() -> usize {
    usize::try_from(told("SIDELOCK_CHAOS_LOCKS", 6)).unwrap_or(1)
}

/// The lock after them is a semaphore.
fn pool() -> usize {
    locks()
}

fn lock_name(lock: usize) -> String {
    format!("chaos-{lock}")
}

fn told(name: &str, or: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(or)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: real processes for as long as SIDELOCK_CHAOS_SECONDS says (40)"]
async fn what_is_told_holds_under_kills_and_stops() {
    let span = Duration::from_secs(told("SIDELOCK_CHAOS_SECONDS", 40));
    let seed = told("SIDELOCK_SEED", 1);
    let start = BootClock.now();
    let mut stage = Stage::start(PODS).await;
    let record = Arc::new(Record::default());
    let apps: Vec<_> = (0..PODS * APPS_PER_POD)
        .map(|number| {
            let socket = stage.pods[number % PODS].socket();
            let app = app::App::new(number, socket, record.clone(), seed);
            tokio::spawn(app.run())
        })
        .collect();
    let hit = stage.trouble(span, seed).await;
    record.stop();
    for app in apps {
        app.await.expect("an app does not panic");
    }
    stage.heals().await;
    let verdict = record.verdict();
    println!("{hit}{verdict}took {:?}", BootClock.now().since(start));
    hit.is_enough();
    verdict.holds();
}
