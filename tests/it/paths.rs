//! Paths, query strings, methods, hosts and media types.
//! In: request lines and headers. Out: the right handler, or the right 4xx.
//! Never: a name that is decoded twice or not at all.

use std::sync::Arc;

use sidelock::config::api_token::ApiToken;
use sidelock::config::followed::Followed;

use crate::refuser::Refuser;
use crate::support::Served;

async fn served() -> Served {
    Served::start(Arc::new(Refuser::default())).await
}

#[tokio::test]
async fn encoded_names_reach_the_lock_they_mean() {
    let served = served().await;
    for (path, name) in [
        ("orders%2F42", "orders/42"),
        ("a%2F", "a/"),
        ("%2Fa", "/a"),
        ("a%2Fevents", "a/events"),
        ("a%252F", "a%2F"),
        ("a+b", "a+b"),
        ("%E2%9C%93", "\u{2713}"),
        ("a%20b", "a b"),
        ("verify", "verify"),
        ("%7Btag%7Dx", "{tag}x"),
        ("a%3Fb%23c", "a?b#c"),
        ("...", "..."),
    ] {
        let answer = served.send("GET", &format!("/v1/locks/{path}"), "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.json()["name"], name);
    }
}

#[tokio::test]
async fn bad_names_are_refused() {
    let served = served().await;
    let long = "n".repeat(513);
    for path in [
        "%zz", "a%2", "a%", "%ff", "%C3%28", "%00", "a%0Ab", "..", "%2e%2E", ".", &*long,
    ] {
        let path = format!("/v1/locks/{path}");
        let problem = served
            .send("GET", &path, "")
            .await
            .problem(400, "invalid-request");
        assert_eq!(problem["instance"], path);
    }
    for id in ["a%2Fb", "a%20b", "%C3%A9", "..", &"c".repeat(129)] {
        let path = format!("/v1/claims/{id}");
        served
            .send("GET", &path, "")
            .await
            .problem(400, "invalid-request");
        served
            .send("DELETE", &path, "")
            .await
            .problem(400, "invalid-request");
        served
            .send("PUT", &path, r#"{"lock":"a"}"#)
            .await
            .problem(400, "invalid-request");
    }
    let id = "c".repeat(128);
    served
        .send("GET", &format!("/v1/claims/{id}"), "")
        .await
        .problem(404, "not-found");
    served
        .send("GET", "/v1/claims/%41", "")
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn a_read_says_what_it_is_worth() {
    let served = served().await;
    let answer = served.send("GET", "/v1/locks/a", "").await;
    assert_eq!(answer.header("sidelock-consistency"), Some("cached"));
    assert_eq!(answer.header("age"), Some("2"), "1.5 s, rounded up");
    assert_eq!(answer.header("sidelock-mode"), Some("normal"));
    let lock = answer.json();
    assert_eq!(lock["state"], "free");
    assert_eq!(lock["consistency"], "cached");
    assert_eq!(lock["age_ms"], 1500);
    assert_eq!(lock["queue_length"], 0);
    assert!(!answer.body.contains("null"), "{}", answer.body);
}

#[tokio::test]
async fn unknown_paths_are_404() {
    let served = served().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/locks",
        "/v1/locks/",
        "/v1/claims/",
        "/v1/locks/a/b",
    ] {
        served.send("GET", path, "").await.problem(404, "not-found");
    }
    served
        .send("GET", "/docs/nothing.js", "")
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let served = served().await;
    for (method, path, allow) in [
        ("POST", "/v1/claims/c", &["get", "put", "delete"][..]),
        ("PATCH", "/v1/claims", &["get", "post"]),
        ("GET", "/v1/locks/a/verify", &["post"]),
        ("DELETE", "/v1/mode", &["get"]),
        ("OPTIONS", "/v1/locks", &["get"]),
        ("BREW", "/livez", &["get"]),
    ] {
        let answer = served.send(method, path, "").await;
        answer.problem(405, "method-not-allowed");
        let listed = answer.header("allow").expect("405 has Allow");
        for method in allow {
            assert!(listed.contains(method), "{method} is not in {listed:?}");
        }
    }
}

#[tokio::test]
async fn only_local_hosts_are_served() {
    let served = served().await;
    let with = |host: &str| format!("GET /v1/mode HTTP/1.1\r\n{host}\r\n");
    for host in [
        "localhost",
        "localhost:5625",
        "LocalHost:1",
        "127.0.0.1",
        "[::1]",
        "[::1]:5625",
    ] {
        let answer = served.raw(with(&format!("host: {host}\r\n"))).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:5625",
        "127.0.0.2",
        "::1",
        "localhost@evil.example",
        "0.0.0.0",
        "",
    ] {
        let answer = served.raw(with(&format!("host: {host}\r\n"))).await;
        answer.problem(403, "forbidden");
    }
    let twice = "host: localhost\r\nhost: evil.example\r\n";
    served.raw(with(twice)).await.problem(403, "forbidden");
    served.raw(with("")).await.problem(400, "invalid-request");
    let absolute = "GET http://evil.example/v1/mode HTTP/1.1\r\nhost: localhost\r\n\r\n";
    served.raw(absolute).await.problem(403, "forbidden");
    let old = served.raw("GET /v1/mode HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200);
}

#[tokio::test]
async fn pages_from_elsewhere_may_not_ask() {
    let served = served().await;
    for (origin, status) in [
        ("http://localhost:5625", 200),
        ("http://127.0.0.1:3000", 200),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
    ] {
        let header = format!("origin: {origin}\r\n");
        let answer = served.send_with("GET", "/v1/mode", &header, "").await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[tokio::test]
async fn only_accepted_media_types_are_sent() {
    let served = served().await;
    for accept in [
        "*/*",
        "application/*",
        "application/json;q=0.1, text/html",
        "Application/Json",
    ] {
        let header = format!("accept: {accept}\r\n");
        let answer = served.send_with("GET", "/v1/mode", &header, "").await;
        assert_eq!(answer.status, 200, "{accept}");
    }
    for accept in [
        "text/html",
        "application/json;q=0",
        "*/*, application/json;q=0",
        "nonsense",
    ] {
        let header = format!("accept: {accept}\r\n");
        let answer = served.send_with("GET", "/v1/mode", &header, "").await;
        answer.problem(406, "not-acceptable");
    }
    // Before anything is done.
    let json = "accept: application/json\r\n";
    let answer = served
        .send_with("GET", "/v1/claims/c/events", json, "")
        .await;
    answer.problem(406, "not-acceptable");
    let html = "accept: text/html\r\n";
    let answer = served
        .send_with("PUT", "/v1/claims/echo", html, r#"{"lock":"a"}"#)
        .await;
    answer.problem(406, "not-acceptable");
}

#[tokio::test]
async fn query_strings_are_read_strictly() {
    let served = served().await;
    for query in [
        "wait=5",
        "wait_ms=x",
        "wait_ms=-1",
        "wait_ms=",
        "wait_ms=3600001",
        "wait_ms=+5",
        "wait_ms=1&wait_ms=2",
        "wait_revision=99999999999999999999",
        "consistency=strong",
        "wait_ms=%zz",
        "consistency=%ff",
    ] {
        let path = format!("/v1/locks/a?{query}");
        served
            .send("GET", &path, "")
            .await
            .problem(400, "invalid-request");
    }
    for query in [
        "limit=0",
        "limit=1001",
        "state=weird",
        "cursor=",
        "cursor=a%00",
        "colour=1&size=2",
    ] {
        let path = format!("/v1/locks?{query}");
        served
            .send("GET", &path, "")
            .await
            .problem(400, "invalid-request");
    }
    let answer = served.send(
        "GET",
        "/v1/locks/a?wait_revision=3&wait_ms=0&consistency=cached",
        "",
    );
    assert_eq!(answer.await.status, 200);
    let events = "last-event-id: x\r\n";
    let answer = served
        .send_with("GET", "/v1/locks/a/events", events, "")
        .await;
    answer.problem(400, "invalid-request");
}

#[tokio::test]
async fn breaking_a_lock_is_for_operators() {
    let served = served().await;
    let body = r#"{"reason":"gone"}"#;
    let answer = served.send("POST", "/v1/locks/a/break", body).await;
    answer.problem(403, "forbidden");
    let config = sidelock::api::Config {
        operator_routes: true,
        ..Default::default()
    };
    let served = Served::with(Arc::new(Refuser::default()), config).await;
    let answer = served.send("POST", "/v1/locks/a/break", body).await;
    answer.problem(503, "no-quorum");
    let answer = served
        .send("POST", "/v1/locks/a/break", r#"{"force":true}"#)
        .await;
    answer.problem(400, "invalid-request");
}

#[tokio::test]
async fn health_mode_status_and_metrics_answer_without_a_core() {
    let served = served().await;
    for path in ["/livez", "/readyz", "/v1/mode", "/v1/status", "/v1/claims"] {
        let answer = served.send("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(!answer.body.contains("null"), "{}", answer.body);
    }
    let answer = served.send("DELETE", "/v1/claims/c", "").await;
    assert_eq!(answer.status, 202, "accepted while there is no core");
    let metrics = served.send("GET", "/metrics", "").await.body;
    let counted = "sidelock_http_requests_total{route=\"/livez\",method=\"GET\",status=\"200\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(
        metrics.contains("sidelock_mode{mode=\"normal\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_trace_of_a_request_is_kept() {
    let served = served().await;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("traceparent: 00-{trace_id}-00f067aa0ba902b7-01\r\n");
    for (method, path, body) in [
        ("GET", "/v1/claims/c", ""),
        ("PUT", "/v1/claims/c", r#"{"lock":"a"}"#),
    ] {
        let answer = served.send_with(method, path, &header, body).await;
        assert_eq!(answer.json()["trace_id"], trace_id);
    }
    let zero = format!("traceparent: 00-{}-00f067aa0ba902b7-01\r\n", "0".repeat(32));
    let answer = served.send_with("GET", "/v1/claims/c", &zero, "").await;
    let made = answer.problem(404, "not-found")["trace_id"].clone();
    assert_ne!(made, "0".repeat(32));
}

#[tokio::test]
async fn the_documentation_is_served_from_here() {
    let served = served().await;
    for path in ["/docs", "/docs/"] {
        let answer = served.send("GET", path, "").await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("content-type")
                .expect("a type")
                .starts_with("text/html")
        );
        assert!(
            !answer.body.contains("://"),
            "an outside link in {}",
            answer.body
        );
        let mut loaded = 0;
        for part in answer
            .body
            .split(&['"', '\''][..])
            .filter(|part| part.starts_with("/docs/"))
        {
            let file = served.send("GET", part, "").await;
            assert_eq!(file.status, 200, "{part}");
            loaded += 1;
        }
        assert!(loaded >= 4, "{}", answer.body);
    }
    let answer = served.send("GET", "/docs/swagger-initializer.js", "").await;
    assert!(answer.body.contains("/openapi.json"), "{}", answer.body);
    assert!(!answer.body.contains("petstore"), "{}", answer.body);
}

#[tokio::test]
async fn a_token_is_wanted_where_one_is_set_and_followed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").expect("written");
    let read = |bytes: &[Vec<u8>]| ApiToken::parse(&bytes[0]);
    let token = Arc::new(Followed::start(vec![path.clone()], read).expect("a token"));
    let config = sidelock::api::Config {
        token: Some(token),
        ..Default::default()
    };
    let served = Served::with(Arc::new(Refuser::default()), config).await;
    for path in ["/v1/mode", "/v1/claims", "/metrics", "/openapi.json", "/ui"] {
        let answer = served.send("GET", path, "").await;
        assert_eq!(answer.header("www-authenticate"), Some("bearer"), "{path}");
        answer.problem(401, "unauthorized");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(served.send("GET", path, "").await.status, 200, "{path}");
    }
    let shown = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let ask = async |token: &str| {
        let answer = served.send_with("GET", "/v1/mode", &shown(token), "").await;
        answer.status
    };
    assert_eq!(ask("0123456789abcdef").await, 200);
    assert_eq!(ask("0123456789abcdee").await, 401);
    std::fs::write(&path, "fedcba9876543210").expect("written");
    // Nobody is refused by a token that was replaced a moment ago, nor taken by it for long.
    assert_eq!(ask("fedcba9876543210").await, 200);
    assert_eq!(ask("0123456789abcdef").await, 401);
    std::fs::write(&path, "short").expect("written");
    assert_eq!(ask("short").await, 401, "what is no token changes nothing");
    assert_eq!(ask("fedcba9876543210").await, 200);
}
