//! Operators' HTTP with certificates.

use std::fs;
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use crate::cell::{Cell, Papers, ask};

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

    let nobody = cell.papers.credentials(None);
    let reader = cell.papers.credentials(Some("reader"));
    let ops = cell.papers.credentials(Some("ops"));
    for (who, credentials, expected) in [
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
            let url = cell.operator(1, path);
            let answer = ask(credentials, Method::GET, &url, None)
                .await
                .expect("an answer");
            assert_eq!(answer.0, status, "{who} {path}");
            // Its length would tell as much.
            let head = ask(credentials, Method::HEAD, &url, None).await;
            assert_eq!(head.expect("an answer").0, status, "{who} HEAD {path}");
        }
    }
    let body = json!({ "reason": "test", "force": true });
    for (credentials, allowed) in [(&nobody, false), (&reader, false), (&ops, true)] {
        let (mut broke, mut forbidden) = (0, 0);
        for node in 1..=3 {
            let url = cell.operator(node, "/v1/locks/a/break");
            let answer = ask(credentials, Method::POST, &url, Some(body.clone())).await;
            match answer.expect("an answer").0 {
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
    let url = cell.operator(1, "/metrics");
    let answer = ask(&nobody, Method::GET, &url, None).await;
    let (_, metrics) = answer.expect("metrics");
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
    let ops = cell.papers.credentials(Some("ops"));
    let url = cell.operator(1, "/v1/cluster/transfer");
    let answer = ask(&ops, Method::POST, &url, Some(json!({}))).await;
    let (status, problem) = answer.expect("an answer");
    assert!(
        status == 403 && problem.contains("\"forbidden\""),
        "{problem}"
    );
    let url = cell.operator(1, "/v1/cluster");
    let answer = ask(&ops, Method::GET, &url, None).await;
    let (status, _) = answer.expect("an answer");
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
