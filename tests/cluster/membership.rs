//! Nodes come, go, vote, lead, and lose their disks.

use serde_json::json;

use crate::cell::{Cell, Seen};

fn voter(node: u64, incarnation: u64) -> Seen {
    Seen {
        node,
        incarnation,
        voter: true,
    }
}

#[tokio::test]
async fn a_new_node_is_added_promoted_led_by_and_removed() {
    let mut cell = Cell::new(4);
    cell.start_founders(3);
    let leader = cell.leader().await;
    let (status, problem) = cell
        .post(leader, "/v1/cluster/add", &json!({ "node": 4 }))
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (404, &json!("not-found")),
        "it has not asked yet"
    );

    let join = cell.grpc(1);
    cell.start(4, &["--join", &join]);
    cell.until("the applicant", async || {
        let cluster = cell.cluster(leader).await?;
        (cluster["applicants"][0]["node"] == 4).then_some(())
    })
    .await;
    cell.change(leader, "add", 4).await;
    assert!(cell.members(leader).await.contains(&Seen {
        node: 4,
        incarnation: 1,
        voter: false
    }));
    cell.change(leader, "add", 4).await;

    cell.change(leader, "promote", 4).await;
    assert!(cell.members(leader).await.contains(&voter(4, 1)));
    cell.change(leader, "transfer", 4).await;
    assert_eq!(cell.leader_other_than(leader).await, 4);

    // The leader removes itself: it hands over, and whoever leads then removes it.
    cell.change(4, "remove", 4).await;
    let next = cell.leader_other_than(4).await;
    cell.until("three members", async || {
        let members = cell.members(next).await;
        (members == [voter(1, 1), voter(2, 1), voter(3, 1)]).then_some(())
    })
    .await;
    assert!(cell.commits(next).await);

    // Another disk at that place is another node to Raft: no id is ever given to two disks.
    cell.kill(4);
    cell.wipe(4);
    cell.start(4, &["--join", &join]);
    cell.until("the new applicant", async || {
        let cluster = cell.cluster(next).await?;
        (cluster["applicants"][0]["node"] == 4).then_some(())
    })
    .await;
    cell.change(next, "add", 4).await;
    let again = Seen {
        node: 4,
        incarnation: 2,
        voter: false,
    };
    assert!(cell.members(next).await.contains(&again));
}

#[tokio::test]
async fn a_wiped_disk_neither_votes_nor_stores_until_it_is_replaced() {
    let mut cell = Cell::of_three().await;
    let leader = cell.leader().await;
    let wiped = if leader == 3 { 2 } else { 3 };
    cell.kill(wiped);
    cell.wipe(wiped);
    let peers: Vec<String> = (1..=3)
        .map(|place| format!("{place}={}", cell.grpc(place)))
        .collect();
    cell.start(wiped, &["--peers", &peers.join(",")]);
    cell.until("the applicant", async || {
        let cluster = cell.cluster(leader).await?;
        (cluster["applicants"][0]["node"] == wiped).then_some(())
    })
    .await;

    // It would make a majority with the other follower, if it voted for it.
    let other = 6 - leader - wiped;
    cell.kill(leader);
    cell.until("the lone node to miss its leader", async || {
        let (status, _) = cell.get(other, "/readyz").await?;
        (status == 503).then_some(())
    })
    .await;
    let (status, _) = cell.get(wiped, "/readyz").await.expect("it answers");
    assert_eq!(status, 503);
    assert!(!cell.commits(other).await, "one of three is no quorum");
    assert!(cell.members(wiped).await.is_empty(), "it stores nothing");

    cell.start(leader, &[]);
    let now = cell.leader().await;
    cell.until("the applicant again", async || {
        let cluster = cell.cluster(now).await?;
        (cluster["applicants"][0]["node"] == wiped).then_some(())
    })
    .await;
    cell.change(now, "replace", wiped).await;
    let members = cell.members(now).await;
    assert_eq!(members.len(), 3, "{members:?}");
    assert!(members.contains(&voter(wiped.into(), 2)), "{members:?}");
    cell.until("readiness", async || {
        cell.get(wiped, "/readyz")
            .await
            .filter(|(status, _)| *status == 200)
    })
    .await;

    // Now it votes: with it, the cell survives the loss of another node.
    cell.kill(other);
    let leader = cell.leader().await;
    cell.until("a commit", async || {
        cell.commits(leader).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_that_would_lose_the_quorum_is_refused() {
    let mut cell = Cell::of_three().await;
    let leader = cell.leader().await;
    let (dead, alive) = match leader {
        1 => (2, 3),
        2 => (1, 3),
        _ => (1, 2),
    };
    cell.kill(dead);
    let refused = cell
        .until("the refusal", async || {
            let answer = cell
                .post(leader, "/v1/cluster/transfer", &json!({ "node": dead }))
                .await;
            (answer.0 == 409).then_some(answer.1)
        })
        .await;
    assert_eq!(refused["code"], "membership-conflict");
    let (status, problem) = cell
        .post(leader, "/v1/cluster/remove", &json!({ "node": alive }))
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("membership-conflict")),
        "{problem}"
    );
    cell.change(leader, "remove", dead).await;
    assert_eq!(cell.members(leader).await.len(), 2);
}
