//! A sidecar cut off from some of the core, or paused: real processes, each on a host of its own.
//! Slow, and in need of root and `ip`: run with `--ignored`.

use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

use crate::net::{Cores, Net, address};
use crate::pod::Pod;

/// The first pod's host; the second's is the next.
const POD: u8 = 4;
const OTHER: u8 = 5;

/// A cell of three nodes on hosts of their own, and two pods.
struct Stage {
    pod: Pod,
    other: Pod,
    cores: Cores,
    net: Net,
}

async fn stage() -> Stage {
    let net = Net::new(5);
    let cores = Cores::start(&net);
    let start = async |host| {
        let arguments = ["--session-ttl", "6s"];
        Pod::start_with(net.on(host), &Cores::addresses(), &arguments).await
    };
    let (pod, other) = (start(POD).await, start(OTHER).await);
    Stage {
        pod,
        other,
        cores,
        net,
    }
}

impl Stage {
    /// The node that leads.
    async fn leader(&self) -> u8 {
        let leader = self.other.until("a leader", async || {
            let status = self.other.get("/v1/status").await.body;
            let cores = status["cores"].as_array()?.clone();
            let leads = cores.iter().find(|core| core["leader"] == true)?;
            (1..=3).find(|node| leads["address"] == format!("{}:5626", address(*node)))
        });
        leader.await
    }

    async fn until_mode(&self, mode: &str) -> serde_json::Value {
        let reached = self.pod.until(mode, async || {
            let body = self.pod.get("/v1/mode").await.body;
            (body["mode"] == mode).then_some(body)
        });
        reached.await
    }
}

#[tokio::test]
#[ignore = "slow: needs root and ip netns"]
async fn cut_from_a_minority_it_notices_nothing() {
    let stage = stage().await;
    let leader = stage.leader().await;
    let follower = (1..=3)
        .find(|node| *node != leader)
        .expect("there are three");
    stage.pod.take("before", "a").await;
    stage.net.cut(POD, follower);
    // Longer than the bound on doubt, with work all the while.
    for round in 0..40 {
        let id = format!("round-{round}");
        stage.pod.take(&id, "b").await;
        stage.pod.release(&id).await;
        let renewed = stage
            .pod
            .ask(Method::POST, "/v1/claims/before/renew", None)
            .await;
        assert_eq!((renewed.status, renewed.mode.as_str()), (200, "normal"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "slow: needs root and ip netns"]
async fn cut_from_all_it_says_so_and_heals() {
    let stage = stage().await;
    let held = stage.pod.take("held", "a").await;
    stage.pod.take("let-go", "b").await;
    stage.other.take("elsewhere", "seen").await;
    let seen = stage.pod.until("a current answer", async || {
        let body = stage.pod.get("/v1/locks/seen").await.body;
        (body["consistency"] == "linearizable").then_some(())
    });
    seen.await;
    let mut events = stage.pod.events("/v1/claims/held/events").await;
    for node in 1..=3 {
        stage.net.cut(POD, node);
    }
    let told = events.until("mode").await;
    assert_eq!(
        (&told["mode"], &told["reason"]),
        (&json!("read-only"), &json!("core-unreachable"))
    );
    let refused = stage.pod.put("new", json!({ "lock": "c" })).await;
    assert_eq!((refused.status, refused.mode.as_str()), (503, "read-only"));
    assert_eq!(refused.body["code"], "core-unreachable");
    assert!(refused.body["retry_after_ms"].as_u64() > Some(0));
    let deleted = stage
        .pod
        .ask(Method::DELETE, "/v1/claims/let-go", None)
        .await;
    assert_eq!(deleted.status, 202, "{deleted:?}");
    let renewed = stage
        .pod
        .ask(Method::POST, "/v1/claims/held/renew", None)
        .await;
    assert!(
        matches!(
            (
                renewed.status,
                renewed.body["state"].as_str(),
                renewed.body["code"].as_str()
            ),
            (200, Some("granted"), None) | (503, None, Some("jeopardy"))
        ),
        "{renewed:?}"
    );
    let verify = json!({ "token": held["token"] });
    let path = "/v1/locks/a/verify";
    let verified = stage.pod.ask(Method::POST, path, Some(verify)).await;
    match verified.status {
        200 => assert_eq!(
            (&verified.body["current"], &verified.body["held"]),
            (&json!(true), &json!(true))
        ),
        status => assert_eq!(
            (status, verified.mode.as_str()),
            (503, "read-only"),
            "{verified:?}"
        ),
    }
    let foreign = stage
        .pod
        .ask(Method::POST, path, Some(json!({ "token": 999 })))
        .await;
    assert_eq!(foreign.status, 503, "{foreign:?}");
    // What it has seen, it can still show, and says how old that is; so with what it holds.
    for lock in ["seen", "a"] {
        let read = stage.pod.get(&format!("/v1/locks/{lock}")).await;
        let known = (read.status, &read.body["state"], &read.body["consistency"]);
        assert_eq!(known, (200, &json!("held"), &json!("cached")), "{read:?}");
        assert!(read.age.is_some() && read.mode == "read-only", "{read:?}");
    }
    let listed = stage.pod.get("/v1/locks?prefix=se").await.body;
    assert_eq!(listed["items"][0]["name"], "seen", "{listed}");
    let unseen = stage.pod.get("/v1/locks/unseen").await;
    assert_eq!(
        (unseen.status, &unseen.body["code"]),
        (503, &json!("core-unreachable"))
    );
    let linearizable = stage.pod.get("/v1/locks/a?consistency=linearizable").await;
    assert_eq!(linearizable.status, 503);
    for node in 1..=3 {
        stage.net.mend(POD, node);
    }
    while events.until("mode").await["mode"] != "normal" {}
    // It was cut for less than its session lives: the claim held all the time.
    let claim = stage.pod.get("/v1/claims/held").await.body;
    assert_eq!(
        (&claim["state"], &claim["token"]),
        (&json!("granted"), &held["token"])
    );
    stage.other.take("next", "b").await;
}

#[tokio::test]
#[ignore = "slow: needs root and ip netns"]
async fn cut_from_only_the_leader_it_reads_from_others_and_loses_what_it_must() {
    let stage = stage().await;
    stage.pod.take("held", "a").await;
    stage.pod.release("held").await;
    let held = stage.pod.take("again", "a").await;
    stage.other.take("elsewhere", "b").await;
    let mut events = stage.pod.events("/v1/claims/again/events").await;
    let leader = stage.leader().await;
    stage.net.cut(POD, leader);
    stage.until_mode("read-only").await;
    // Other replicas still answer, and it says what that is worth.
    let read = stage.pod.get("/v1/locks/b").await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(read.body["consistency"], "cached", "{read:?}");
    assert_eq!(read.body["state"], "held", "{read:?}");
    assert_eq!(read.mode, "read-only");
    assert!(read.age.is_some(), "a cached read tells its age");
    // Its session ends in the core, and not before it says so itself.
    events.until("jeopardy").await;
    let next = stage.other.take("next", "a").await;
    assert!(next["token"].as_u64() > held["token"].as_u64());
    let claim = stage.pod.get("/v1/claims/again").await.body;
    assert_eq!(claim["state"], "jeopardy", "{claim}");
    stage.net.mend(POD, leader);
    let lost = events.until("lost").await;
    assert_eq!(lost["reason"], "session-lost", "{lost}");
    stage.until_mode("normal").await;
}

#[tokio::test]
#[ignore = "slow: needs root and ip netns"]
async fn a_leader_change_flaps_nobody() {
    let stage = stage().await;
    stage.pod.take("held", "a").await;
    let leader = stage.leader().await;
    stage.cores.signal(leader, Signal::STOP);
    // Held for the election, and then granted: never refused.
    for round in 0..30 {
        let id = format!("round-{round}");
        stage.pod.take(&id, "b").await;
        stage.pod.release(&id).await;
        let claim = stage.pod.get("/v1/claims/held").await;
        assert_eq!(
            (claim.body["state"].as_str(), claim.mode.as_str()),
            (Some("granted"), "normal")
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.cores.signal(leader, Signal::CONT);
}

#[tokio::test]
#[ignore = "slow: needs root and ip netns"]
async fn without_a_quorum_reads_go_on_and_nothing_is_granted() {
    let stage = stage().await;
    stage.pod.take("held", "a").await;
    // A lock that it keeps grants nothing either.
    for id in ["one", "two", "three"] {
        stage.pod.take(id, "kept").await;
        stage.pod.release(id).await;
    }
    let leader = stage.leader().await;
    for node in (1..=3).filter(|node| *node != leader) {
        stage.cores.signal(node, Signal::STOP);
    }
    let mode = stage.until_mode("read-only").await;
    assert_eq!(mode["reason"], "no-quorum", "{mode}");
    for lock in ["kept", "free"] {
        let refused = stage
            .pod
            .put(&format!("new-{lock}"), json!({ "lock": lock }))
            .await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (503, &json!("no-quorum"))
        );
    }
    let read = stage.other.get("/v1/locks/a").await;
    assert_eq!(
        (read.status, &read.body["consistency"]),
        (200, &json!("cached")),
        "{read:?}"
    );
    for node in (1..=3).filter(|node| *node != leader) {
        stage.cores.signal(node, Signal::CONT);
    }
    stage.until_mode("normal").await;
    stage.pod.take("new-kept", "kept").await;
}

#[tokio::test]
#[ignore = "slow: needs root and ip netns"]
async fn a_sidecar_paused_beyond_its_deadline_never_says_granted_again() {
    let stage = stage().await;
    for id in ["one", "two"] {
        stage.pod.take(id, "kept").await;
        stage.pod.release(id).await;
    }
    stage.pod.take("plain", "a").await;
    stage.pod.take("local", "kept").await;
    stage.pod.signal(Signal::STOP);
    stage.other.take("next-a", "a").await;
    stage.other.take("next-kept", "kept").await;
    stage.pod.signal(Signal::CONT);
    // From its very first answer on.
    for round in 0..100 {
        for id in ["plain", "local"] {
            let claim = stage.pod.get(&format!("/v1/claims/{id}")).await.body;
            let state = claim["state"].as_str().unwrap_or("");
            assert!(["jeopardy", "lost"].contains(&state), "{round}: {claim}");
        }
        let verify = json!({ "token": 1 });
        let verified = stage
            .pod
            .ask(Method::POST, "/v1/locks/a/verify", Some(verify))
            .await;
        assert_ne!(verified.body["held"], true, "{verified:?}");
        let renewed = stage
            .pod
            .ask(Method::POST, "/v1/claims/local/renew", None)
            .await;
        assert!([410, 503].contains(&renewed.status), "{renewed:?}");
    }
    let lost = stage.pod.until("its claim's end", async || {
        let claim = stage.pod.get("/v1/claims/local").await.body;
        (claim["state"] == "lost").then_some(claim)
    });
    lost.await;
}
