//! Real core processes on this machine, each with ports of its own, killed when dropped.
//! In: which nodes to start and how. Out: their operators' HTTP. Never: a process left behind.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sidelock::world::clock::{BootClock, Clock};

#[path = "../support/ports.rs"]
mod ports;

use ports::free_port;

/// Longest that anything waited for may take; a loaded machine needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nodes of one cell, whether running or not.
pub struct Cell {
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
    /// What nodes are started by: the binary alone, or something that starts it.
    program: Vec<String>,
    client: reqwest::Client,
}

/// One node: its ports stay the same over restarts.
struct Node {
    place: u16,
    grpc: u16,
    http: u16,
    child: Option<Child>,
}

/// What `GET /v1/cluster` says of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub node: u64,
    pub incarnation: u64,
    pub voter: bool,
}

impl Cell {
    /// `places` nodes that have never run; those beyond `founders` are started with `--join`.
    pub fn new(places: u16) -> Self {
        let nodes = (1..=places).map(|place| Node {
            place,
            grpc: free_port(),
            http: free_port(),
            child: None,
        });
        Self {
            dir: tempfile::tempdir().expect("a temporary directory can be made"),
            nodes: nodes.collect(),
            program: vec![env!("CARGO_BIN_EXE_sidelock").into()],
            client: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(45))
                .build()
                .expect("a plain client can be made"),
        }
    }

    /// From now on nodes are started by these words, with the binary behind them.
    pub fn started_by(mut self, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned());
        self.program.splice(0..0, words);
        self
    }

    /// Three nodes that have formed a cell and have a leader.
    pub async fn of_three() -> Self {
        let mut cell = Self::new(3);
        cell.start_founders(3);
        cell.leader().await;
        cell
    }

    /// Starts the first `count` nodes as each other's peers.
    pub fn start_founders(&mut self, count: u16) {
        let peers: Vec<String> = self.nodes[..usize::from(count)]
            .iter()
            .map(|node| format!("{}=127.0.0.1:{}", node.place, node.grpc))
            .collect();
        let peers = peers.join(",");
        for place in 1..=count {
            self.start(place, &["--peers", &peers]);
        }
    }

    /// Starts a node with further arguments; with data, it needs none.
    pub fn start(&mut self, place: u16, more: &[&str]) {
        let data = self.data_dir(place);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("node-{place}.log")))
            .expect("the log can be written");
        let program = self.program.clone();
        let node = self.node(place);
        assert!(node.child.is_none(), "node {place} runs already");
        let child = Command::new(&program[0])
            .args(&program[1..])
            .args(["core", "--node-id", &place.to_string()])
            .args(["--grpc", &format!("127.0.0.1:{}", node.grpc)])
            .args(["--http", &format!("127.0.0.1:{}", node.http)])
            .arg("--data-dir")
            .arg(data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary that cargo built can be started");
        self.node(place).child = Some(child);
    }

    /// `kill -9`, and the end of the process.
    pub fn kill(&mut self, place: u16) {
        let mut child = self.node(place).child.take().expect("the node runs");
        child.kill().expect("the process is ours");
        child.wait().expect("the process is ours");
    }

    /// Sends a running node a signal.
    pub fn signal(&self, place: u16, signal: rustix::process::Signal) {
        let node = &self.nodes[usize::from(place) - 1];
        let child = node.child.as_ref().expect("the node runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).expect("the process is ours");
    }

    /// SIGTERM, and the end of the process; whether it said that all was well.
    pub async fn stop(&mut self, place: u16) -> bool {
        let mut child = self.node(place).child.take().expect("the node runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("the process is ours");
        let ended = tokio::task::spawn_blocking(move || child.wait());
        let ended = ended.await.expect("waiting does not panic");
        ended.expect("the process is ours").success()
    }

    /// Waits for a node to end by itself; whether it said that all was well.
    pub async fn ended(&mut self, place: u16) -> bool {
        let mut child = self.node(place).child.take().expect("the node runs");
        let ended = tokio::task::spawn_blocking(move || child.wait());
        let ended = ended.await.expect("waiting does not panic");
        ended.expect("the process is ours").success()
    }

    /// Whether a node has ended by itself.
    pub fn has_ended(&mut self, place: u16) -> bool {
        let node = self.node(place);
        let child = node.child.as_mut().expect("it was started");
        let ended = child.try_wait().expect("the process is ours").is_some();
        if ended {
            node.child = None;
        }
        ended
    }

    /// Empties the data directory of a stopped node.
    pub fn wipe(&mut self, place: u16) {
        assert!(self.node(place).child.is_none(), "node {place} runs");
        std::fs::remove_dir_all(self.data_dir(place)).expect("the directory is ours");
    }

    /// `HOST:PORT` of a node's gRPC.
    pub fn grpc(&self, place: u16) -> String {
        let node = &self.nodes[usize::from(place) - 1];
        format!("127.0.0.1:{}", node.grpc)
    }

    /// All nodes, for `--core`.
    pub fn cores(&self) -> String {
        let all = self.nodes.iter().map(|node| self.grpc(node.place));
        all.collect::<Vec<_>>().join(",")
    }

    /// The place that leads and serves, as soon as one does.
    pub async fn leader(&self) -> u16 {
        self.leader_other_than(0).await
    }

    /// As [`Cell::leader`], once it is not `former`.
    pub async fn leader_other_than(&self, former: u16) -> u16 {
        self.until("a leader", async || {
            for node in self.nodes.iter().filter(|node| node.place != former) {
                let url = format!("http://127.0.0.1:{}/metrics", node.http);
                let Ok(answer) = self.client.get(url).send().await else {
                    continue;
                };
                let Ok(text) = answer.text().await else {
                    continue;
                };
                if text.lines().any(|line| line == "sidelock_raft_serving 1") {
                    return Some(node.place);
                }
            }
            None
        })
        .await
    }

    /// `GET` of a path; none if nobody answers.
    pub async fn get(&self, place: u16, path: &str) -> Option<(u16, Value)> {
        let url = self.url(place, path);
        let answer = self.client.get(url).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// What a node says of the cell; none if it does not answer.
    pub async fn cluster(&self, place: u16) -> Option<Value> {
        self.get(place, "/v1/cluster").await.map(|(_, body)| body)
    }

    /// The members that a node knows.
    pub async fn members(&self, place: u16) -> Vec<Seen> {
        let cluster = self.cluster(place).await.unwrap_or_default();
        let members = cluster["members"].as_array().cloned().unwrap_or_default();
        let seen = members.iter().map(|member| Seen {
            node: member["node"].as_u64().unwrap_or(0),
            incarnation: member["incarnation"].as_u64().unwrap_or(0),
            voter: member["role"] == "voter",
        });
        seen.collect()
    }

    /// `POST` of JSON; redirects are followed. Status and body.
    pub async fn post(&self, place: u16, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(place, path)).json(body);
        let answer = request.send().await.expect("the node answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// One of the verbs of `/v1/cluster`, which must succeed.
    pub async fn change(&self, at: u16, verb: &str, node: u16) {
        let path = format!("/v1/cluster/{verb}");
        let ask = json!({ "node": node });
        // An election may be under way, on a busy machine for longer than a node waits for its end. Then
        // nothing was done, and an operator asks again.
        let leaderless =
            |status, body: &Value| status == 503 && body["detail"] == "no leader is known";
        let (mut status, mut body) = self.post(at, &path, &ask).await;
        for _ in 0..4 {
            if !leaderless(status, &body) {
                break;
            }
            (status, body) = self.post(at, &path, &ask).await;
        }
        assert_eq!(status, 200, "{verb} {node}: {body}");
    }

    /// Commits one entry at the leader, whoever that is by now.
    pub async fn commits(&self, at: u16) -> bool {
        let body = json!({ "reason": "to commit an entry" });
        let sent = self
            .client
            .post(self.url(at, "/v1/locks/probe/break"))
            .json(&body)
            .send();
        sent.await
            .is_ok_and(|answer| answer.status().as_u16() == 200)
    }

    /// Looks until there is something to see.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        until(what, look, || self.logs()).await
    }

    fn logs(&self) -> String {
        let tails = self.nodes.iter().map(|node| {
            let path = self.dir.path().join(format!("node-{}.log", node.place));
            let log = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(8).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("\n-- node {}\n{}", node.place, lines.join("\n"))
        });
        tails.collect()
    }

    fn url(&self, place: u16, path: &str) -> String {
        let node = &self.nodes[usize::from(place) - 1];
        format!("http://127.0.0.1:{}{path}", node.http)
    }

    fn node(&mut self, place: u16) -> &mut Node {
        &mut self.nodes[usize::from(place) - 1]
    }

    /// Where a node keeps its data.
    pub fn data_dir(&self, place: u16) -> PathBuf {
        self.dir.path().join(format!("data-{place}"))
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                // It may have ended by itself; then there is nothing to kill.
                child.kill().ok();
                child.wait().ok();
            }
        }
    }
}

/// Looks until there is something to see; if there never is, says what the logs end with.
pub async fn until<T>(
    what: &str,
    look: impl AsyncFn() -> Option<T>,
    logs: impl Fn() -> String,
) -> T {
    let clock = BootClock;
    let start = clock.now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        let waited = clock.now().since(start);
        assert!(
            waited < PATIENCE,
            "{what} did not come in {waited:?}: {}",
            logs()
        );
        // Between two looks at another process there is no event to await.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
