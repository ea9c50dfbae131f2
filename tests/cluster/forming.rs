//! A cell forms by itself, survives its leader, and takes nodes back.

use std::time::Duration;

use sidelock::world::clock::{BootClock, Clock};

use crate::cell::Cell;

#[tokio::test]
async fn three_new_cores_form_one_cell() {
    let cell = Cell::of_three().await;
    let mut ids = Vec::new();
    for place in 1..=3 {
        cell.until("readiness", async || {
            cell.get(place, "/readyz")
                .await
                .filter(|(status, _)| *status == 200)
        })
        .await;
        let cluster = cell.cluster(place).await.expect("it answers");
        assert_eq!(cluster["members"].as_array().map(Vec::len), Some(3));
        ids.push(
            cluster["cluster_id"]
                .as_str()
                .expect("it has an id")
                .to_owned(),
        );
    }
    assert_eq!(ids[0].len(), 32);
    assert!(ids.iter().all(|id| *id == ids[0]), "one cell, not {ids:?}");
}

#[tokio::test]
async fn two_of_three_new_cores_wait_for_the_third() {
    let mut cell = Cell::new(3);
    let peers: Vec<String> = (1..=3)
        .map(|place| format!("{place}={}", cell.grpc(place)))
        .collect();
    let peers = peers.join(",");
    cell.start(1, &["--peers", &peers]);
    cell.start(2, &["--peers", &peers]);
    for place in [1, 2] {
        let (status, problem) = cell
            .until("an answer", async || cell.get(place, "/readyz").await)
            .await;
        assert_eq!((status, &problem["code"]), (503, &"not-ready".into()));
        assert!(cell.members(place).await.is_empty());
    }
    cell.start(3, &["--peers", &peers]);
    cell.leader().await;
    assert_eq!(cell.members(1).await.len(), 3);
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_comes_back() {
    let mut cell = Cell::of_three().await;
    let first = cell.leader().await;
    assert!(cell.commits(first).await);
    cell.kill(first);
    let clock = BootClock;
    let killed = clock.now();
    let second = cell.leader_other_than(first).await;
    assert!(cell.commits(second).await);
    let took = clock.now().since(killed);
    assert!(
        took < Duration::from_secs(10),
        "a new leader after {took:?}"
    );

    cell.start(first, &[]);
    cell.until("the restarted node to catch up", async || {
        let cluster = cell.cluster(first).await?;
        let members = cluster["members"].as_array()?;
        let own = members.iter().find(|member| member["node"] == first)?;
        (own["lag"] == 0 && cluster["applied"].as_u64()? > 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stopping_leader_hands_over() {
    let mut cell = Cell::of_three().await;
    let first = cell.leader().await;
    assert!(cell.stop(first).await, "a stop is no failure");
    let second = cell.leader_other_than(first).await;
    assert!(cell.commits(second).await);
}

/// Median of 20 kills, as the issue asks; it prints what it measured.
#[tokio::test]
#[ignore = "slow"]
async fn slow_a_killed_leader_is_replaced_within_two_seconds() {
    let mut cell = Cell::of_three().await;
    let clock = BootClock;
    let mut took = Vec::new();
    for _ in 0..20 {
        let leader = cell.leader().await;
        cell.until("all nodes", async || {
            let cluster = cell.cluster(leader).await?;
            let members = cluster["members"].as_array()?.clone();
            members
                .iter()
                .all(|member| member["lag"] == 0)
                .then_some(())
        })
        .await;
        cell.kill(leader);
        let killed = clock.now();
        let next = cell.leader_other_than(leader).await;
        assert!(cell.commits(next).await);
        took.push(clock.now().since(killed));
        cell.start(leader, &[]);
    }
    took.sort();
    println!(
        "from kill -9 to the first commit: median {:?}, worst {:?}",
        took[10], took[19]
    );
    assert!(took[10] <= Duration::from_secs(2), "{took:?}");
}
