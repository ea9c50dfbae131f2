//! What a body may hold, and how each fault is named.
//! In: bodies. Out: 400, 413 and 415 with a clear word. Never: a body that is half understood.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::refuser::Refuser;
use crate::support::Served;

async fn served() -> Served {
    Served::start(Arc::new(Refuser::default())).await
}

/// The detail of the refusal of this claim body.
async fn fault(served: &Served, body: &str) -> Value {
    let answer = served.send("PUT", "/v1/claims/c-1", body).await;
    answer.problem(400, "invalid-request")
}

#[tokio::test]
async fn unknown_fields_are_refused_with_all_their_names() {
    let served = served().await;
    let problem = fault(
        &served,
        r#"{"lock":"a","colour":1,"size":{"x":[1]},"ttl_ms":1000}"#,
    )
    .await;
    assert_eq!(problem["unknown_fields"], json!(["colour", "size"]));
    let detail = problem["detail"].as_str().expect("text");
    assert!(
        detail.contains("colour") && detail.contains("size"),
        "{detail}"
    );
    let problem = fault(
        &served,
        r#"{"locks":[{"name":"a"},{"name":"b","fancy":1}],"x":0}"#,
    )
    .await;
    assert_eq!(problem["unknown_fields"], json!(["x", "locks[1].fancy"]));
    for (path, body) in [
        ("/v1/claims/c-1/renew", r#"{"ttl":5}"#),
        ("/v1/locks/a/verify", r#"{"token":1,"ttl":5}"#),
    ] {
        let problem = served
            .send("POST", path, body)
            .await
            .problem(400, "invalid-request");
        assert_eq!(problem["unknown_fields"], json!(["ttl"]));
    }
}

#[tokio::test]
async fn repeated_fields_are_refused() {
    let served = served().await;
    let problem = fault(&served, r#"{"lock":"a","lock":"b"}"#).await;
    assert_eq!(problem["repeated_fields"], json!(["lock"]));
    let problem = fault(&served, r#"{"locks":[{"name":"a","name":"b"}]}"#).await;
    assert_eq!(problem["repeated_fields"], json!(["locks[0].name"]));
    let problem = fault(&served, r#"{"lock":"a","metadata":{"k":"1","k":"2"}}"#).await;
    assert!(
        problem["detail"].as_str().expect("text").contains("`k`"),
        "{problem}"
    );
}

#[tokio::test]
async fn every_fault_names_its_field() {
    let served = served().await;
    let long_name = format!(r#"{{"lock":"{}"}}"#, "n".repeat(513));
    let long_value = format!(r#"{{"lock":"a","value":"{}"}}"#, "v".repeat(4097));
    let long_owner = format!(r#"{{"lock":"a","owner":"{}"}}"#, "o".repeat(129));
    let many: Vec<Value> = (0..65).map(|n| json!({"name": format!("l{n}")})).collect();
    let many = json!({"locks": many}).to_string();
    let entries: serde_json::Map<String, Value> =
        (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    let entries = json!({"lock": "a", "metadata": entries}).to_string();
    let long_key = json!({"lock": "a", "metadata": {"k".repeat(65): "v"}}).to_string();
    let long_text = json!({"lock": "a", "metadata": {"k": "v".repeat(257)}}).to_string();
    for (body, word) in [
        ("{}", "`lock`"),
        (r#"{"lock":"a","locks":[{"name":"b"}]}"#, "not both"),
        (r#"{"locks":[]}"#, "`locks`"),
        (r#"{"locks":[{"mode":"shared"}]}"#, "`locks[0].name`"),
        (
            r#"{"locks":[{"name":"a"},{"name":"a"}]}"#,
            "`locks[1].name`",
        ),
        (r#"{"locks":[{"name":"a"}],"mode":"shared"}"#, "`mode`"),
        (r#"{"locks":{"name":"a"}}"#, "`locks`"),
        (r#"{"lock":""}"#, "`lock`"),
        (r#"{"lock":".."}"#, "`lock`"),
        (r#"{"lock":"a\u0007b"}"#, "`lock`"),
        (r#"{"lock":"a\ud800b"}"#, "`lock`"),
        (&long_name, "`lock`"),
        (r#"{"lock":5}"#, "`lock`"),
        (r#"{"lock":null}"#, "`lock`"),
        (r#"{"lock":"a","ttl_ms":499}"#, "`ttl_ms`"),
        (r#"{"lock":"a","ttl_ms":86400001}"#, "`ttl_ms`"),
        (r#"{"lock":"a","ttl_ms":-1}"#, "`ttl_ms`"),
        (r#"{"lock":"a","ttl_ms":1000.5}"#, "`ttl_ms`"),
        (r#"{"lock":"a","ttl_ms":"1000"}"#, "`ttl_ms`"),
        (
            r#"{"lock":"a","ttl_ms":99999999999999999999999}"#,
            "`ttl_ms`",
        ),
        (r#"{"lock":"a","ttl_ms":1e999}"#, "number"),
        (r#"{"lock":"a","wait_ms":3600001}"#, "`wait_ms`"),
        (r#"{"lock":"a","queue":1}"#, "`queue`"),
        (r#"{"lock":"a","priority":10}"#, "`priority`"),
        (r#"{"lock":"a","min_hold_ms":86400001}"#, "`min_hold_ms`"),
        (r#"{"lock":"a","mode":"exclusiv"}"#, "`mode`"),
        (r#"{"lock":"a","mode":"shared","limit":2}"#, "`limit`"),
        (r#"{"lock":"a","permits":2}"#, "`limit`"),
        (r#"{"lock":"a","permits":3,"limit":2}"#, "`permits`"),
        (r#"{"lock":"a","limit":0}"#, "`limit`"),
        (r#"{"lock":"a","limit":1000001}"#, "`limit`"),
        (r#"{"lock":"a","owner":"a b"}"#, "`owner`"),
        (&long_owner, "`owner`"),
        (&long_value, "`value`"),
        (&entries, "`metadata`"),
        (&long_key, "`metadata`"),
        (&long_text, "`metadata.k`"),
        (r#"{"lock":"a","metadata":{"k":1}}"#, "`metadata`"),
        (&many, "`locks`"),
        ("[]", "object"),
        ("\"lock\"", "object"),
        ("{\"lock\":\"a\"", "EOF"),
        ("{\"lock\":\"a\"} x", "trailing"),
        ("{'lock':'a'}", "column"),
    ] {
        let problem = fault(&served, body).await;
        let detail = problem["detail"].as_str().expect("text");
        assert!(
            detail.contains(word),
            "{word} is not in {detail:?} for {body}"
        );
    }
}

#[tokio::test]
async fn invalid_utf8_and_nesting_are_refused() {
    let served = served().await;
    let mut bytes = b"PUT /v1/claims/c-1 HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    bytes.extend(b"content-type: application/json\r\ncontent-length: 14\r\n\r\n");
    bytes.extend(b"{\"lock\":\"a\xff\xfe\"}");
    served.raw(&bytes).await.problem(400, "invalid-request");
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    fault(&served, &deep).await;
}

#[tokio::test]
async fn what_is_left_out_has_the_documented_default() {
    let served = served().await;
    let ask = served
        .send("PUT", "/v1/claims/echo", r#"{"lock":"a"}"#)
        .await;
    let ask = ask.problem(400, "invalid-request")["detail"].to_string();
    for part in [
        "ttl: 10s",
        "wait: 0ns",
        "queue: false",
        "owner: None",
        "priority: 0",
        "Exclusive",
    ] {
        assert!(ask.contains(part), "{part} is not in {ask}");
    }
    let body = r#"{"lock":"pool","limit":10,"ttl_ms":1e3,"queue":true,"wait_ms":0.0}"#;
    let ask = served.send("PUT", "/v1/claims/echo", body).await;
    let ask = ask.problem(400, "invalid-request")["detail"].to_string();
    for part in [
        "ttl: 1s",
        "wait: 3600s",
        "queue: true",
        "permits: 1, limit: 10",
    ] {
        assert!(ask.contains(part), "{part} is not in {ask}");
    }
}

#[tokio::test]
async fn a_body_must_be_declared_as_json() {
    let served = served().await;
    let wrong = |media_type: &str| {
        format!(
            "PUT /v1/claims/c-1 HTTP/1.1\r\nhost: localhost\r\n{media_type}content-length: 12\r\n\r\n\
             {{\"lock\":\"a\"}}"
        )
    };
    for media_type in ["", "content-type: application/x-www-form-urlencoded\r\n"] {
        let problem = served
            .raw(wrong(media_type))
            .await
            .problem(415, "unsupported-media-type");
        let detail = problem["detail"].as_str().expect("text");
        assert!(
            detail.contains("Content-Type: application/json"),
            "{detail}"
        );
    }
    let gzip = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    served
        .raw(wrong(gzip))
        .await
        .problem(415, "unsupported-media-type");
    let utf8 = "content-type: Application/JSON; charset=utf-8\r\n";
    served.raw(wrong(utf8)).await.problem(503, "no-quorum");
}

#[tokio::test]
async fn a_renewal_may_have_no_body() {
    let served = served().await;
    let answer = served.send("POST", "/v1/claims/c-1/renew", "").await;
    assert_eq!(
        answer.problem(400, "invalid-request")["detail"],
        "None None"
    );
    let answer = served
        .send("POST", "/v1/claims/c-1/renew", r#"{"ttl_ms":500}"#)
        .await;
    assert_eq!(
        answer.problem(400, "invalid-request")["detail"],
        "Some(500ms) None"
    );
    served
        .send("POST", "/v1/claims/c-1/renew", r#"{"ttl_ms":0}"#)
        .await
        .problem(400, "invalid-request");
}

#[tokio::test]
async fn a_large_body_is_refused_declared_or_chunked() {
    let served = served().await;
    let body = "x".repeat(64 * 1024 + 1);
    served
        .send("PUT", "/v1/claims/c-1", &body)
        .await
        .problem(413, "too-large");
    let chunked = format!(
        "PUT /v1/claims/c-1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    served.raw(chunked).await.problem(413, "too-large");
    // One byte less is read and found to be no JSON.
    let body = "x".repeat(64 * 1024);
    served
        .send("PUT", "/v1/claims/c-1", &body)
        .await
        .problem(400, "invalid-request");
}

#[tokio::test]
async fn tokens_and_reasons_have_bounds() {
    let served = served().await;
    for body in [
        "{}",
        r#"{"token":0}"#,
        r#"{"token":9007199254740992}"#,
        r#"{"token":"1"}"#,
    ] {
        served
            .send("POST", "/v1/locks/a/verify", body)
            .await
            .problem(400, "invalid-request");
    }
    served
        .send(
            "POST",
            "/v1/locks/a/verify",
            r#"{"token":9007199254740991}"#,
        )
        .await
        .problem(503, "no-quorum");
}
