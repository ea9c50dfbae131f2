//! Reads that need not be current, of a lock that another pod has to itself.

use std::time::Duration;

use serde_json::json;
use sidelock::world::clock::{BootClock, Clock};

use crate::cell::Cell;
use crate::pod::Pod;

const QUIET: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn what_is_told_of_a_kept_lock_is_as_old_as_its_last_news() {
    let mut cell = Cell::new(1);
    cell.start_founders(1);
    cell.leader().await;
    let keeper = Pod::start(&cell.grpc(1), &[]).await;
    let reader = Pod::start(&cell.grpc(1), &["--no-delegations"]).await;
    for id in ["one", "two", "three"] {
        keeper.take(id, "kept").await;
        keeper.release(id).await;
    }
    let local = keeper.take("local", "kept").await;
    assert_eq!(local["local"], true, "{local}");
    // Others keep the cell busy: the table is as new as can be, and knows nothing of the lock.
    let (clock, mut number) = (BootClock, 0);
    let begun = clock.now();
    while clock.now().since(begun) < QUIET {
        number += 1;
        let id = format!("busy-{number}");
        reader.take(&id, "busy").await;
        reader.release(&id).await;
    }
    let seen = reader.get("/v1/locks/kept?consistency=cached").await;
    assert_eq!(seen.body["consistency"], json!("cached"), "{seen:?}");
    let age = seen.body["age_ms"].as_u64().expect("an age");
    assert!(u128::from(age) >= QUIET.as_millis(), "{seen:?}");
    let other = reader.get("/v1/locks/busy?consistency=cached").await;
    let age = other.body["age_ms"].as_u64().expect("an age");
    assert!(u128::from(age) < QUIET.as_millis(), "{other:?}");
}
