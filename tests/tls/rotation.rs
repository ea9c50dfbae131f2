//! Certificates and authorities that change under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sidelock::tls::issue::Authority;

use reqwest::Method;

use crate::cell::{Cell, Papers, ask, plain, until};

const SHOP: &str = "spiffe://example.org/ns/shop/sa/till";

/// Until every node says so: all have read their files anew.
async fn nodes_trust(cell: &Cell, file: &str) {
    for node in 1..=3 {
        let url = cell.operator(node, "/v1/cluster");
        until("a node that trusts", async || {
            // Each time a connection of its own, which is shaken hands for anew.
            let credentials = cell.papers.credentials(Some(file));
            let answer = ask(&credentials, Method::GET, &url, None).await?;
            (answer.0 == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_under_load_without_a_failed_claim() {
    let papers = Papers::new();
    papers.issue(&papers.authority, "till", SHOP);
    // Of the sidecar's files only the first ones ever: it hears of the rest over its stream.
    std::fs::copy(papers.path("ca.pem"), papers.path("first-ca.pem")).expect("copied");
    let mut cell = Cell::start(papers, &[]).await;
    let mut flags = cell.papers.flags("till");
    let last = flags.last_mut().expect("--tls-ca");
    *last = cell.papers.path("first-ca.pem").display().to_string();
    let url = cell.sidecar(&flags).await;
    until("a session", async || cell.session(&url).await).await;

    let next = Authority::new("next", 1).expect("an authority");
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let load = tokio::spawn(load(url.clone(), Arc::clone(&stop), Arc::clone(&done)));

    // Both are trusted, then the new one signs, then the old one is forgotten.
    cell.papers.issue(&next, "watcher", "watcher");
    cell.papers.trust(&[&cell.papers.authority, &next]);
    nodes_trust(&cell, "watcher").await;
    cell.papers.core(&next);
    cell.papers.issue(&next, "till", SHOP);
    let fresh = cell.papers.path("next-ca.pem");
    std::fs::write(&fresh, &next.pem).expect("written");
    until("nodes with new certificates", async || {
        let own = cell.papers.credentials_trusting("watcher", "next-ca.pem");
        for node in 1..=3 {
            let url = cell.operator(node, "/readyz");
            ask(&own, Method::GET, &url, None).await?;
        }
        Some(())
    })
    .await;
    cell.papers.trust(&[&next]);
    // Every stream is made anew: the sidecar has heard whom to trust, though its file does not say so.
    let before = done.load(Ordering::Relaxed);
    cell.restart_leader().await;
    until("claims over new streams", async || {
        (done.load(Ordering::Relaxed) > before + 50).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    load.await.expect("no claim has failed");
    assert!(done.load(Ordering::Relaxed) > 100);
}

/// Claims and releases without a pause. Each is granted in the end; a retry is what any client does on a 503.
async fn load(url: String, stop: Arc<AtomicBool>, done: Arc<AtomicU32>) {
    let client = plain();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let claim = format!("{url}/v1/claims/load-{number}");
        // Each on a lock of its own, so that the core is asked every time.
        let body = serde_json::json!({ "lock": format!("load/{number}"), "wait_ms": 10_000 });
        let put = client
            .put(&claim)
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(put.status().as_u16(), 201, "{:?}", put.text().await);
        let delete = client.delete(&claim).send().await.expect("an answer");
        assert_eq!(delete.status().as_u16(), 204);
        done.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
