//! The OpenAPI document: the one in openapi/ is the one of the code, and it keeps its promises.
//! In: the file and the served document. Out: nothing. Never: a null, a oneOf, a nameless operation.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::refuser::Refuser;
use crate::support::{Answer, Cell, Served};

fn document() -> Value {
    serde_json::from_str(&sidelock::api::openapi_text()).expect("JSON")
}

#[test]
fn the_file_is_what_the_code_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/sidelock.json");
    let file = std::fs::read_to_string(file).expect("openapi/sidelock.json is there");
    assert!(
        file == sidelock::api::openapi_text(),
        "openapi/sidelock.json is not what the code says: run `make openapi`"
    );
}

#[tokio::test]
async fn the_served_one_is_the_same() {
    let served = Served::start(Arc::new(Refuser::default())).await;
    let answer = served.send("GET", "/openapi.json", "").await;
    assert_eq!(answer.json(), document());
}

#[test]
fn operations_are_named_and_their_problems_documented() {
    let document = document();
    assert!(
        document["openapi"]
            .as_str()
            .expect("a version")
            .starts_with("3.1")
    );
    let mut names = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            names.push(
                operation["operationId"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
            );
            let responses = operation["responses"].as_object().expect("responses");
            for status in ["400", "403", "406", "408", "431", "500", "503"] {
                assert!(
                    responses.contains_key(status),
                    "{method} {path} lacks {status}"
                );
            }
            let body = operation.get("requestBody").is_some();
            assert_eq!(responses.contains_key("415"), body, "{method} {path}");
        }
    }
    for name in [
        "createClaim",
        "putClaim",
        "getClaim",
        "renewClaim",
        "releaseClaim",
        "streamClaimEvents",
        "listClaims",
        "listLocks",
        "getLock",
        "streamLockEvents",
        "getLockHistory",
        "verifyToken",
        "breakLock",
        "getMode",
        "getStatus",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} is missing");
    }
}

#[test]
fn there_is_no_one_of_and_no_null() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::Null => panic!("null at {path}"),
            Value::String(text) => assert_ne!(text, "null", "at {path}"),
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    check(item, &format!("{path}/{place}"));
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    assert!(
                        !matches!(name.as_str(), "oneOf" | "anyOf" | "nullable"),
                        "{path}/{name}"
                    );
                    check(field, &format!("{path}/{name}"));
                }
            }
            Value::Bool(_) | Value::Number(_) => {}
        }
    }
    check(&document(), "");
}

#[test]
fn tokens_are_64_bit_integers() {
    let document = document();
    let token = &document["components"]["schemas"]["Claim"]["properties"]["token"];
    assert_eq!(token["type"], "integer");
    assert_eq!(token["format"], "int64");
}

/// The headers of an answer that the document speaks of at all.
fn told(answer: &Answer) -> BTreeSet<String> {
    let names = answer.head.lines().filter_map(|line| line.split_once(": "));
    let names = names.map(|(name, _)| name.to_owned());
    let ours = ["age", "location", "retry-after", "www-authenticate"];
    names
        .filter(|name| name.starts_with("sidelock-") || ours.contains(&name.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_answers_are_those_that_are_documented() {
    let cell = Cell::start().await;
    let served = cell.serve().await;
    let document = document();
    let ask = async |method: &str, template: &str, path: &str, body: &str, status: u16| {
        let answer = served.send(method, path, body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let operation = &document["paths"][template][method.to_lowercase()];
        let mut response = &operation["responses"][status.to_string()];
        if let Some(shared) = response["$ref"].as_str() {
            let pointer = shared.trim_start_matches('#');
            response = document.pointer(pointer).expect("the shared response");
        }
        let documented = response["headers"].as_object().expect("headers").keys();
        let documented: BTreeSet<_> = documented.map(|name| name.to_lowercase()).collect();
        let sent = told(&answer);
        let rare = BTreeSet::from(["retry-after".to_owned()]);
        assert!(
            sent.is_subset(&documented),
            "{path}: {sent:?}, not {documented:?}"
        );
        let missing: BTreeSet<_> = documented.difference(&sent).cloned().collect();
        assert!(
            missing.is_subset(&rare),
            "{path}: {missing:?} are documented only"
        );
    };
    let (claims, claim) = ("/v1/claims", "/v1/claims/{claim_id}");
    let body = r#"{"lock":"a"}"#;
    ask("PUT", claim, "/v1/claims/c", body, 201).await;
    ask("PUT", claim, "/v1/claims/c", body, 200).await;
    ask("GET", claim, "/v1/claims/c", "", 200).await;
    ask("GET", claim, "/v1/claims/d", "", 404).await;
    ask(
        "POST",
        "/v1/claims/{claim_id}/renew",
        "/v1/claims/c/renew",
        "",
        200,
    )
    .await;
    ask("POST", claims, claims, r#"{"lock":"b"}"#, 201).await;
    ask("POST", claims, claims, body, 409).await;
    ask("POST", claims, claims, "{}", 400).await;
    ask("GET", claims, claims, "", 200).await;
    for (template, path) in [
        ("/v1/locks/{name}", "/v1/locks/a"),
        ("/v1/locks/{name}/why", "/v1/locks/a/why"),
        ("/v1/locks/{name}/history", "/v1/locks/a/history"),
        ("/v1/contention", "/v1/contention"),
        ("/v1/contention", "/v1/contention?scope=cell"),
    ] {
        ask("GET", template, path, "", 200).await;
    }
    for path in [
        "locks",
        "deadlocks",
        "lock-order",
        "waits",
        "sessions",
        "mode",
        "status",
    ] {
        let path = format!("/v1/{path}");
        ask("GET", &path, &path, "", 200).await;
    }
    let verify = "/v1/locks/{name}/verify";
    ask("POST", verify, "/v1/locks/a/verify", r#"{"token":1}"#, 200).await;
    ask("DELETE", claim, "/v1/claims/c", "", 204).await;
}
