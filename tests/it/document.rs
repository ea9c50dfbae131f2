//! The OpenAPI document: the one in openapi/ is the one of the code, and it keeps its promises.
//! In: the file and the served document. Out: nothing. Never: a null, a oneOf, a nameless operation.

use std::sync::Arc;

use serde_json::Value;

use crate::refuser::Refuser;
use crate::support::Served;

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
