//! Surveys against a real cell: the same from the sidecar's API and from the core's operator port.
//! In: claims that wait, deadlock and contradict each other. Out: what both faces say of it.
//! Never: a face that says what the other does not.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Answer, Cell, Served, current, read_answer, request};

async fn put(served: &Served, id: &str, body: Value) -> Answer {
    let path = format!("/v1/claims/{id}");
    served.send("PUT", &path, &body.to_string()).await
}

async fn granted(served: &Served, id: &str, body: Value) {
    let answer = put(served, id, body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

async fn queued(served: &Served, id: &str, body: Value) {
    let answer = put(served, id, body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

async fn ask(at: SocketAddr, path: &str) -> Answer {
    let mut socket = TcpStream::connect(at).await.expect("it listens");
    let bytes = request("GET", path, "", "");
    socket.write_all(bytes.as_bytes()).await.expect("it reads");
    read_answer(&mut socket).await.expect("it answers")
}

/// What both faces say, which must be the same but for what passes meanwhile.
async fn both(cell: &Cell, served: &Served, path: &str) -> Value {
    let mut bodies = Vec::new();
    for at in [served.addr, cell.node.http_addr()] {
        let answer = current(|| ask(at, path)).await;
        bodies.push(timeless(answer.json()));
    }
    assert_eq!(bodies[0], bodies[1], "{path}");
    bodies.swap_remove(0)
}

/// Without the figures that grow.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("held_ms");
            for (name, field) in fields.iter_mut() {
                let elapsed =
                    name == "why" && field.as_str().is_some_and(|it| it.contains(" for "));
                *field = match elapsed {
                    true => json!("held"),
                    false => timeless(field.take()),
                };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|it| *it = timeless(it.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_explained() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let free = both(&cell, &served, "/v1/locks/orders%2F42/why").await;
    assert_eq!(free["state"], "free");
    assert_eq!(free["history"], json!([]));
    granted(&served, "c-1", json!({"lock": "orders/42"})).await;
    queued(&served, "c-2", json!({"lock": "orders/42", "queue": true})).await;
    queued(&served, "c-3", json!({"lock": "orders/42", "queue": true})).await;
    tokio::time::sleep(Duration::from_millis(20)).await; // time to be held for
    let why = served
        .send("GET", "/v1/locks/orders%2F42/why", "")
        .await
        .json();
    assert_eq!(why["name"], "orders/42");
    assert_eq!(why["state"], "held");
    assert_eq!(why["queue_length"], 2);
    let holder = &why["holders"][0];
    assert_eq!(holder["claim_id"], "c-1");
    assert_eq!(holder["identity"], "test");
    assert_eq!(holder["mode"], "exclusive");
    assert_eq!(holder["delegated"], false);
    let held = holder["held_ms"].as_u64().expect("a time");
    assert!((1..20_000).contains(&held), "{why}");
    let sentence = why["why"].as_str().expect("a sentence");
    assert!(
        sentence.starts_with("held by c-1 on test for "),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("; 2 claims wait, next is c-2 on test"),
        "{sentence}"
    );
    assert_eq!(why["queue"][0]["position"], 1);
    assert_eq!(why["queue"][0]["waits_for"], json!(["c-1"]));
    assert_eq!(
        why["queue"][0]["why"],
        "waits for c-1, which holds the lock"
    );
    assert_eq!(why["queue"][1]["waits_for"], json!(["c-1", "c-2"]));
    let told: Vec<&Value> = why["history"].as_array().expect("records").iter().collect();
    assert!((1..=5).contains(&told.len()), "{why}");
    assert_eq!(told[0]["claim_id"], "c-3");
    assert_eq!(told[0]["event"], "queued");
    assert_eq!(why["consistency"], "linearizable");
    assert_eq!(why["sidelock_mode"], "normal");
    both(&cell, &served, "/v1/locks/orders%2F42/why").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_listed_with_its_edges() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let none = both(&cell, &served, "/v1/deadlocks").await;
    assert_eq!(none["items"], json!([]));
    granted(&served, "a-1", json!({"lock": "a", "owner": "anna"})).await;
    granted(&served, "b-1", json!({"lock": "b", "owner": "bert"})).await;
    let wait = |lock, owner| json!({"lock": lock, "owner": owner, "queue": true});
    queued(&served, "a-2", wait("b", "anna")).await;
    let traced = format!(
        "traceparent: 00-{}-00f067aa0ba902b7-01\r\n",
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    let body = json!({"lock": "a", "owner": "bert", "wait_ms": 20_000}).to_string();
    let refused = served
        .send_with("PUT", "/v1/claims/b-2", &traced, &body)
        .await;
    let problem = refused.problem(409, "deadlock");
    let listed = both(&cell, &served, "/v1/deadlocks?limit=5").await;
    let item = &listed["items"][0];
    assert_eq!(item["victim"], "b-2");
    assert_eq!(item["edges"], problem["cycle"]);
    assert_eq!(
        item["edges"][0]["waiter"]["trace_id"],
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    assert_eq!(item["edges"][0]["lock"], "a");
    assert_eq!(item["edges"][0]["held"], true);
    assert!(item["revision"].is_u64());
    for (at, path) in [
        (served.addr, "/v1/deadlocks?limit=0"),
        (cell.node.http_addr(), "/v1/deadlocks?limit=0"),
        (served.addr, "/v1/waits?limit=1"),
        (cell.node.http_addr(), "/v1/waits?limit=1"),
        (cell.node.http_addr(), "/v1/waits?consistency=perhaps"),
        (cell.node.http_addr(), "/v1/locks?state=free"),
    ] {
        let refused = ask(at, path).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inversion_is_shown_before_it_deadlocks() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    for (id, lock, owner) in [
        ("a-1", "orders/1", "anna"),
        ("a-2", "stock/7", "anna"),
        ("b-1", "stock/3", "bert"),
        ("b-2", "orders/9", "bert"),
    ] {
        granted(&served, id, json!({"lock": lock, "owner": owner})).await;
    }
    let order = both(&cell, &served, "/v1/lock-order").await;
    let told: Vec<(&str, &str, u64, bool)> = order["items"]
        .as_array()
        .expect("edges")
        .iter()
        .map(|it| {
            let text = |name: &str| it[name].as_str().expect("text");
            let count = it["count"].as_u64().expect("a number");
            (text("before"), text("after"), count, it["inverted"] == true)
        })
        .collect();
    assert_eq!(
        told,
        [("orders", "stock", 1, true), ("stock", "orders", 1, true)]
    );
    let inversion = &order["inversions"][0];
    assert_eq!(inversion["classes"], json!(["stock", "orders"]));
    assert_eq!(inversion["count"], 1);
    assert_eq!(inversion["sample"]["held"], "stock/3");
    assert_eq!(inversion["sample"]["taken"], "orders/9");
    assert_eq!(inversion["sample"]["claim_id"], "b-2");
    assert_eq!(inversion["sample"]["owner"], "bert");
    assert!(order.get("missed").is_none(), "{order}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_and_sessions_are_shown() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    granted(
        &served,
        "c-1",
        json!({"locks": [{"name": "a"}, {"name": "b"}]}),
    )
    .await;
    queued(
        &served,
        "c-2",
        json!({"lock": "a", "queue": true, "owner": "o"}),
    )
    .await;
    let waits = both(&cell, &served, "/v1/waits").await;
    let edge = &waits["edges"][0];
    assert_eq!(waits["edges"].as_array().expect("edges").len(), 1);
    assert_eq!(edge["lock"], "a");
    assert_eq!(edge["waiter"]["claim_id"], "c-2");
    assert_eq!(edge["waiter"]["owner"], "o");
    assert_eq!(edge["blocker"]["claim_id"], "c-1");
    assert_eq!(
        (&edge["held"], &waits["truncated"]),
        (&json!(true), &json!(false))
    );
    let sessions = both(&cell, &served, "/v1/sessions").await;
    let item = &sessions["items"][0];
    assert_eq!(item["identity"], "test");
    assert_eq!((&item["claims"], &item["waiting"]), (&json!(2), &json!(1)));
    assert_eq!(item["delegations"], 0);
    assert!(
        item["session"].is_u64() && item["ttl_ms"].is_u64(),
        "{sessions}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_core_shows_locks_as_the_sidecar_does() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let body = json!({"lock": "jobs/1", "metadata": {"host": "h1"}, "value": "here"});
    granted(&served, "c-1", body).await;
    granted(
        &served,
        "c-2",
        json!({"lock": "pool", "permits": 2, "limit": 5}),
    )
    .await;
    queued(&served, "c-3", json!({"lock": "jobs/1", "queue": true})).await;
    let lock = both(&cell, &served, "/v1/locks/jobs%2F1").await;
    assert_eq!(
        (&lock["state"], &lock["queue_length"]),
        (&json!("held"), &json!(1))
    );
    both(&cell, &served, "/v1/locks/nobody").await;
    let listed = both(&cell, &served, "/v1/locks").await;
    assert_eq!(listed["items"].as_array().expect("items").len(), 2);
    let page = both(&cell, &served, "/v1/locks?limit=1").await;
    let cursor = page["next_cursor"]
        .as_str()
        .expect("more")
        .replace('/', "%2F");
    let rest = both(
        &cell,
        &served,
        &format!("/v1/locks?limit=5&cursor={cursor}"),
    )
    .await;
    assert_eq!(rest["items"][0]["name"], "pool");
    let held = both(&cell, &served, "/v1/locks?prefix=jobs%2F&state=contended").await;
    assert_eq!(held["items"].as_array().expect("items").len(), 1);
    let history = both(&cell, &served, "/v1/locks/jobs%2F1/history?limit=1").await;
    assert_eq!(history["items"][0]["claim_id"], "c-3");
    let before = history["next_cursor"].as_str().expect("more");
    let path = format!("/v1/locks/jobs%2F1/history?cursor={before}");
    let older = both(&cell, &served, &path).await;
    assert_eq!(older["items"][0]["claim_id"], "c-1");
    let cached = ask(cell.node.http_addr(), "/v1/locks?consistency=cached").await;
    assert_eq!(cached.header("sidelock-consistency"), Some("cached"));
    assert_eq!(cached.json()["items"][0]["consistency"], "cached");
}
