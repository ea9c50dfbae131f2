//! A sidecar that is told to stop: by SIGTERM, by its API, by `sidelock drain`.

use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use sidelock::world::clock::{BootClock, Clock};

use crate::cell::Cell;
use crate::pod::Pod;

async fn cell_of_one() -> Cell {
    let mut cell = Cell::new(1);
    cell.start_founders(1);
    cell.leader().await;
    cell
}

#[tokio::test]
async fn sigterm_waits_for_holders_serves_them_and_exits_0() {
    let cell = cell_of_one().await;
    let mut pod = Pod::start(&cell.grpc(1), &[]).await;
    let other = Pod::start(&cell.grpc(1), &[]).await;
    pod.take("holder", "a").await;
    other.take("elsewhere", "b").await;
    let queued = json!({ "lock": "b", "queue": true, "ttl_ms": 60_000, "wait_ms": 60_000 });
    assert_eq!(pod.put("waiter", queued).await.status, 202);
    let mut waiter = pod.events("/v1/claims/waiter/events").await;
    let mut holder = pod.events("/v1/claims/holder/events").await;
    assert_eq!(holder.next().await.expect("its state").0, "granted");

    pod.signal(Signal::TERM);

    let ended = waiter.until("cancelled").await;
    assert_eq!(ended["reason"], "draining");
    assert_eq!(waiter.next().await, None, "nothing more can come");
    assert_eq!(holder.until("mode").await["reason"], "draining");
    let refused = pod.put("late", json!({ "lock": "c" })).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (503, &json!("draining"))
    );
    let ready = pod.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.body["code"]),
        (503, &json!("draining"))
    );
    assert_eq!(pod.get("/livez").await.status, 200);
    let renewed = pod.ask(Method::POST, "/v1/claims/holder/renew", None).await;
    assert_eq!(
        (renewed.status, &renewed.body["state"]),
        (200, &json!("granted"))
    );

    pod.release("holder").await;
    assert!(pod.ended().await.success());
    // All was given back, and the session closed: nobody waits for its end.
    let taken = other.put("next", json!({ "lock": "a" })).await;
    assert_eq!(taken.status, 201, "{taken:?}");
}

#[tokio::test]
async fn a_minimum_hold_outlives_the_stop() {
    let cell = cell_of_one().await;
    let mut pod = Pod::start(&cell.grpc(1), &["--drain-timeout", "1s"]).await;
    let other = Pod::start(&cell.grpc(1), &[]).await;
    for (id, least) in [("short", 600), ("long", 60_000)] {
        let body = json!({ "lock": id, "min_hold_ms": least });
        assert_eq!(pod.put(id, body).await.status, 201);
        pod.release(id).await;
    }
    pod.signal(Signal::TERM);
    assert!(pod.ended().await.success());
    // The one was waited for. The other was not, so the session is left to expire.
    let taken = other.put("next", json!({ "lock": "short" })).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    let refused = other.put("early", json!({ "lock": "long" })).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("lock-held"))
    );
}

#[tokio::test]
async fn without_claims_it_exits_at_once_and_gives_kept_locks_back() {
    let cell = cell_of_one().await;
    let mut pod = Pod::start(&cell.grpc(1), &["--session-ttl", "60s"]).await;
    let other = Pod::start(&cell.grpc(1), &[]).await;
    for id in ["one", "two", "three"] {
        pod.take(id, "kept").await;
        pod.release(id).await;
    }
    let mut watcher = pod.events("/v1/locks/kept/events").await;
    let begun = BootClock.now();
    pod.signal(Signal::TERM);
    assert!(pod.ended().await.success());
    let took = BootClock.now().since(begun);
    // Far below the 2 s for requests under way, the 20 s for holders and the 60 s of the session.
    assert!(took < Duration::from_millis(1500), "{took:?}");
    while watcher.next().await.is_some() {}
    let taken = other.put("next", json!({ "lock": "kept" })).await;
    assert_eq!(taken.status, 201, "{taken:?}");
}

#[tokio::test]
async fn a_holder_that_stays_is_left_to_its_session() {
    let cell = cell_of_one().await;
    let arguments = ["--drain-timeout", "300ms", "--session-ttl", "2s"];
    let mut pod = Pod::start(&cell.grpc(1), &arguments).await;
    let other = Pod::start(&cell.grpc(1), &[]).await;
    pod.take("stays", "a").await;
    let drain = pod.ask(Method::POST, "/v1/drain", None).await;
    assert_eq!(
        (drain.status, &drain.body["claims_granted"]),
        (202, &json!(1))
    );
    assert!(drain.body["stops_in_ms"].as_u64().expect("a number") <= 300);
    assert!(pod.ended().await.success());
    // The holder may still act: its lock is not free before the session has ended in the core.
    let tried = other.put("try", json!({ "lock": "a" })).await;
    assert_eq!(
        (tried.status, &tried.body["code"]),
        (409, &json!("lock-held"))
    );
    other.take("waits", "a").await;
}

#[tokio::test]
async fn the_command_shows_progress_and_returns_when_it_is_gone() {
    let cell = cell_of_one().await;
    let mut pod = Pod::start(&cell.grpc(1), &[]).await;
    pod.take("holder", "a").await;
    let url = format!("unix:{}", pod.socket().display());
    let drain = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
        command.args(["drain", "--url", &url]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts").wait_with_output()
    };
    let begun = drain(&["--no-wait"]).expect("it ends");
    let said = String::from_utf8_lossy(&begun.stdout).into_owned();
    assert!(
        begun.status.success() && said.starts_with("draining: 1 holder"),
        "{said}"
    );
    pod.release("holder").await;
    assert!(pod.ended().await.success());
    let gone = drain(&[]).expect("it ends");
    assert_eq!(gone.status.code(), Some(69), "{gone:?}");

    let mut pod = Pod::start(&cell.grpc(1), &[]).await;
    let url = format!("unix:{}", pod.socket().display());
    let done = Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["drain", "--url", &url])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success() && said.ends_with("drained\n"),
        "{said}"
    );
    assert!(pod.ended().await.success());
}
