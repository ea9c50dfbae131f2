//! A sidecar that dies and comes back: with its state directory, nobody notices but by a reconnect.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::pod::Pod;

/// Long enough for a restart on a busy machine, short enough to see it end.
const TTL: &str = "6s";

struct Stage {
    cell: Cell,
    dir: tempfile::TempDir,
    pod: Pod,
    other: Pod,
}

async fn stage() -> Stage {
    let mut cell = Cell::new(1);
    cell.start_founders(1);
    cell.leader().await;
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let state = dir.path().join("state");
    let arguments = ["--session-ttl", TTL, "--state-dir", path(&state)];
    let pod = Pod::start(&cell.grpc(1), &arguments).await;
    let other = Pod::start(&cell.grpc(1), &[]).await;
    Stage {
        cell,
        dir,
        pod,
        other,
    }
}

fn path(path: &Path) -> &str {
    path.to_str()
        .expect("temporary directories have plain names")
}

/// The claim, once its state is none of these.
async fn settled(pod: &Pod, id: &str, passing: &[&str]) -> Value {
    pod.until("the claim's fate", async || {
        let path = format!("/v1/claims/{id}");
        let claim = pod.try_ask(Method::GET, &path, None).await?.body;
        let state = claim["state"].as_str()?;
        (!passing.contains(&state)).then_some(claim)
    })
    .await
}

#[tokio::test]
async fn after_kill_9_all_claims_live_on() {
    let mut stage = stage().await;
    let plain = stage.pod.take("plain", "a").await;
    // Used again, the lock stays here: the third claim is granted without the core.
    for id in ["one", "two"] {
        stage.pod.take(id, "kept").await;
        stage.pod.release(id).await;
    }
    let local = stage.pod.take("local", "kept").await;
    assert_eq!(local["local"], true);
    let held_elsewhere = stage.other.take("elsewhere", "b").await;
    let queued = json!({ "lock": "b", "queue": true, "ttl_ms": 60_000, "wait_ms": 60_000 });
    assert_eq!(stage.pod.put("waits", queued).await.status, 202);

    stage.pod.kill();
    stage.pod.restart();

    for (id, before) in [("plain", &plain), ("local", &local)] {
        let claim = settled(&stage.pod, id, &["jeopardy"]).await;
        assert_eq!(claim["state"], "granted", "{claim}");
        for field in ["claim_id", "token", "locks"] {
            assert_eq!(claim[field], before[field], "{claim}");
        }
        let left = |claim: &Value| claim["expires_in_ms"].as_u64().expect("it has a lease");
        assert!(left(&claim) < left(before), "its lease went on: {claim}");
    }
    for lock in ["a", "kept"] {
        let tried = stage
            .other
            .put(&format!("try-{lock}"), json!({ "lock": lock }))
            .await;
        assert_eq!(tried.body["code"], "lock-held", "{tried:?}");
    }
    assert_eq!(settled(&stage.pod, "waits", &[]).await["state"], "queued");
    stage.other.release("elsewhere").await;
    let granted = settled(&stage.pod, "waits", &["queued"]).await;
    assert_eq!(granted["state"], "granted");
    assert!(granted["token"].as_u64() > held_elsewhere["token"].as_u64());
    for id in ["plain", "local", "waits"] {
        stage.pod.release(id).await;
    }
    let again = stage
        .pod
        .put("one", json!({ "lock": "kept", "ttl_ms": 60_000 }))
        .await;
    assert_eq!(
        (again.status, &again.body["code"]),
        (410, &json!("claim-lost"))
    );
    stage.other.take("next", "kept").await;
}

#[tokio::test]
async fn a_release_before_the_core_has_confirmed_the_claim_goes_out_later() {
    let mut stage = stage().await;
    stage.pod.take("stays", "a").await;
    stage.pod.take("released", "b").await;
    let mut events = stage.pod.events("/v1/claims/stays/events").await;
    assert_eq!(events.next().await.expect("its state").0, "granted");
    stage.pod.kill();
    assert_eq!(events.next().await, None);
    stage.pod.restart();
    let gone = stage.pod.until("an answer", async || {
        stage
            .pod
            .try_ask(Method::DELETE, "/v1/claims/released", None)
            .await
    });
    // Right after the start the core has not confirmed it yet; then the release goes out later.
    assert!([202, 204].contains(&gone.await.status));
    stage.other.take("next", "b").await;
    assert_eq!(
        settled(&stage.pod, "stays", &["jeopardy"]).await["state"],
        "granted"
    );
}

#[tokio::test]
async fn beyond_the_session_its_claims_are_lost_and_said_to_be() {
    let mut stage = stage().await;
    stage.pod.take("gone", "a").await;
    stage.pod.kill();
    stage.other.take("next", "a").await;
    stage.pod.restart();
    let claim = settled(&stage.pod, "gone", &["jeopardy"]).await;
    assert_eq!(
        (&claim["state"], &claim["reason"]),
        (&json!("lost"), &json!("session-lost"))
    );
}

#[tokio::test]
async fn a_copied_directory_is_not_used() {
    let mut stage = stage().await;
    stage.pod.take("mine", "a").await;
    stage.pod.kill();
    let state = stage.dir.path().join("state");
    let copy = stage.dir.path().join("copy");
    std::fs::create_dir(&copy).expect("it is ours");
    for file in ["claims", "lock"] {
        std::fs::copy(state.join(file), copy.join(file)).expect("it is there");
    }
    // As somebody does who restores a backup.
    std::fs::rename(&state, stage.dir.path().join("old")).expect("it is ours");
    std::fs::rename(&copy, &state).expect("it is ours");
    stage.pod.restart();
    let answer = stage.pod.until("an answer", async || {
        stage
            .pod
            .try_ask(Method::GET, "/v1/claims/mine", None)
            .await
    });
    assert_eq!(answer.await.status, 404);
}

#[tokio::test]
async fn two_processes_never_share_a_directory() {
    let stage = stage().await;
    stage.pod.take("mine", "a").await;
    let state = stage.dir.path().join("state");
    let second = Pod::start(&stage.cell.grpc(1), &["--state-dir", path(&state)]).await;
    assert_eq!(second.get("/v1/claims/mine").await.status, 404);
    assert_eq!(
        stage.pod.get("/v1/claims/mine").await.body["state"],
        "granted"
    );
}

#[tokio::test]
async fn after_an_orderly_stop_it_starts_afresh() {
    let mut stage = stage().await;
    stage.pod.take("mine", "a").await;
    stage.pod.release("mine").await;
    stage.pod.signal(Signal::TERM);
    assert!(stage.pod.ended().await.success());
    assert!(!stage.dir.path().join("state/claims").exists());
    stage.pod.restart();
    let taken = stage.pod.until("a session", async || {
        let body = json!({ "lock": "a", "wait_ms": 2_000 });
        let answer = stage
            .pod
            .try_ask(Method::PUT, "/v1/claims/mine", Some(body))
            .await?;
        (answer.status == 201).then_some(answer)
    });
    tokio::time::timeout(Duration::from_secs(20), taken)
        .await
        .expect("the id is as good as new");
}

/// An injected sidecar's directory is memory of 1 MiB.
#[tokio::test]
async fn the_directory_stays_small_whatever_went_through_it() {
    const PAIRS: u32 = 3_000;
    let mut stage = stage().await;
    let held = stage.pod.take("holds-on", "a").await;
    let file = stage.dir.path().join("state/claims");
    let mut largest = 0;
    for number in 0..PAIRS {
        let id = format!("number-{number}");
        stage.pod.take(&id, "busy").await;
        stage.pod.release(&id).await;
        largest = largest.max(std::fs::metadata(&file).expect("the file").len());
    }
    // For a moment its successor, half of it at most, is beside it.
    assert!(largest < 512 << 10, "{largest} bytes");
    stage.pod.kill();
    stage.pod.restart();
    let claim = settled(&stage.pod, "holds-on", &["jeopardy"]).await;
    assert_eq!(
        (&claim["state"], &claim["token"]),
        (&json!("granted"), &held["token"])
    );
    let last = format!("number-{}", PAIRS - 1);
    assert_eq!(settled(&stage.pod, &last, &[]).await["state"], "released");
}
