//! Locks against a real cell: show, list, history, verify and break.
//! In: requests. Out: what others may know of a lock. Never: an answer without its worth.

use serde_json::Value;

use crate::support::{Cell, Served, current};

async fn get(served: &Served, path: &str) -> Value {
    current(|| served.send("GET", path, "")).await.json()
}

async fn put(served: &Served, id: &str, body: &str) -> Value {
    let answer = served.send("PUT", &format!("/v1/claims/{id}"), body).await;
    assert!(matches!(answer.status, 201 | 202), "{}", answer.body);
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_shows_its_holders_and_its_queue() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let free = get(&served, "/v1/locks/orders%2F42?consistency=linearizable").await;
    assert_eq!(free["state"], "free");
    assert_eq!(free["name"], "orders/42");
    let body = r#"{"lock":"orders/42","metadata":{"host":"h1"}}"#;
    let claim = put(&served, "c-1", body).await;
    put(
        &served,
        "c-2",
        r#"{"lock":"orders/42","queue":true,"priority":3}"#,
    )
    .await;
    let held = get(&served, "/v1/locks/orders%2F42").await;
    assert_eq!(held["state"], "held");
    assert_eq!(held["mode"], "exclusive");
    assert_eq!(held["token"], claim["token"]);
    assert_eq!(held["holders"][0]["claim_id"], "c-1");
    assert_eq!(held["holders"][0]["metadata"]["host"], "h1");
    assert_eq!(held["queue_length"], 1);
    assert_eq!(held["queue"][0]["claim_id"], "c-2");
    assert_eq!(held["queue"][0]["priority"], 3);
    assert!(held["revision"].as_u64() > free["revision"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_listed_by_prefix_and_page() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    for (id, lock) in [
        ("c-1", "jobs/1"),
        ("c-2", "jobs/2"),
        ("c-3", "jobs/3"),
        ("c-4", "other"),
    ] {
        put(&served, id, &format!(r#"{{"lock":"{lock}"}}"#)).await;
    }
    let page = get(&served, "/v1/locks?prefix=jobs/&limit=2").await;
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items");
        items
            .iter()
            .map(|lock| lock["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(&page), ["jobs/1", "jobs/2"]);
    let cursor = page["next_cursor"].as_str().expect("a second page");
    let page = get(
        &served,
        &format!("/v1/locks?prefix=jobs%2F&limit=2&cursor={cursor}"),
    )
    .await;
    assert_eq!(names(&page), ["jobs/3"]);
    assert!(page.get("next_cursor").is_none(), "{page}");
    put(&served, "c-5", r#"{"lock":"jobs/2","queue":true}"#).await;
    let page = get(&served, "/v1/locks?state=contended").await;
    assert_eq!(names(&page), ["jobs/2"]);
    assert_eq!(names(&get(&served, "/v1/locks?state=held").await).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_verified() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let old = put(&served, "c-1", r#"{"lock":"a"}"#).await["token"].clone();
    let verify = |token: &Value| {
        let body = format!(r#"{{"token":{token}}}"#);
        let served = &served;
        async move {
            served
                .send("POST", "/v1/locks/a/verify", &body)
                .await
                .json()
        }
    };
    let answer = verify(&old).await;
    assert_eq!(
        (&answer["current"], &answer["held"]),
        (&true.into(), &true.into()),
        "{answer}"
    );
    assert_eq!(answer["newest"], old);
    served.send("DELETE", "/v1/claims/c-1", "").await;
    let answer = verify(&old).await;
    assert_eq!(
        (&answer["current"], &answer["held"]),
        (&true.into(), &false.into()),
        "{answer}"
    );
    let new = put(&served, "c-2", r#"{"lock":"a"}"#).await["token"].clone();
    let answer = verify(&old).await;
    assert_eq!(
        (&answer["current"], &answer["held"]),
        (&false.into(), &false.into()),
        "{answer}"
    );
    assert_eq!(answer["newest"], new);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_what_happened() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    put(&served, "c-1", r#"{"lock":"a"}"#).await;
    served.send("DELETE", "/v1/claims/c-1", "").await;
    put(&served, "c-2", r#"{"lock":"a"}"#).await;
    let history = get(&served, "/v1/locks/a/history").await;
    let items = history["items"].as_array().expect("items");
    let told: Vec<(&str, &str)> = items
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().expect("text");
            (text("claim_id"), text("event"))
        })
        .collect();
    assert_eq!(
        told,
        [("c-2", "granted"), ("c-1", "ended"), ("c-1", "granted")]
    );
    assert_eq!(items[1]["cause"], "released");
    assert!(items[1]["locks"][0]["token"].is_u64(), "{history}");
    let page = get(&served, "/v1/locks/a/history?limit=1").await;
    let cursor = page["next_cursor"].as_str().expect("more");
    let page = get(
        &served,
        &format!("/v1/locks/a/history?limit=5&cursor={cursor}"),
    )
    .await;
    assert_eq!(page["items"].as_array().expect("items").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_breaks_a_lock() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let broken = served
        .send("POST", "/v1/locks/a/break", r#"{"reason":"test"}"#)
        .await;
    assert_eq!(broken.status, 200, "{}", broken.body);
    assert_eq!(broken.json()["outcome"], "not-held");
    put(&served, "c-1", r#"{"lock":"a"}"#).await;
    let body = r#"{"reason":"the host is gone","force":true}"#;
    let broken = served.send("POST", "/v1/locks/a/break", body).await;
    assert_eq!(broken.status, 200, "{}", broken.body);
    assert_eq!(broken.json()["old_holder_may_still_act"], true);
    crate::claims::until_state(&served, "c-1", "revoked").await;
    put(&served, "c-2", r#"{"lock":"a"}"#).await;
    let asked = served
        .send("POST", "/v1/locks/a/break", r#"{"reason":"please"}"#)
        .await;
    assert!(matches!(asked.status, 200 | 202), "{}", asked.body);
    crate::claims::until_state(&served, "c-2", "revoked").await;
    put(&served, "c-3", r#"{"lock":"a","wait_ms":5000}"#).await;
    let history = get(&served, "/v1/locks/a/history").await.to_string();
    assert!(history.contains("the host is gone"), "{history}");
}
