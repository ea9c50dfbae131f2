//! Paths and bodies of the local API, into a router without a socket and a sidecar without a core.
//! In: dice. Out: an answer that is none of a panic's. Never: an answer of another shape than documented.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sidelock::api::{Config, router};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::dice::Dice;
use crate::throw;

#[path = "../it/refuser.rs"]
mod refuser;

const BODIES: [&str; 6] = [
    r#"{"locks":[{"name":"a","mode":"exclusive"},{"name":"b","mode":"shared"}],"ttl_ms":10000}"#,
    r#"{"lock":"a","ttl_ms":500,"wait_ms":5000,"queue":true,"owner":"o","priority":9}"#,
    r#"{"lock":"p","mode":"semaphore","permits":1,"limit":3,"metadata":{"k":"v"},"value":"v"}"#,
    r#"{"ttl_ms":10000,"value":"leader"}"#,
    r#"{"token":7}"#,
    r#"{"reason":"why","force":true}"#,
];
const ROUTES: [(&str, &str); 14] = [
    ("PUT", "/v1/claims/echo"),
    ("POST", "/v1/claims"),
    ("POST", "/v1/claims/echo/renew"),
    ("POST", "/v1/locks/a/verify"),
    ("POST", "/v1/locks/a/break"),
    ("GET", "/v1/claims/echo"),
    ("DELETE", "/v1/claims/echo"),
    ("GET", "/v1/claims/echo/events"),
    ("GET", "/v1/locks"),
    ("GET", "/v1/locks/a"),
    ("GET", "/v1/locks/a/events"),
    ("GET", "/v1/locks/a/history"),
    ("GET", "/v1/mode"),
    ("GET", "/v1/status"),
];
const QUERIES: [&str; 6] = [
    "",
    "?after=3&wait_ms=0",
    "?limit=10&cursor=x",
    "?prefix=a&state=held",
    "?consistency=stale",
    "?ttl_ms=1000&token=1",
];
const METHODS: [&str; 5] = ["PUT", "POST", "GET", "DELETE", "PATCH"];

thread_local! {
    static FACE: LazyCell<(Runtime, Router)> = const { LazyCell::new(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let config = Config { operator_routes: true, ..Config::default() };
        (runtime.expect("a runtime"), router(Arc::new(refuser::Refuser::default()), config))
    }) };
}

#[test]
fn every_request_has_an_answer_and_every_refusal_is_a_problem() {
    throw!(|mut dice: Dice| {
        if let Some(request) = request(&mut dice) {
            let shown = format!("{request:?}");
            FACE.with(|face| face.0.block_on(ask(face.1.clone(), request, &shown)));
        }
    });
}

/// `None` for what the HTTP library would not let through either.
fn request(dice: &mut Dice) -> Option<Request<Body>> {
    let (mut method, path) = dice.pick(&ROUTES);
    if dice.once_in(16) {
        method = dice.pick(&METHODS);
    }
    let mut path = path.to_owned();
    match dice.below(8) {
        0 => {
            let mut name = dice.text(&["orders/42", "a b", "c"]).into_bytes();
            dice.damage(&mut name);
            let encoded = percent_encode(&name, NON_ALPHANUMERIC).to_string();
            path = path.replacen("/a", &format!("/{encoded}"), 1);
        }
        1 => path = mangled(dice, &path),
        _ => {}
    }
    let mut query = String::new();
    if dice.once_in(2) {
        query = dice.pick(&QUERIES).to_owned();
    }
    if dice.once_in(4) {
        query = mangled(dice, &query);
    }
    let mut body = dice.pick(&BODIES).as_bytes().to_vec();
    match dice.below(8) {
        0 => body = dice.rest().to_vec(),
        1..=4 => {}
        _ => dice.mangle(&mut body),
    }
    let media = dice.text(&["application/json"]);
    let request = Request::builder()
        .method(method)
        .uri(path + &query)
        .header(
            "host",
            dice.text(&["localhost:5625", "127.0.0.1", "localhost"]),
        )
        .header("content-type", media)
        .header(
            "accept",
            dice.pick(&["*/*", "*/*", "*/*", "application/json", "text/event-stream"]),
        )
        .body(Body::from(body));
    // These ids of the refuser wait, and fail on purpose.
    let request = request.ok()?;
    let path = request.uri().path();
    (!path.contains("wait") && !path.contains("panic")).then_some(request)
}

fn mangled(dice: &mut Dice, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    dice.mangle(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask(router: Router, request: Request<Body>, shown: &str) {
    let head = request.method() == http::Method::HEAD;
    let answer = tokio::time::timeout(Duration::from_secs(5), router.oneshot(request)).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer to {shown}"));
    let answer = answer.unwrap_or_else(|never| match never {});
    let status = answer.status();
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{shown}");
    if (status.is_client_error() || status.is_server_error()) && !head {
        let body = answer.into_body().collect().await.expect("a whole body");
        let problem: serde_json::Value = serde_json::from_slice(&body.to_bytes())
            .unwrap_or_else(|error| panic!("{status} {error} for {shown}"));
        assert_eq!(problem["status"], status.as_u16(), "{shown}");
        assert!(problem["code"].is_string(), "{problem} for {shown}");
    }
}
