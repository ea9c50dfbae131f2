//! Claims against a real cell: put, post, get, renew, delete, waits and deadlocks.
//! In: requests. Out: statuses and the one schema `Claim`. Never: a grant that two could believe in.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{Answer, Cell, Served, read_answer, request};

async fn put(served: &Served, id: &str, body: Value) -> Answer {
    served
        .send("PUT", &format!("/v1/claims/{id}"), &body.to_string())
        .await
}

async fn get(served: &Served, path: &str) -> Value {
    let answer = served.send("GET", path, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

async fn delete(served: &Served, id: &str) -> Answer {
    served.send("DELETE", &format!("/v1/claims/{id}"), "").await
}

/// Waits for a state of a claim by long-polls.
pub async fn until_state(served: &Served, id: &str, state: &str) -> Value {
    let mut claim = get(served, &format!("/v1/claims/{id}")).await;
    while claim["state"] != state {
        let revision = claim["revision"].as_u64().expect("a revision");
        let path = format!("/v1/claims/{id}?wait_revision={revision}&wait_ms=20000");
        claim = get(served, &path).await;
        assert!(
            claim["revision"].as_u64() > Some(revision),
            "nothing new in 20 s: {claim}"
        );
    }
    claim
}

/// Waits until so many claims wait for a lock.
pub async fn until_queued(served: &Served, lock: &str, count: u64) -> Value {
    let mut view = get(served, &format!("/v1/locks/{lock}")).await;
    while view["queue_length"] != count {
        let path = format!(
            "/v1/locks/{lock}?wait_revision={}&wait_ms=20000",
            view["revision"]
        );
        let next = get(served, &path).await;
        assert_ne!(
            next["revision"], view["revision"],
            "nothing new in 20 s: {next}"
        );
        view = next;
    }
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_has_the_one_schema() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let answer = put(
        &served,
        "c-1",
        json!({"lock": "orders/42", "ttl_ms": 20000}),
    )
    .await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let claim = answer.json();
    let mut names: Vec<&str> = claim
        .as_object()
        .expect("an object")
        .keys()
        .map(|k| &**k)
        .collect();
    names.sort_unstable();
    let mut expected = vec![
        "claim_id",
        "state",
        "token",
        "locks",
        "expires_in_ms",
        "safe_for_ms",
        "safe_until_boottime_ms",
        "waited_ms",
        "local",
        "replayed",
        "sidelock_mode",
        "revision",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(claim["claim_id"], "c-1");
    assert_eq!(claim["state"], "granted");
    assert_eq!(claim["sidelock_mode"], "normal");
    let token = claim["token"].as_u64().expect("a token");
    assert_eq!(
        claim["locks"],
        json!([{"name": "orders/42", "mode": "exclusive", "token": token}])
    );
    let expires = claim["expires_in_ms"].as_u64().expect("a number");
    assert!((15_000..=20_000).contains(&expires), "{claim}");
    let safe = claim["safe_for_ms"].as_u64().expect("a number");
    assert!((1..=10_000).contains(&safe), "{claim}");
    assert_eq!(answer.header("sidelock-token"), Some(&*token.to_string()));
    assert_eq!(answer.header("sidelock-mode"), Some("normal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn put_is_idempotent_and_ids_are_used_up() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let body = json!({"lock": "a"});
    assert_eq!(put(&served, "c-1", body.clone()).await.status, 201);
    let again = put(
        &served,
        "c-1",
        json!({"lock": "a", "wait_ms": 5, "queue": true}),
    )
    .await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(again.json()["replayed"], true);
    let other = put(&served, "c-1", json!({"lock": "b"})).await;
    other.problem(409, "claim-conflict");
    assert_eq!(delete(&served, "c-1").await.status, 204);
    assert_eq!(delete(&served, "c-1").await.status, 204, "a repeat");
    let gone = put(&served, "c-1", body.clone())
        .await
        .problem(410, "claim-lost");
    assert_eq!(gone["state"], "released");
    assert_eq!(get(&served, "/v1/claims/c-1").await["state"], "released");
    // A DELETE that overtakes its PUT wins.
    assert_eq!(delete(&served, "c-2").await.status, 204);
    put(&served, "c-2", body.clone())
        .await
        .problem(410, "claim-lost");
    // An ungranted try may be put again.
    assert_eq!(put(&served, "c-3", body.clone()).await.status, 201);
    put(&served, "c-4", body.clone())
        .await
        .problem(409, "lock-held");
    assert_eq!(delete(&served, "c-3").await.status, 204);
    assert_eq!(put(&served, "c-4", body).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_tells_who_and_when_to_try_again() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let first = put(&served, "c-1", json!({"lock": "a", "owner": "worker-7"})).await;
    let problem = put(&served, "c-2", json!({"lock": "a"})).await;
    let problem = problem.problem(409, "lock-held");
    assert_eq!(problem["holder"]["claim_id"], "c-1");
    assert_eq!(problem["holder"]["owner"], "worker-7");
    assert_eq!(problem["queue_length"], 0);
    assert_eq!(problem["retryable"], true);
    assert!(problem["retry_after_ms"].is_u64(), "{problem}");
    let problem = put(&served, "c-3", json!({"lock": "a", "wait_ms": 50})).await;
    problem.problem(409, "wait-timeout");
    assert_eq!(delete(&served, "c-1").await.status, 204);
    let next = put(&served, "c-4", json!({"lock": "a"})).await.json();
    assert!(
        next["token"].as_u64() > first.json()["token"].as_u64(),
        "tokens increase"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_is_granted_when_the_holder_releases() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(&served, "c-1", json!({"lock": "a"})).await;
    let waiter = put(&served, "c-2", json!({"lock": "a", "wait_ms": 20000}));
    let release = async {
        until_queued(&served, "a", 1).await;
        assert_eq!(delete(&served, "c-1").await.status, 204);
    };
    let (granted, ()) = tokio::join!(waiter, release);
    assert_eq!(granted.status, 201, "{}", granted.body);
    assert_eq!(granted.json()["state"], "granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_connection_cancels_a_waiter() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(&served, "c-1", json!({"lock": "a"})).await;
    let mut socket = served.connect().await;
    let body = json!({"lock": "a", "wait_ms": 600000}).to_string();
    let bytes = request("PUT", "/v1/claims/c-2", "", &body);
    socket.write_all(bytes.as_bytes()).await.expect("it reads");
    until_queued(&served, "a", 1).await;
    drop(socket);
    until_queued(&served, "a", 0).await;
    assert_eq!(
        until_state(&served, "c-2", "cancelled").await["reason"],
        "caller-gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_claim_waits_without_a_connection() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(&served, "c-1", json!({"lock": "a"})).await;
    let queued = put(&served, "c-2", json!({"lock": "a", "queue": true})).await;
    assert_eq!(queued.status, 202, "{}", queued.body);
    assert_eq!(queued.json()["state"], "queued");
    assert!(queued.json().get("token").is_none());
    delete(&served, "c-1").await;
    let claim = until_state(&served, "c-2", "granted").await;
    assert!(claim["token"].is_u64(), "{claim}");
    // Deleting a queued one cancels it.
    put(&served, "c-3", json!({"lock": "a", "queue": true})).await;
    assert_eq!(delete(&served, "c-3").await.status, 204);
    until_queued(&served, "a", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_not_renewed_ends_with_its_reason() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(&served, "c-1", json!({"lock": "a", "ttl_ms": 500})).await;
    let claim = until_state(&served, "c-1", "expired").await;
    assert_eq!(claim["reason"], "ttl-expired");
    for (method, path) in [
        ("POST", "/v1/claims/c-1/renew"),
        ("DELETE", "/v1/claims/c-1"),
    ] {
        let problem = served
            .send(method, path, "")
            .await
            .problem(410, "claim-lost");
        assert_eq!(problem["reason"], "ttl-expired");
        assert_eq!(problem["state"], "expired");
    }
    assert_eq!(
        put(&served, "c-2", json!({"lock": "a", "wait_ms": 10000}))
            .await
            .status,
        201
    );
    let problem = served.send("POST", "/v1/claims/none/renew", "").await;
    problem.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_may_change_the_lease_and_the_value() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(
        &served,
        "c-1",
        json!({"lock": "leader", "ttl_ms": 5000, "value": "http://a"}),
    )
    .await;
    assert_eq!(
        get(&served, "/v1/locks/leader").await["holders"][0]["value"],
        "http://a"
    );
    let body = r#"{"ttl_ms":60000,"value":"http://b"}"#;
    let renewed = served.send("POST", "/v1/claims/c-1/renew", body).await;
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    let left = renewed.json()["expires_in_ms"].as_u64().expect("a number");
    assert!((50_000..=60_000).contains(&left), "{}", renewed.body);
    assert_eq!(
        get(&served, "/v1/locks/leader").await["holders"][0]["value"],
        "http://b"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn post_makes_an_id() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let answer = served.send("POST", "/v1/claims", r#"{"lock":"a"}"#).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = answer.json()["claim_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(id.len() >= 22, "128 bits: {id}");
    assert_eq!(
        answer.header("location"),
        Some(&*format!("/v1/claims/{id}"))
    );
    let queued = served
        .send("POST", "/v1/claims", r#"{"lock":"a","queue":true}"#)
        .await;
    assert_eq!(queued.status, 202, "{}", queued.body);
    let list = get(&served, "/v1/claims?limit=1").await;
    assert_eq!(list["items"].as_array().expect("items").len(), 1);
    let cursor = list["next_cursor"].as_str().expect("a second page");
    let rest = get(&served, &format!("/v1/claims?limit=1&cursor={cursor}")).await;
    assert_ne!(rest["items"][0]["claim_id"], list["items"][0]["claim_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn semaphores_and_several_locks() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let two = json!({"lock": "pool", "permits": 2, "limit": 3});
    assert_eq!(put(&served, "c-1", two.clone()).await.status, 201);
    put(&served, "c-2", two).await.problem(409, "lock-held");
    let one = put(&served, "c-3", json!({"lock": "pool", "limit": 3})).await;
    assert_eq!(one.status, 201);
    assert_eq!(one.json()["locks"][0]["mode"], "semaphore");
    let problem = put(&served, "c-4", json!({"lock": "pool", "limit": 5})).await;
    assert_eq!(problem.problem(409, "semaphore-limit")["limit"], 3);
    let body = json!({"locks": [{"name": "x", "mode": "shared"}, {"name": "y"}]});
    let both = put(&served, "c-5", body).await;
    assert_eq!(both.status, 201, "{}", both.body);
    let both = both.json();
    assert!(
        both.get("token").is_none(),
        "only a claim on one lock has it: {both}"
    );
    assert!(
        both["locks"][0]["token"].is_u64() && both["locks"][1]["token"].is_u64(),
        "{both}"
    );
    assert_eq!(
        put(&served, "c-6", json!({"lock": "x", "mode": "shared"}))
            .await
            .status,
        201
    );
    put(&served, "c-7", json!({"lock": "y", "mode": "shared"}))
        .await
        .problem(409, "lock-held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_told_with_its_cycle() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(&served, "a-1", json!({"lock": "a", "owner": "one"})).await;
    put(&served, "b-1", json!({"lock": "b", "owner": "two"})).await;
    let queued = json!({"lock": "b", "owner": "one", "queue": true});
    assert_eq!(put(&served, "a-2", queued).await.status, 202);
    let victim = put(
        &served,
        "b-2",
        json!({"lock": "a", "owner": "two", "wait_ms": 20000}),
    )
    .await;
    let problem = victim.problem(409, "deadlock");
    let cycle = problem["cycle"].as_array().expect("a cycle");
    assert_eq!(cycle.len(), 2, "{problem}");
    for edge in cycle {
        assert!(edge["lock"].is_string(), "{edge}");
        assert!(edge["waiter"]["claim_id"].is_string(), "{edge}");
        assert!(edge["blocker"]["claim_id"].is_string(), "{edge}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_core_claims_are_refused_at_once_or_within_the_bound() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(&served, "c-1", json!({"lock": "a"})).await;
    let Cell {
        node,
        driver: _driver,
        ..
    } = cell;
    node.shutdown().await;
    let problem = tokio::time::timeout(
        Duration::from_secs(10),
        put(&served, "c-2", json!({"lock": "b", "wait_ms": 60000})),
    )
    .await
    .expect("within the no-quorum bound");
    assert_eq!(problem.status, 503, "{}", problem.body);
    let code = problem.json()["code"].clone();
    assert!(code == "core-unreachable" || code == "no-quorum", "{code}");
    assert!(problem.header("retry-after").is_some());
    // Held claims are still shown, and the sidecar is still ready.
    assert_eq!(served.send("GET", "/readyz", "").await.status, 200);
    get(&served, "/v1/claims/c-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_takes_and_releases_many() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let mut socket = served.connect().await;
    for round in 0..50 {
        let put = request(
            "PUT",
            &format!("/v1/claims/c-{round}"),
            "",
            r#"{"lock":"a"}"#,
        );
        socket.write_all(put.as_bytes()).await.expect("it reads");
        assert_eq!(
            read_answer(&mut socket).await.expect("an answer").status,
            201
        );
        let delete = request("DELETE", &format!("/v1/claims/c-{round}"), "", "");
        socket.write_all(delete.as_bytes()).await.expect("it reads");
        assert_eq!(
            read_answer(&mut socket).await.expect("an answer").status,
            204
        );
    }
}
