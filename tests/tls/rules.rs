//! What identities may do, by rules that are followed.

use std::fs;

use reqwest::Method;
use serde_json::json;

use crate::cell::{Cell, Papers, until};

const SHOP: &str = "spiffe://example.org/ns/shop/sa/till";
const OTHER: &str = "spiffe://example.org/ns/other/sa/clerk";

const RULES: &str = r#"
rules:
  - identities: ["spiffe://example.org/ns/shop/sa/*"]
    prefixes: ["shop/"]
    may: [read, claim]
"#;

async fn cell() -> Cell {
    let papers = Papers::new();
    papers.issue(&papers.authority, "till", SHOP);
    papers.issue(&papers.authority, "clerk", OTHER);
    let rules = papers.path("rules.yaml");
    fs::write(&rules, RULES).expect("written");
    let rules = rules.display().to_string();
    Cell::start(papers, &["--rules", &rules]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_rule_allows_is_forbidden() {
    let mut cell = cell().await;
    let till = cell.certified("till").await;
    let clerk = cell.certified("clerk").await;
    assert_eq!(cell.claim(&till, "c1", "shop/1").await.0, 201);
    let (status, problem) = cell.claim(&till, "c2", "bank/1").await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
    assert_eq!(problem["lock"], "bank/1");
    assert_eq!(problem["retryable"], false);
    // One that is allowed does not carry one that is not.
    let body = json!({ "locks": [{ "name": "shop/2" }, { "name": "bank/2" }] });
    let path = "/v1/claims/c3";
    let (status, _) = cell.ask(Method::PUT, &till, path, Some(body)).await;
    assert_eq!(status, 403);
    let (status, _) = cell.claim(&clerk, "c4", "shop/3").await;
    assert_eq!(status, 403);
    // What was refused has used up nothing: the next one is served.
    assert_eq!(cell.claim(&till, "c5", "shop/4").await.0, 201);
    assert_eq!(cell.release(&till, "c1").await, 204);

    let seen = async |url: &str, path: &str| cell.ask(Method::GET, url, path, None).await.0;
    assert_eq!(
        seen(&till, "/v1/locks/shop%2F1?consistency=linearizable").await,
        200
    );
    assert_eq!(seen(&till, "/v1/locks?prefix=shop%2F").await, 200);
    assert_eq!(
        seen(&clerk, "/v1/locks/shop%2F4?consistency=linearizable").await,
        403
    );
    assert_eq!(
        seen(&clerk, "/v1/locks?prefix=shop%2F&consistency=linearizable").await,
        403
    );
    assert_eq!(
        seen(&clerk, "/v1/locks?consistency=linearizable").await,
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_rules_hold_without_a_restart() {
    let mut cell = cell().await;
    let clerk = cell.certified("clerk").await;
    assert_eq!(cell.claim(&clerk, "c0", "other/1").await.0, 403);
    let more = r#"
  - identities: ["spiffe://example.org/ns/other/sa/clerk"]
    prefixes: ["other/"]
    may: [claim]
"#;
    let path = cell.papers.path("rules.yaml");
    fs::write(&path, "rules: [").expect("written");
    fs::write(&path, format!("{RULES}{more}")).expect("written");
    let numbers = std::sync::atomic::AtomicU32::new(1);
    until("the new rules", async || {
        let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let claimed = cell.claim(&clerk, &format!("c{number}"), "other/1").await;
        (claimed.0 == 201).then_some(())
    })
    .await;
}
