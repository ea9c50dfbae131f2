//! The cell changes under a sidecar that was told of one node only.

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cell::Cell;
use crate::pod::Pod;

/// The addresses of the nodes to which it has a stream, in order.
async fn reached(pod: &Pod) -> Vec<String> {
    let status = pod.get("/v1/status").await.body;
    let cores = status["cores"].as_array().cloned().unwrap_or_default();
    let mut reached: Vec<_> = cores
        .iter()
        .filter(|core| core["connected"] == true)
        .filter_map(|core| core["address"].as_str().map(str::to_owned))
        .collect();
    reached.sort();
    reached
}

async fn until_reached(pod: &Pod, nodes: &[String]) {
    let mut nodes = nodes.to_vec();
    nodes.sort();
    pod.until(&format!("streams to {nodes:?}"), async || {
        (reached(pod).await == nodes).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_that_was_told_of_one_node_follows_the_cell_to_all_others() {
    let mut cell = Cell::new(4);
    cell.start_founders(3);
    let leader = cell.leader().await;
    // Whoever it is told of, another one may lead.
    let seed = leader % 3 + 1;
    let pod = Pod::start(&cell.grpc(seed), &[]).await;
    let nodes: Vec<_> = (1..=4).map(|place| cell.grpc(place)).collect();
    until_reached(&pod, &nodes[..3]).await;
    let held = pod.take("held", "a").await;

    // A new node leads, and the one that the sidecar was told of is gone for good.
    cell.start(4, &["--join", &cell.grpc(leader)]);
    cell.until("the applicant", async || {
        let cluster = cell.cluster(leader).await?;
        (cluster["applicants"][0]["node"] == 4).then_some(())
    })
    .await;
    cell.change(leader, "add", 4).await;
    cell.change(leader, "promote", 4).await;
    until_reached(&pod, &nodes).await;
    cell.change(leader, "transfer", 4).await;
    assert_eq!(cell.leader_other_than(leader).await, 4);
    cell.change(4, "remove", seed).await;
    cell.kill(seed);

    let token = pod.take("next", "b").await["token"].as_u64();
    assert!(token.is_some());
    let renewed = pod
        .ask(
            reqwest::Method::POST,
            "/v1/claims/held/renew",
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (renewed.status, &renewed.body["token"]),
        (200, &held["token"])
    );

    // Left without its first address, it finds the next leader too.
    cell.kill(4);
    cell.leader_other_than(4).await;
    pod.take("last", "c").await;
    pod.release("held").await;
}

/// One address for all nodes, as a Kubernetes Service is: connections go to the node of now, and end when that is
/// another one.
async fn service(node: watch::Receiver<String>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            connections.spawn(forward(near, node.clone()));
        }
    });
    (address.to_string(), tasks)
}

async fn forward(mut near: TcpStream, mut node: watch::Receiver<String>) {
    let target = node.borrow_and_update().clone();
    if let Ok(mut far) = TcpStream::connect(target).await {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = node.changed() => {}
        }
    }
}

#[tokio::test]
async fn behind_one_address_for_all_nodes_it_reaches_each() {
    let cell = Cell::of_three().await;
    let [one, two, three] = [1, 2, 3].map(|place| cell.grpc(place));
    let node = watch::Sender::new(one.clone());
    let (address, _tasks) = service(node.subscribe()).await;
    let pod = Pod::start(&address, &[]).await;
    until_reached(&pod, &[address.clone(), two.clone(), three.clone()]).await;
    node.send_replace(two.clone());
    // Whoever answered there is called by its own name now.
    until_reached(&pod, &[address, one, two, three]).await;
    pod.take("held", "a").await;
}
