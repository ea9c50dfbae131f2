//! A sidecar process, asked over its Unix socket, killed when dropped.
//! In: a cell's addresses. Out: answers and events. Never: a process left behind.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::cell::until;

/// Longest that anything waited for may take; a loaded machine needs some of it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One sidecar, and an app that asks it.
pub struct Pod {
    dir: tempfile::TempDir,
    child: Option<Child>,
    client: reqwest::Client,
    /// The command line.
    words: Vec<OsString>,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub mode: String,
    /// Of a cached read, in seconds.
    pub age: Option<u64>,
    pub body: Value,
}

impl Pod {
    /// A running sidecar of the cores at these addresses, ready to grant.
    pub async fn start(cores: &str, arguments: &[&str]) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_sidelock"));
        Self::start_with(program, cores, arguments).await
    }

    /// The same, by this command instead of the binary alone.
    pub async fn start_with(program: Command, cores: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let client = reqwest::Client::builder()
            .no_proxy()
            .unix_socket(dir.path().join("socket"))
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a plain client can be made");
        let mut pod = Self {
            client,
            child: None,
            words: std::iter::once(program.get_program())
                .chain(program.get_args())
                .chain(["sidecar", "--http", "127.0.0.1:0", "--core", cores].map(OsStr::new))
                .chain(arguments.iter().map(OsStr::new))
                .map(OsStr::to_owned)
                .collect(),
            dir,
        };
        pod.restart();
        pod.until("a session", async || {
            let mode = pod.try_get("/v1/mode").await?;
            mode["sessions"][0]["safe_for_ms"]
                .as_u64()
                .filter(|left| *left > 0)
        })
        .await;
        pod
    }

    /// Starts the process, as it was started first.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("the log can be written");
        let child = Command::new(&self.words[0])
            .args(&self.words[1..])
            .arg("--socket")
            .arg(self.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary that cargo built can be started");
        self.child = Some(child);
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("the process is ours");
    }

    /// `kill -9`, and the end of the process.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("the process is ours");
        child.wait().expect("the process is ours");
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let ended = tokio::task::spawn_blocking(move || child.wait());
        let ended = ended.await.expect("waiting does not panic");
        ended.expect("the process is ours")
    }

    /// Asks, with a body or without.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.try_ask(method, path, body)
            .await
            .unwrap_or_else(|| panic!("{path}: no answer: {}", self.log()))
    }

    /// The same; none if nobody answers.
    pub async fn try_ask(&self, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        let mut request = self
            .client
            .request(method, format!("http://localhost{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        let mode = header("sidelock-mode").unwrap_or_default();
        let age = header("age").and_then(|age| age.parse().ok());
        Some(Answer {
            status: answer.status().as_u16(),
            mode,
            age,
            body: answer.json().await.unwrap_or_default(),
        })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    async fn try_get(&self, path: &str) -> Option<Value> {
        let answer = self.try_ask(Method::GET, path, None).await?;
        Some(answer.body)
    }

    /// A claim under this id.
    pub async fn put(&self, id: &str, body: Value) -> Answer {
        self.ask(Method::PUT, &format!("/v1/claims/{id}"), Some(body))
            .await
    }

    /// A claim that must be granted; its body.
    pub async fn take(&self, id: &str, lock: &str) -> Value {
        let body = json!({ "lock": lock, "ttl_ms": 60_000, "wait_ms": 10_000 });
        let answer = self.put(id, body).await;
        assert_eq!(answer.status, 201, "{answer:?} {}", self.log());
        answer.body
    }

    /// A release, which must find the claim held.
    pub async fn release(&self, id: &str) {
        let path = format!("/v1/claims/{id}");
        let answer = self.ask(Method::DELETE, &path, None).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// The stream of events at a path.
    pub async fn events(&self, path: &str) -> Events {
        let request = self.client.get(format!("http://localhost{path}"));
        let request = request.timeout(Duration::from_secs(600));
        let answer = request.send().await.expect("the sidecar answers");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        Events {
            answer,
            text: String::new(),
        }
    }

    /// Looks until there is something to see.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        until(what, look, || self.log()).await
    }

    /// The end of what it has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(12).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        format!("\n-- sidecar\n{}", lines.join("\n"))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Server-Sent Events, one at a time.
pub struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    /// The next event's name and data; none at the end of the stream.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((one, rest)) = self.text.split_once("\n\n") {
                let (one, rest) = (one.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = parse(&one) {
                    return Some(event);
                }
            }
            let bytes = self.answer.chunk().await.ok()??;
            let text = std::str::from_utf8(&bytes).expect("events are text");
            self.text.push_str(text);
        }
    }

    /// The data of the next event of this name; others before it are passed over.
    pub async fn until(&mut self, name: &str) -> Value {
        let found = async {
            loop {
                match self.next().await {
                    Some((event, data)) if event == name => return data,
                    Some(_) => {}
                    None => panic!("the stream ended before {name}"),
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("{name} did not come"))
    }
}

/// The name and the data of an event; none for a comment.
fn parse(text: &str) -> Option<(String, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    let data = serde_json::from_str(data).expect("the data is JSON");
    Some((field("event: ")?.to_owned(), data))
}
