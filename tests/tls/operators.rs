//! Operators' HTTP with certificates.

use std::fs;
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use crate::cell::{Cell, Papers, client, send};

const RULES: &str = r#"
rules:
  - identities: [ops]
    prefixes: [""]
    may: [read, break]
  - identities: [ops]
    may: [admin]
  - identities: [reader]
    prefixes: ["a"]
    may: [read]
  - identities: [till]
    prefixes: [""]
    may: [claim]
"#;

fn papers() -> Papers {
    let papers = Papers::new();
    for name in ["ops", "reader", "till"] {
        papers.issue(&papers.authority, name, name);
    }
    papers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_need_no_certificate_and_all_else_a_rule() {
    let papers = papers();
    let rules = papers.path("rules.yaml");
    fs::write(&rules, RULES).expect("written");
    let rules = rules.display().to_string();
    let mut cell = Cell::start(papers, &["--rules", &rules]).await;
    let till = cell.certified("till").await;
    assert_eq!(cell.claim(&till, "c1", "a").await.0, 201);

    let nobody = client(Some(&cell.papers.credentials(None)));
    let reader = client(Some(&cell.papers.credentials(Some("reader"))));
    let ops = client(Some(&cell.papers.credentials(Some("ops"))));
    for (who, client, expected) in [
        ("nobody", &nobody, [200, 200, 200, 403, 403, 403, 403]),
        ("reader", &reader, [200, 200, 200, 403, 200, 403, 403]),
        ("ops", &ops, [200, 200, 200, 200, 200, 200, 200]),
    ] {
        let paths = [
            "/livez",
            "/readyz",
            "/metrics",
            "/v1/cluster",
            "/v1/locks/a?consistency=cached",
            "/v1/locks/b?consistency=cached",
            "/ui",
        ];
        for (path, status) in paths.into_iter().zip(expected) {
            let answer = send(client, Method::GET, &cell.operator(1, path), None).await;
            assert_eq!(answer.0, status, "{who} {path}");
        }
    }
    let ask = json!({ "reason": "test", "force": true });
    for (client, allowed) in [(&nobody, false), (&reader, false), (&ops, true)] {
        let (mut broke, mut forbidden) = (0, 0);
        for node in 1..=3 {
            let url = cell.operator(node, "/v1/locks/a/break");
            match send(client, Method::POST, &url, Some(ask.clone())).await.0 {
                200 => broke += 1,
                403 => forbidden += 1,
                // Another node leads.
                307 | 308 | 503 => {}
                other => panic!("{other}"),
            }
        }
        assert_eq!(broke > 0, allowed);
        assert_eq!(forbidden == 3, !allowed);
    }
    let (_, metrics) = (
        0,
        nobody
            .get(cell.operator(1, "/metrics"))
            .send()
            .await
            .expect("metrics")
            .text()
            .await
            .expect("text"),
    );
    let left = metrics
        .lines()
        .find_map(|line| line.strip_prefix("sidelock_certificate_valid_seconds "))
        .and_then(|left| left.parse::<f64>().ok());
    assert!(
        left.is_some_and(|left| (80_000.0..=86_400.0).contains(&left)),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rules_a_certificate_changes_nothing() {
    let cell = Cell::start(papers(), &[]).await;
    let ops = client(Some(&cell.papers.credentials(Some("ops"))));
    let url = cell.operator(1, "/v1/cluster/transfer");
    let (status, problem) = send(&ops, Method::POST, &url, Some(json!({}))).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
    let (status, _) = send(&ops, Method::GET, &cell.operator(1, "/v1/cluster"), None).await;
    assert_eq!(status, 200);
    // As the command line does it.
    let output = Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["cluster", "status", "--core-url"])
        .arg(cell.operator(1, ""))
        .args(cell.papers.flags("ops"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("leads in term"),
        "{output:?}"
    );
}
