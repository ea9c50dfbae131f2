//! A node that comes too late for the log gets a snapshot.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sidelock::core::access::Access;
use sidelock::core::group::{Retention, Timings};
use sidelock::core::node::{Config, Node};
use sidelock::world::clock::BootClock;

/// So few that a test can write more.
const RETENTION: Retention = Retention {
    snapshot_every: 40,
    keep: 5,
};

async fn start(place: u16, dir: &Path, join: Option<SocketAddr>) -> Node {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        node_id: place,
        data_dir: dir.join(format!("data-{place}")),
        grpc: any,
        http: any,
        peers: Vec::new(),
        join: join.map(|address| address.to_string()),
        advertise: None,
        alone: join.is_none(),
        breaks_allowed: false,
        access: Access::default(),
        plaintext: false,
        timings: Timings::default(),
        retention: RETENTION,
    };
    let started = Node::start(config, Arc::new(BootClock)).await;
    started.expect("the node starts")
}

async fn cluster(node: &Node) -> Value {
    let url = format!("http://{}/v1/cluster", node.http_addr());
    let answer = reqwest::get(url).await.expect("it answers");
    answer.json().await.expect("it is JSON")
}

async fn post(node: &Node, path: &str, body: Value) -> bool {
    let url = format!("http://{}{path}", node.http_addr());
    let sent = reqwest::Client::new().post(url).json(&body).send();
    sent.await.expect("it answers").status().is_success()
}

/// Looks until it is so. Between two looks at a node there is no event to await.
async fn until(what: &str, look: impl AsyncFn() -> bool) {
    let wait = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    waited.unwrap_or_else(|_| panic!("{what} did not come"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_node_is_sent_a_snapshot() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let one = start(1, dir.path(), None).await;
    until("a leader", async || {
        post(&one, "/v1/locks/a/break", json!({ "reason": "first" })).await
    })
    .await;
    for _ in 0..120 {
        assert!(post(&one, "/v1/locks/a/break", json!({ "reason": "more" })).await);
    }
    until("a snapshot", async || {
        metric(&one, "sidelock_raft_snapshot_index").await > 40
    })
    .await;
    until("a purge", async || {
        metric(&one, "sidelock_raft_purged_index").await > 10
    })
    .await;

    let two = start(2, dir.path(), Some(one.grpc_addr())).await;
    until("the applicant", async || {
        cluster(&one).await["applicants"][0]["node"] == 2
    })
    .await;
    assert!(post(&one, "/v1/cluster/add", json!({ "node": 2 })).await);
    assert!(post(&one, "/v1/cluster/promote", json!({ "node": 2 })).await);
    until("the late node to catch up", async || {
        let seen = cluster(&two).await;
        seen["members"][1]["lag"] == 0 && seen["applied"].as_u64() > Some(120)
    })
    .await;
    assert!(
        metric(&two, "sidelock_raft_snapshot_index").await > 40,
        "it came by a snapshot, since the log was purged"
    );
    two.shutdown().await;
    one.shutdown().await;
}

async fn metric(node: &Node, name: &str) -> u64 {
    let url = format!("http://{}/metrics", node.http_addr());
    let text = reqwest::get(url).await.expect("it answers").text().await;
    let text = text.expect("it is text");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let mut values = lines
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    values
        .next()
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
