//! Messages for another cell, shard or node are refused, and so are operators' slips.

use serde_json::json;
use sidelock::wire::v1;
use sidelock::wire::v1::formation_client::FormationClient;
use sidelock::wire::v1::raft_client::RaftClient;
use tonic::Code;

use crate::cell::Cell;

#[tokio::test]
async fn a_wrong_route_is_refused() {
    let cell = Cell::of_three().await;
    let cluster = cell.cluster(1).await.expect("it answers");
    let cluster_id = cluster["cluster_id"]
        .as_str()
        .expect("it has an id")
        .to_owned();
    let right = v1::Route {
        cluster_id,
        shard: 0,
        from: 2 << 16 | 1,
        to: 1 << 16 | 1,
    };
    let wrong = [
        v1::Route {
            cluster_id: "another".into(),
            ..right.clone()
        },
        v1::Route {
            shard: 7,
            ..right.clone()
        },
        v1::Route {
            to: 3 << 16 | 1,
            ..right.clone()
        },
        v1::Route {
            to: 1 << 16 | 2,
            ..right.clone()
        },
        v1::Route {
            from: 0,
            ..right.clone()
        },
        v1::Route {
            from: 1 << 16 | 1,
            ..right.clone()
        },
    ];
    let mut client = RaftClient::connect(format!("http://{}", cell.grpc(1)))
        .await
        .expect("it listens");
    let old_vote = v1::Vote {
        term: 0,
        node: 2 << 16 | 1,
        committed: false,
    };
    for route in wrong {
        let expected = match route.shard {
            0 => Code::FailedPrecondition,
            _ => Code::Unavailable,
        };
        let vote = v1::VoteRequest {
            route: Some(route.clone()),
            vote: Some(old_vote),
            ..v1::VoteRequest::default()
        };
        let append = v1::AppendRequest {
            route: Some(route.clone()),
            vote: Some(old_vote),
            ..v1::AppendRequest::default()
        };
        let refused = client.vote(vote.clone()).await.expect_err("a vote");
        assert_eq!(refused.code(), expected, "{route:?}");
        let refused = client.pre_vote(vote).await.expect_err("a pre-vote");
        assert_eq!(refused.code(), expected, "{route:?}");
        let refused = client
            .heartbeat(append.clone())
            .await
            .expect_err("a heartbeat");
        assert_eq!(refused.code(), expected, "{route:?}");
        let answers = client
            .append(tokio_stream::once(append))
            .await
            .expect("a stream opens");
        let refused = answers.into_inner().message().await.expect_err("an append");
        assert_eq!(refused.code(), expected, "{route:?}");
        let chunk = v1::SnapshotChunk {
            route: Some(route.clone()),
            ..v1::SnapshotChunk::default()
        };
        let sent = client.install_snapshot(tokio_stream::once(chunk)).await;
        assert_eq!(sent.expect_err("a snapshot").code(), expected, "{route:?}");
        let transfer = v1::TransferRequest {
            route: Some(route.clone()),
            from_leader: Some(old_vote),
            ..v1::TransferRequest::default()
        };
        let refused = client
            .transfer_leader(transfer)
            .await
            .expect_err("a transfer");
        assert_eq!(refused.code(), expected, "{route:?}");
    }
    // The control: the right route is heard, and the old vote is not granted.
    let vote = v1::VoteRequest {
        route: Some(right),
        vote: Some(old_vote),
        ..v1::VoteRequest::default()
    };
    let reply = client.vote(vote).await.expect("it is meant").into_inner();
    assert!(!reply.granted);
}

#[tokio::test]
async fn a_message_without_a_route_is_refused() {
    let cell = Cell::of_three().await;
    let mut client = RaftClient::connect(format!("http://{}", cell.grpc(2)))
        .await
        .expect("it listens");
    let refused = client
        .vote(v1::VoteRequest::default())
        .await
        .expect_err("no route");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_disk_of_a_cell_cannot_be_given_to_another() {
    let cell = Cell::of_three().await;
    let mut client = FormationClient::connect(format!("http://{}", cell.grpc(1)))
        .await
        .expect("it listens");
    let who = client
        .identify(v1::IdentifyRequest {})
        .await
        .expect("it answers")
        .into_inner();
    let member = v1::Member {
        place: who.place,
        incarnation: 2,
        disk: who.disk,
        ..v1::Member::default()
    };
    for cluster_id in ["another".to_owned(), who.cluster_id] {
        let admit = v1::AdmitRequest {
            cluster_id,
            member: Some(member.clone()),
        };
        let refused = client.admit(admit).await.expect_err("it has an identity");
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
}

#[tokio::test]
async fn operators_slips_are_problems() {
    let cell = Cell::of_three().await;
    let cases = [
        (
            "/v1/cluster/promote",
            json!({ "node": 9 }),
            404,
            "not-found",
        ),
        ("/v1/cluster/promote", json!({}), 400, "invalid-request"),
        (
            "/v1/cluster/promote",
            json!({ "node": 1, "more": 1 }),
            400,
            "invalid-request",
        ),
        (
            "/v1/cluster/explode",
            json!({ "node": 1 }),
            404,
            "not-found",
        ),
        ("/v1/nothing", json!({}), 404, "not-found"),
        ("/v1/locks/a/break", json!({}), 400, "invalid-request"),
        (
            "/v1/locks/a/break",
            json!({ "reason": "" }),
            400,
            "invalid-request",
        ),
        (
            "/v1/locks/a/break",
            json!({ "reason": "long".repeat(20_000) }),
            413,
            "too-large",
        ),
        ("/livez", json!({}), 405, "method-not-allowed"),
    ];
    for (path, body, status, code) in cases {
        let (got, problem) = cell.post(1, path, &body).await;
        assert_eq!(
            (got, &problem["code"]),
            (status, &json!(code)),
            "{path} {body}: {problem}"
        );
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["type"],
            format!("https://sidelock.dev/problems/{code}")
        );
    }
}

/// A follower names the leader, and a client that follows gets there.
#[tokio::test]
async fn a_change_at_a_follower_reaches_the_leader() {
    let cell = Cell::of_three().await;
    let leader = cell.leader().await;
    let follower = leader % 3 + 1;
    cell.change(follower, "transfer", follower).await;
    assert_eq!(cell.leader_other_than(leader).await, follower);
}

/// What is seen at a follower says that it may be old; where that will not do, it names the leader.
#[tokio::test]
async fn a_follower_shows_what_it_has_applied_or_names_the_leader() {
    let cell = Cell::of_three().await;
    let leader = cell.leader().await;
    let follower = leader % 3 + 1;
    for path in [
        "/v1/locks/a",
        "/v1/locks/a/why",
        "/v1/lock-order",
        "/v1/waits",
        "/v1/sessions",
        "/v1/deadlocks",
    ] {
        for (at, query, consistency) in [
            (leader, "", "linearizable"),
            (leader, "?consistency=cached", "cached"),
            (follower, "", "cached"),
            (follower, "?consistency=linearizable", "linearizable"), // by redirect, query and all
        ] {
            let url = format!("{path}{query}");
            let what = format!("{consistency} {url}");
            let body = cell.until(&what, async || {
                // A leader that cannot confirm itself in time says what it has applied, until it can again.
                let (status, body) = cell.get(at, &url).await?;
                (status == 200 && body["consistency"] == consistency).then_some(body)
            });
            assert_eq!(body.await["sidelock_mode"], "normal");
        }
    }
    let (status, page) = cell
        .get(follower, "/v1/locks?limit=0&consistency=linearizable")
        .await
        .expect("it answers");
    assert_eq!((status, &page["code"]), (400, &json!("invalid-request")));
}
