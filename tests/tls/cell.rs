//! A cell and sidecars with certificates, as processes.
//! In: who gets which certificate. Out: URLs, answers. Never: a process left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sidelock::tls::credentials::{Credentials, Files};
use sidelock::tls::http;
use sidelock::tls::issue::{Authority, Subject};

#[path = "../support/ports.rs"]
mod ports;

use ports::free_port;

/// Longest that anything waited for may take.
const PATIENCE: Duration = Duration::from_secs(30);
pub const CORE: &str = "sidelock-core";

/// An authority, and the folder with all that it has signed.
pub struct Papers {
    pub dir: tempfile::TempDir,
    pub authority: Authority,
}

impl Papers {
    pub fn new() -> Self {
        let papers = Self {
            dir: tempfile::tempdir().expect("a folder"),
            authority: Authority::new("tests", 1).expect("an authority"),
        };
        papers.trust(&[&papers.authority]);
        papers.core(&papers.authority);
        papers
    }

    /// Writes the file of those who are trusted.
    pub fn trust(&self, authorities: &[&Authority]) {
        let pem: String = authorities.iter().map(|one| one.pem.as_str()).collect();
        replace(&self.path("ca.pem"), &pem);
    }

    /// A certificate for the nodes, of this authority.
    pub fn core(&self, authority: &Authority) {
        let subject = Subject {
            common_name: CORE.to_owned(),
            hosts: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
            uris: Vec::new(),
        };
        self.write(authority, "core", &subject);
    }

    /// A certificate for a sidecar or an operator, in files of this name.
    pub fn issue(&self, authority: &Authority, file: &str, identity: &str) {
        let spiffe = identity.contains("://");
        let subject = Subject {
            common_name: file.to_owned(),
            hosts: Vec::new(),
            uris: spiffe.then(|| identity.to_owned()).into_iter().collect(),
        };
        self.write(authority, file, &subject);
    }

    fn write(&self, authority: &Authority, file: &str, subject: &Subject) {
        let issued = authority.issue(subject).expect("a certificate");
        replace(&self.path(&format!("{file}-key.pem")), &issued.key_pem);
        replace(&self.path(&format!("{file}.pem")), &issued.pem);
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The flags for whoever has the files of this name.
    pub fn flags(&self, file: &str) -> Vec<String> {
        let path = |name: String| self.path(&name).display().to_string();
        let flags = [
            ("--tls-cert", path(format!("{file}.pem"))),
            ("--tls-key", path(format!("{file}-key.pem"))),
            ("--tls-ca", path("ca.pem".to_owned())),
        ];
        flags
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path])
            .collect()
    }

    /// Those of one who has these files and trusts these authorities.
    pub fn credentials_trusting(&self, file: &str, authorities: &str) -> Credentials {
        let own = (
            self.path(&format!("{file}.pem")),
            self.path(&format!("{file}-key.pem")),
        );
        let files = Files {
            own: Some(own),
            authorities: self.path(authorities),
        };
        Credentials::load(&files).expect("credentials")
    }

    pub fn credentials(&self, file: Option<&str>) -> Credentials {
        let own = file.map(|file| {
            (
                self.path(&format!("{file}.pem")),
                self.path(&format!("{file}-key.pem")),
            )
        });
        let authorities = self.path("ca.pem");
        Credentials::load(&Files { own, authorities }).expect("credentials")
    }
}

/// As Kubernetes does it: whoever reads sees the old content or the new.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(&new, path).expect("renamed");
}

/// Three nodes with certificates, and sidecars.
pub struct Cell {
    pub papers: Papers,
    /// The nodes first, in their order, and how each was started.
    children: Vec<Child>,
    args: Vec<Vec<String>>,
    grpc: Vec<u16>,
    http: Vec<u16>,
    plain: reqwest::Client,
}

impl Cell {
    /// With a leader.
    pub async fn start(papers: Papers, more: &[&str]) -> Self {
        let mut cell = Self {
            papers,
            children: Vec::new(),
            args: Vec::new(),
            grpc: (0..3).map(|_| free_port()).collect(),
            http: (0..3).map(|_| free_port()).collect(),
            plain: plain(),
        };
        for node in 1..=3 {
            let peers: Vec<String> = (1..=3)
                .map(|peer| format!("{peer}=127.0.0.1:{}", cell.grpc[peer - 1]))
                .collect();
            let mut args = vec!["core".to_owned(), "--node-id".to_owned(), node.to_string()];
            for (flag, value) in [
                ("--grpc", format!("127.0.0.1:{}", cell.grpc[node - 1])),
                ("--http", format!("127.0.0.1:{}", cell.http[node - 1])),
                ("--peers", peers.join(",")),
                (
                    "--data-dir",
                    cell.papers
                        .path(&format!("data{node}"))
                        .display()
                        .to_string(),
                ),
            ] {
                args.extend([flag.to_owned(), value]);
            }
            args.extend(cell.papers.flags("core"));
            args.extend(more.iter().map(|more| (*more).to_owned()));
            cell.spawn(&args);
        }
        let nobody = cell.papers.credentials(None);
        for node in 1..=3 {
            let url = cell.operator(node, "/readyz");
            until("a node", async || {
                let answer = ask(&nobody, Method::GET, &url, None).await?;
                (answer.0 == 200).then_some(())
            })
            .await;
        }
        cell
    }

    pub fn cores(&self) -> String {
        let cores = self.grpc.iter().map(|port| format!("127.0.0.1:{port}"));
        cores.collect::<Vec<_>>().join(",")
    }

    pub fn grpc(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.grpc[node - 1])
    }

    /// A URL of a node's operator HTTP.
    pub fn operator(&self, node: usize, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.http[node - 1])
    }

    /// A sidecar with these flags; its URL, once it answers.
    pub async fn sidecar(&mut self, flags: &[String]) -> String {
        let http = format!("127.0.0.1:{}", free_port());
        let mut args: Vec<String> = ["sidecar", "--core", &self.cores(), "--http", &http]
            .map(str::to_owned)
            .into();
        args.extend_from_slice(flags);
        self.spawn(&args);
        let url = format!("http://{http}");
        until("a sidecar", async || {
            self.plain.get(format!("{url}/livez")).send().await.ok()
        })
        .await;
        url
    }

    /// The same with a certificate and a session.
    pub async fn certified(&mut self, file: &str) -> String {
        let url = self.sidecar(&self.papers.flags(file)).await;
        until("a session", async || self.session(&url).await).await;
        url
    }

    /// The number of its session, if it has one.
    pub async fn session(&self, url: &str) -> Option<u64> {
        let (_, mode) = self.ask(Method::GET, url, "/v1/mode", None).await;
        mode["sessions"][0]["session"].as_u64()
    }

    /// One request to a sidecar: status and body.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        send(&self.plain, method, &format!("{url}{path}"), body).await
    }

    /// Tries to claim a lock; the answer.
    pub async fn claim(&self, url: &str, id: &str, lock: &str) -> (u16, Value) {
        let body = json!({ "lock": lock, "wait_ms": 5_000 });
        let path = format!("/v1/claims/{id}");
        self.ask(Method::PUT, url, &path, Some(body)).await
    }

    /// Ends a claim.
    pub async fn release(&self, url: &str, id: &str) -> u16 {
        let path = format!("/v1/claims/{id}");
        self.ask(Method::DELETE, url, &path, None).await.0
    }

    /// Kills the node that leads, and starts it again; with it all streams to it are made anew.
    pub async fn restart_leader(&mut self) {
        let probe = self.papers.credentials_trusting("watcher", "next-ca.pem");
        let leader = until("a leader", async || {
            for node in 1..=3 {
                let url = self.operator(node, "/metrics");
                let (_, metrics) = ask(&probe, Method::GET, &url, None).await?;
                if metrics.contains("sidelock_raft_serving 1\n") {
                    return Some(node);
                }
            }
            None
        })
        .await;
        let child = &mut self.children[leader - 1];
        child.kill().expect("the process is ours");
        child.wait().expect("the process is ours");
        let args = self.args[leader - 1].clone();
        self.children[leader - 1] = self.start_process(leader - 1, &args);
    }

    /// Ends the process that was started last.
    pub fn end_last(&mut self) {
        self.args.pop();
        let mut child = self.children.pop().expect("one was started");
        child.kill().expect("the process is ours");
        child.wait().expect("the process is ours");
    }

    fn spawn(&mut self, args: &[String]) {
        let child = self.start_process(self.children.len(), args);
        self.children.push(child);
        self.args.push(args.to_vec());
    }

    fn start_process(&self, number: usize, args: &[String]) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.papers.path(&format!("{number}.log")))
            .expect("a log");
        Command::new(env!("CARGO_BIN_EXE_sidelock"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary that cargo built can be started")
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            for number in 0..self.children.len() {
                let log = fs::read_to_string(self.papers.path(&format!("{number}.log")));
                let log = log.unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(8).collect();
                eprintln!("-- process {number}\n{}", lines.join("\n"));
            }
        }
    }
}

/// A client of sidecars.
pub fn plain() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    builder.build().expect("a client")
}

/// One request to a sidecar: status and body.
pub async fn send(
    client: &reqwest::Client,
    method: Method,
    url: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let request = client.request(method, url);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// One request to a node over TLS: status and text, if there is an answer.
pub async fn ask(
    credentials: &Credentials,
    method: Method,
    url: &str,
    body: Option<Value>,
) -> Option<(u16, String)> {
    let body = body.map(|body| body.to_string().into_bytes());
    let mut to = url.parse().ok()?;
    let asked = http::ask(credentials, method, &mut to, body.as_deref());
    let (status, text) = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    Some((status.as_u16(), String::from_utf8_lossy(&text).into_owned()))
}

/// Looks until there is something to see.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            // Between two looks at another process there is no event to await.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, looking).await;
    seen.unwrap_or_else(|_| panic!("{what} did not come"))
}
