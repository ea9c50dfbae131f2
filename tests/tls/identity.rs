//! Who gets in, and whose session is whose.

use std::time::Duration;

use serde_json::json;
use sidelock::tls::connect::Connector;
use sidelock::tls::credentials::Credentials;
use sidelock::wire::v1;
use sidelock::wire::v1::cell_client::CellClient;
use sidelock::wire::v1::formation_client::FormationClient;
use sidelock::wire::v1::raft_client::RaftClient;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::cell::{Cell, Papers};

const SHOP: &str = "spiffe://example.org/ns/shop/sa/till";
const OTHER: &str = "spiffe://example.org/ns/other/sa/thief";

async fn channel(to: &str, credentials: Option<Credentials>) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{to}")).expect("an address");
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5));
    let connector = Connector::new(credentials);
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| format!("{error:?}"))
}

/// Opens the session of this key at the node that serves; its id and its stream, or why not.
async fn open(
    cell: &Cell,
    credentials: &Credentials,
    key: u8,
) -> Result<(u64, Streaming<v1::CoreFrame>), Status> {
    for node in (1..=3).cycle().take(60) {
        let channel = channel(&cell.grpc(node), Some(credentials.clone())).await;
        let mut client = CellClient::new(channel.expect("a connection"));
        let frame = v1::SidecarFrame {
            open: Some(v1::OpenSession {
                key: vec![key; 16],
                ttl_ms: 10_000,
                identity: "pod".to_owned(),
                generation: 1,
                // What it says of itself counts for nothing.
                principal: SHOP.to_owned(),
            }),
            ..v1::SidecarFrame::default()
        };
        let frames = tokio_stream::once(frame).chain(tokio_stream::pending());
        let mut answers = client.session(frames).await?.into_inner();
        let mut leads = true;
        while leads {
            let answer = answers.message().await?.expect("the stream stands");
            if let Some(attached) = answer.attached {
                return Ok((attached.session, answers));
            }
            leads = answer.leader.is_none_or(|leader| leader.serving);
        }
        // An election may be under way.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no node serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_taken_over_mutual_tls_and_by_nobody_else() {
    let papers = Papers::new();
    papers.issue(&papers.authority, "till", SHOP);
    let stranger = sidelock::tls::issue::Authority::new("strangers", 1).expect("an authority");
    papers.issue(&stranger, "stranger", SHOP);
    let mut cell = Cell::start(papers, &[]).await;
    let url = cell.certified("till").await;
    let (status, claim) = cell.claim(&url, "c1", "a").await;
    assert_eq!((status, &claim["state"]), (201, &json!("granted")));
    let (_, lock) = cell
        .ask(
            reqwest::Method::GET,
            &url,
            "/v1/locks/a?consistency=linearizable",
            None,
        )
        .await;
    let holder = lock["holders"][0].to_string();
    assert!(holder.contains(SHOP), "who holds is known: {lock}");
    assert_eq!(cell.release(&url, "c1").await, 204);

    // Without TLS, without a certificate, with that of another authority: no connection serves.
    let node = cell.grpc(1);
    let identify = async |credentials: Option<Credentials>| -> Result<(), String> {
        let channel = channel(&node, credentials).await?;
        let mut client = FormationClient::new(channel);
        let answer = client.identify(v1::IdentifyRequest {}).await;
        answer.map(drop).map_err(|status| format!("{status:?}"))
    };
    assert!(identify(None).await.is_err());
    assert!(identify(Some(cell.papers.credentials(None))).await.is_err());
    let strange = cell.papers.credentials(Some("stranger"));
    assert!(identify(Some(strange)).await.is_err());
    let ours = cell.papers.credentials(Some("core"));
    identify(Some(ours)).await.expect("a node may call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_is_no_node() {
    let papers = Papers::new();
    papers.issue(&papers.authority, "till", SHOP);
    let cell = Cell::start(papers, &[]).await;
    let till = cell.papers.credentials(Some("till"));
    let channel = channel(&cell.grpc(1), Some(till))
        .await
        .expect("a connection");
    let answer = FormationClient::new(channel.clone())
        .identify(v1::IdentifyRequest {})
        .await;
    assert_eq!(answer.expect_err("no node").code(), Code::PermissionDenied);
    let vote = RaftClient::new(channel)
        .vote(v1::VoteRequest::default())
        .await;
    assert_eq!(vote.expect_err("no node").code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_belongs_to_who_opened_it() {
    let papers = Papers::new();
    papers.issue(&papers.authority, "till", SHOP);
    papers.issue(&papers.authority, "thief", OTHER);
    let cell = Cell::start(papers, &[]).await;
    let till = cell.papers.credentials(Some("till"));
    let thief = cell.papers.credentials(Some("thief"));
    let (session, mut stream) = open(&cell, &till, 7).await.expect("a session");
    let refused = open(&cell, &thief, 7).await;
    assert_eq!(
        refused.expect_err("of somebody else").code(),
        Code::PermissionDenied
    );
    // Nor is the stream of whose it is ended by that.
    let told = tokio::time::timeout(Duration::from_secs(1), stream.message()).await;
    assert!(told.is_err(), "{told:?}");
    let again = open(&cell, &till, 7).await.expect("the same session");
    assert_eq!(again.0, session);
    let other = open(&cell, &thief, 8).await.expect("one of its own");
    assert_ne!(other.0, session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shakes_no_hand_keeps_nobody_out() {
    let papers = Papers::new();
    papers.issue(&papers.authority, "till", SHOP);
    let mut cell = Cell::start(papers, &[]).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(cell.grpc(1)).await.expect("a socket"));
    }
    let url = cell.certified("till").await;
    assert_eq!(cell.claim(&url, "c1", "a").await.0, 201);
    // They are given up in the end.
    for mut socket in silent {
        let mut byte = [0];
        let closed = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut byte));
        let closed = closed.await.expect("closed in time");
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    }
}
