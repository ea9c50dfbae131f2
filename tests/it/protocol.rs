//! Clients that are slow, half-closed, too talkative or not HTTP at all.
//! In: bytes at bad times. Out: the right 4xx, and a server that goes on working.
//! Never: a client that can keep a connection without using it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::refuser::Refuser;
use crate::support::{Served, read_answer, request};

async fn served() -> Served {
    Served::start(Arc::new(Refuser::default())).await
}

async fn still_works(served: &Served) {
    assert_eq!(served.send("GET", "/livez", "").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_refused_as_a_problem() {
    let served = served().await;
    for bytes in [
        &b"HELO there\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
        b"POST /v1/claims HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/claims HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let problem = served.raw(bytes).await.problem(400, "invalid-request");
        assert!(problem["detail"].as_str().expect("text").contains("HTTP"), "{problem}");
    }
    still_works(&served).await;
}

#[tokio::test]
async fn large_heads_are_refused_as_a_problem() {
    let served = served().await;
    for size in [17 * 1024, 100 * 1024, 900 * 1024] {
        let header = format!("x-large: {}\r\n", "x".repeat(size));
        let answer = served.send_with("GET", "/v1/mode", &header, "").await;
        answer.problem(431, "headers-too-large");
    }
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = served.send_with("GET", "/v1/mode", &many, "").await;
    answer.problem(431, "headers-too-large");
    let header = format!("x-large: {}\r\n", "x".repeat(15 * 1024));
    assert_eq!(
        served
            .send_with("GET", "/v1/mode", &header, "")
            .await
            .status,
        200
    );
    still_works(&served).await;
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_time_out() {
    let served = served().await;
    let head = async {
        let mut socket = served.connect().await;
        socket
            .write_all(b"GET /v1/mode HTTP/1.1\r\nhost: loc")
            .await
            .expect("it reads");
        let answer = read_answer(&mut socket).await.expect("it answers");
        answer.problem(408, "request-timeout");
    };
    let body = async {
        let mut socket = served.connect().await;
        let whole = request("PUT", "/v1/claims/c", "", r#"{"lock":"a"}"#);
        socket
            .write_all(&whole.as_bytes()[..whole.len() - 3])
            .await
            .expect("it reads");
        let answer = read_answer(&mut socket).await.expect("it answers");
        answer.problem(408, "request-timeout");
        assert_eq!(
            socket.read(&mut [0]).await.expect("a close"),
            0,
            "the rest is not a request"
        );
    };
    tokio::join!(head, body);
    still_works(&served).await;
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let served = served().await;
    for (method, path, body, status) in [
        ("GET", "/v1/mode", "", 200),
        ("PUT", "/v1/claims/c", r#"{"lock":"a"}"#, 503),
        ("PUT", "/v1/claims/c", r#"{"lok":"a"}"#, 400),
    ] {
        let mut socket = served.connect().await;
        let whole = request(method, path, "", body);
        socket.write_all(whole.as_bytes()).await.expect("it reads");
        socket.shutdown().await.expect("half-closed");
        let answer = read_answer(&mut socket).await.expect("it answers");
        assert_eq!(answer.status, status);
    }
    // Closed in the middle of a body.
    let mut socket = served.connect().await;
    let whole = request("PUT", "/v1/claims/c", "", r#"{"lock":"a"}"#);
    socket
        .write_all(&whole.as_bytes()[..whole.len() - 3])
        .await
        .expect("it reads");
    socket.shutdown().await.expect("half-closed");
    let answer = read_answer(&mut socket).await.expect("it answers");
    answer.problem(400, "invalid-request");
    still_works(&served).await;
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_pipelines() {
    let served = served().await;
    let mut socket = served.connect().await;
    for _ in 0..3 {
        let get = request("GET", "/v1/mode", "", "");
        socket.write_all(get.as_bytes()).await.expect("it reads");
        assert_eq!(
            read_answer(&mut socket).await.expect("an answer").status,
            200
        );
        let put = request("PUT", "/v1/claims/c", "", r#"{"lock":"a"}"#);
        socket.write_all(put.as_bytes()).await.expect("it reads");
        assert_eq!(
            read_answer(&mut socket).await.expect("an answer").status,
            503
        );
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_nothing_more() {
    let served = served().await;
    let answer = served.send("GET", "/v1/claims/panic", "").await;
    answer.problem(500, "internal");
    still_works(&served).await;
}

#[tokio::test]
async fn a_shutdown_ends_what_waits() {
    let served = served().await;
    let mut socket = served.connect().await;
    let put = request(
        "PUT",
        "/v1/claims/wait",
        "",
        r#"{"lock":"a","wait_ms":3600000}"#,
    );
    socket.write_all(put.as_bytes()).await.expect("it reads");
    // A second request that is answered shows that the first one's bytes were taken up by then.
    still_works(&served).await;
    tokio::time::timeout(Duration::from_secs(30), served.stop())
        .await
        .expect("it stops within its grace");
    assert!(
        read_answer(&mut socket).await.is_none(),
        "the waiting request ended without an answer"
    );
}
