//! Event streams against a real cell, and what their end means for a bound claim.
//! In: connections that are read, closed, reset. Out: events and the fate of the claim.
//! Never: a guess at a time; each step waits for what it needs.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::claims::{until_queued, until_state};
use crate::support::{Cell, Served, request};

/// An open event stream.
struct Stream {
    socket: TcpStream,
    head: String,
    text: String,
}

#[derive(Debug)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Stream {
    async fn open(served: &Served, method: &str, path: &str, headers: &str, body: &str) -> Self {
        let mut socket = served.connect().await;
        let bytes = request(method, path, headers, body);
        socket.write_all(bytes.as_bytes()).await.expect("it reads");
        let mut stream = Self {
            socket,
            head: String::new(),
            text: String::new(),
        };
        while !stream.text.contains("\r\n\r\n") {
            assert!(stream.more().await, "ended in the head: {}", stream.text);
        }
        let (head, rest) = stream.text.split_once("\r\n\r\n").expect("just seen");
        (stream.head, stream.text) = (head.to_lowercase(), rest.to_owned());
        assert!(
            stream.head.starts_with("http/1.1 200"),
            "{}{}",
            stream.head,
            stream.text
        );
        assert!(
            stream.head.contains("content-type: text/event-stream"),
            "{}",
            stream.head
        );
        assert!(
            stream.head.contains("sidelock-mode: normal"),
            "{}",
            stream.head
        );
        stream
    }

    async fn more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = self.socket.read(&mut bytes);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        let count = read.expect("something every 5 s").expect("no error");
        self.text
            .push_str(std::str::from_utf8(&bytes[..count]).expect("UTF-8"));
        count > 0
    }

    /// The next block up to an empty line, without the chunks' frames; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let frame = |line: &&str| !line.ends_with('\r');
                let block: Vec<&str> = block.split('\n').filter(frame).collect();
                let (block, rest) = (block.join("\n"), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            if self.text.contains("\r\n0\r\n\r\n") || !self.more().await {
                return None;
            }
        }
    }

    /// The next event; comments are skipped.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_else(|| panic!("{name} in {block:?}"))
                    .to_owned()
            };
            return Some(Event {
                name: field("event: "),
                id: field("id: "),
                data: serde_json::from_str(&field("data: ")).expect("JSON"),
            });
        }
    }
}

const EVENTS: &str = "accept: text/event-stream\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn one_request_claims_binds_and_streams() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let body = r#"{"lock":"a","ttl_ms":1000}"#;
    let mut holder = Stream::open(&served, "POST", "/v1/claims", EVENTS, body).await;
    let first = holder.event().await.expect("the current state");
    assert_eq!(first.name, "granted");
    assert_eq!(first.data["state"], "granted");
    assert_eq!(first.id, first.data["revision"].to_string());
    assert!(first.data["token"].is_u64(), "{first:?}");
    let id = first.data["claim_id"].as_str().expect("an id").to_owned();
    let named = format!("sidelock-claim-id: {id}");
    assert!(holder.head.contains(&named), "{}", holder.head);
    let other = served.send("POST", "/v1/claims", r#"{"lock":"a"}"#).await;
    other.problem(409, "lock-held");
    let refused = served
        .send_with("POST", "/v1/claims", EVENTS, r#"{"lock":"a"}"#)
        .await;
    refused.problem(409, "lock-held");
    // Two comments take 10 s: ten times the ttl, without a renewal.
    for _ in 0..2 {
        let block = holder.block().await.expect("a comment");
        assert!(block.starts_with(':'), "{block:?}");
    }
    let claim = served
        .send("GET", &format!("/v1/claims/{id}"), "")
        .await
        .json();
    assert_eq!(claim["state"], "granted");
    // A close is a death.
    drop(holder);
    let claim = until_state(&served, &id, "expired").await;
    assert_eq!(claim["reason"], "stream-closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_of_the_grant_it_waits_for() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    served
        .send("PUT", "/v1/claims/c-1", r#"{"lock":"a"}"#)
        .await;
    let body = r#"{"lock":"a","wait_ms":60000}"#;
    let mut waiter = Stream::open(&served, "POST", "/v1/claims", EVENTS, body).await;
    assert_eq!(waiter.event().await.expect("an event").name, "queued");
    served.send("DELETE", "/v1/claims/c-1", "").await;
    let granted = waiter.event().await.expect("an event");
    assert_eq!(granted.name, "granted");
    // A release ends the stream.
    let id = granted.data["claim_id"].as_str().expect("an id");
    served.send("DELETE", &format!("/v1/claims/{id}"), "").await;
    let released = waiter.event().await.expect("an event");
    assert_eq!(released.name, "released");
    assert!(waiter.event().await.is_none(), "the stream is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stream_cancels_what_waits() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    served
        .send("PUT", "/v1/claims/c-1", r#"{"lock":"a"}"#)
        .await;
    let body = r#"{"lock":"a","wait_ms":60000}"#;
    let waiter = Stream::open(&served, "POST", "/v1/claims", EVENTS, body).await;
    until_queued(&served, "a", 1).await;
    drop(waiter);
    until_queued(&served, "a", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_stream_leaves_the_claim_its_ttl() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    served
        .send("PUT", "/v1/claims/c-1", r#"{"lock":"a","ttl_ms":2000}"#)
        .await;
    let mut stream = Stream::open(&served, "GET", "/v1/claims/c-1/events?bind=true", "", "").await;
    stream.event().await.expect("the current state");
    stream
        .socket
        .set_zero_linger()
        .expect("a reset at the close");
    drop(stream);
    let claim = until_state(&served, "c-1", "expired").await;
    assert_eq!(claim["reason"], "ttl-expired", "not stream-closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_bound_only_watches() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    served
        .send("PUT", "/v1/claims/c-1", r#"{"lock":"a"}"#)
        .await;
    let mut stream = Stream::open(&served, "GET", "/v1/claims/c-1/events", "", "").await;
    let first = stream.event().await.expect("the current state");
    assert_eq!(first.name, "granted");
    drop(stream);
    let resume = format!("last-event-id: {}\r\n", first.id);
    let mut stream = Stream::open(&served, "GET", "/v1/claims/c-1/events", &resume, "").await;
    served.send("DELETE", "/v1/claims/c-1", "").await;
    let next = stream.event().await.expect("what came after");
    assert_eq!(
        next.name, "released",
        "the drop of the first stream did not end it"
    );
    assert!(stream.event().await.is_none());
    // Nothing more will come, and a browser must not ask again.
    let resume = format!("last-event-id: {}\r\n", next.id);
    let over = served
        .send_with("GET", "/v1/claims/c-1/events", &resume, "")
        .await;
    assert_eq!(over.status, 204);
    served
        .send("GET", "/v1/claims/none/events", "")
        .await
        .problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_watched_by_others() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let mut watcher = Stream::open(&served, "GET", "/v1/locks/lead%2Fer/events", "", "").await;
    assert_eq!(watcher.event().await.expect("an event").name, "free");
    let body = json!({"lock": "lead/er", "value": "http://a"}).to_string();
    served.send("PUT", "/v1/claims/c-1", &body).await;
    let held = watcher.event().await.expect("an event");
    assert_eq!(held.name, "held");
    assert_eq!(held.data["name"], "lead/er");
    assert_eq!(held.data["holders"][0]["value"], "http://a");
    served.send("DELETE", "/v1/claims/c-1", "").await;
    assert_eq!(watcher.event().await.expect("an event").name, "free");
}
