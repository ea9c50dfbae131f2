//! Sidelock: three core nodes, and sidecars beside them.
//! In: its binary. Out: URLs, pids, who leads. Never: options that an operator would not have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use async_trait::async_trait;
use hyper::Method;
use serde_json::{Value, json};

use super::process::{Process, first_line, free_port, wait_for};
use super::{Door, Running, scratch};
use crate::clients::{Protocol, http};
use crate::measure::load::Target;
use crate::measure::scrape::{Counters, scrape};

/// As a sidecar is by default: locks stay.
pub const KEPT: &[&str] = &[];
/// Asks the core for every claim.
pub const UNCACHED: &[&str] = &["--no-delegations"];

/// A cell of three nodes.
pub struct Cell {
    binary: PathBuf,
    pub nodes: Vec<Node>,
    pods: usize,
    folder: tempfile::TempDir,
    /// Flags of each node besides the usual.
    more: Vec<String>,
}

/// A core node.
pub struct Node {
    pub process: Process,
    grpc: u16,
    http: u16,
    pub data: PathBuf,
}

/// A sidecar.
pub struct Pod {
    pub process: Process,
    pub url: String,
    /// The same over its Unix socket.
    pub socket: String,
}

impl Cell {
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
        let cell = Self::launch(binary, &[])?;
        for node in &cell.nodes {
            node.ready().await?;
        }
        Ok(cell)
    }

    /// With further flags for each node, and without waiting for them.
    pub fn launch(binary: &Path, more: &[String]) -> anyhow::Result<Self> {
        let folder = scratch("sidelock")?;
        let ports: Vec<_> = (0..3).map(|_| (free_port(), free_port())).collect();
        let mut nodes = Vec::new();
        for place in 1..=ports.len() {
            nodes.push(Node::start(binary, folder.path(), place, &ports, more)?);
        }
        Ok(Self {
            binary: binary.to_owned(),
            nodes,
            pods: 0,
            folder,
            more: more.to_vec(),
        })
    }

    /// Another sidecar, once it has its session.
    pub async fn pod(&mut self, more: &[&str]) -> anyhow::Result<Pod> {
        self.pod_with(more, &[]).await
    }

    /// The same with something in its environment.
    pub async fn pod_with(&mut self, more: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Pod> {
        self.pods += 1;
        let name = format!("pod{}", self.pods);
        let address = format!("127.0.0.1:{}", free_port());
        let socket = self.folder.path().join(format!("{name}.sock"));
        let mut command = Command::new(&self.binary);
        command
            .args(["sidecar", "--http", &address, "--identity", &name])
            .args(["--core", &self.cores().join(",")])
            .arg("--socket")
            .arg(&socket)
            .args(more)
            .envs(env.iter().copied());
        let process = Process::start(self.folder.path(), &name, &mut command)?;
        let url = format!("http://{address}");
        wait_for("a sidecar's session", async || {
            http::get(&url, "/v1/mode")
                .await
                .is_ok_and(|mode| mode["sessions"][0]["safe_for_ms"].as_u64().unwrap_or(0) > 0)
        })
        .await?;
        Ok(Pod {
            process,
            url,
            socket: format!("unix:{}", socket.display()),
        })
    }

    /// Several sidecars.
    pub async fn pods(&mut self, count: usize, more: &[&str]) -> anyhow::Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for _ in 0..count {
            pods.push(self.pod(more).await?);
        }
        Ok(pods)
    }

    /// Where sidecars call.
    pub fn cores(&self) -> Vec<String> {
        self.nodes.iter().map(Node::core).collect()
    }

    /// The place of the leader among the nodes, by a node that runs.
    pub async fn leader(&self) -> Option<usize> {
        for node in &self.nodes {
            if let Ok(cluster) = http::get(&node.url(), "/v1/cluster").await
                && let Some(leader) = cluster["leader"].as_u64()
            {
                return usize::try_from(leader).ok()?.checked_sub(1);
            }
        }
        None
    }

    /// Starts a node again that was killed.
    pub fn restart(&mut self, place: usize) -> anyhow::Result<()> {
        let ports: Vec<_> = self
            .nodes
            .iter()
            .map(|node| (node.grpc, node.http))
            .collect();
        let node = Node::start(
            &self.binary,
            self.folder.path(),
            place + 1,
            &ports,
            &self.more,
        )?;
        self.nodes[place] = node;
        Ok(())
    }

    pub fn core_pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.pid()).collect()
    }

    /// The counters of all nodes.
    pub async fn counters(&self) -> Vec<Counters> {
        let mut all = Vec::new();
        for node in &self.nodes {
            all.push(scrape(&node.url()).await.unwrap_or_default());
        }
        all
    }
}

impl Node {
    fn start(
        binary: &Path,
        folder: &Path,
        place: usize,
        ports: &[(u16, u16)],
        more: &[String],
    ) -> anyhow::Result<Self> {
        let peers: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(number, (grpc, _))| format!("{}=127.0.0.1:{grpc}", number + 1))
            .collect();
        let (grpc, http) = ports[place - 1];
        let data = folder.join(format!("data{place}"));
        let mut command = Command::new(binary);
        command
            .args(["core", "--node-id", &place.to_string()])
            .args(["--grpc", &format!("127.0.0.1:{grpc}")])
            .args(["--http", &format!("127.0.0.1:{http}")])
            .args(["--peers", &peers.join(",")])
            .arg("--data-dir")
            .arg(&data)
            .args(more);
        let process = Process::start(folder, &format!("core{place}"), &mut command)?;
        Ok(Self {
            process,
            grpc,
            http,
            data,
        })
    }

    /// Operators' HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    fn core(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
    }

    /// Waits until it knows a leader.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let url = self.url();
        wait_for("a core node", async || ready(&url).await).await
    }
}

/// Whether /readyz says so.
pub async fn ready(url: &str) -> bool {
    let answer = http::once(Method::GET, url, "/readyz", &Value::Null).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

impl Pod {
    /// Takes a lock; tells the claim's id if it was granted.
    pub async fn claim(&self, body: &Value) -> anyhow::Result<Option<String>> {
        let answer = http::once(Method::POST, &self.url, "/v1/claims", body).await?;
        if answer.status != 201 {
            return Ok(None);
        }
        let claim: Value = serde_json::from_slice(&answer.body)?;
        let id = claim["claim_id"].as_str().context("no claim id")?;
        Ok(Some(id.to_owned()))
    }

    /// Takes a free lock and gives it back.
    pub async fn touch(&self, lock: &str) -> anyhow::Result<()> {
        let body = json!({"lock": lock, "wait_ms": 5000});
        let id = self
            .claim(&body)
            .await?
            .context("a free lock was refused")?;
        let path = format!("/v1/claims/{id}");
        http::once(Method::DELETE, &self.url, &path, &Value::Null).await?;
        Ok(())
    }
}

/// The sidecars of a cell, and the cell: what a run that is spread over them consists of.
pub struct Part<'a> {
    pub cell: &'a Cell,
    pub pods: &'a [Pod],
}

impl Part<'_> {
    /// All of the sidecars, over TCP.
    pub fn target(&self) -> Target {
        Target {
            protocol: Protocol::Sidelock,
            urls: self.pods.iter().map(|pod| pod.url.clone()).collect(),
        }
    }
}

#[async_trait]
impl Running for Part<'_> {
    fn url(&self, _door: Door) -> String {
        self.pods
            .first()
            .map_or_else(String::new, |pod| pod.url.clone())
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        let pods = self.pods.iter().map(|pod| ("sidecar", pod.process.pid()));
        let cores = self.cell.core_pids().into_iter().map(|pid| ("core", pid));
        pods.chain(cores).collect()
    }

    fn version(&self) -> String {
        first_line(Command::new(&self.cell.binary).arg("version"))
    }

    async fn counters(&self) -> Vec<(&'static str, BTreeMap<String, f64>)> {
        let mut all = Vec::new();
        for pod in self.pods {
            all.push(("sidecar", scrape(&pod.url).await.unwrap_or_default()));
        }
        for counters in self.cell.counters().await {
            all.push(("core", counters));
        }
        all
    }
}

/// A cell with a sidecar that keeps locks and one that does not.
pub struct Pair {
    cell: Cell,
    /// In this order.
    pods: Vec<Pod>,
}

impl Pair {
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
        let mut cell = Cell::start(binary).await?;
        let pods = vec![cell.pod(KEPT).await?, cell.pod(UNCACHED).await?];
        Ok(Self { cell, pods })
    }

    fn part(&self) -> Part<'_> {
        Part {
            cell: &self.cell,
            pods: &self.pods,
        }
    }
}

#[async_trait]
impl Running for Pair {
    fn url(&self, door: Door) -> String {
        match door {
            Door::Kept => self.pods[0].url.clone(),
            Door::KeptSocket => self.pods[0].socket.clone(),
            Door::UncachedSocket => self.pods[1].socket.clone(),
            Door::Uncached | Door::Only => self.pods[1].url.clone(),
        }
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        self.part().processes()
    }

    fn version(&self) -> String {
        self.part().version()
    }

    async fn counters(&self) -> Vec<(&'static str, BTreeMap<String, f64>)> {
        self.part().counters().await
    }
}
