//! A core node and sidecars as processes of their own, which send what they tell to a collector.
//! In: the environment for them. Out: URLs. Never: a process left behind.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

#[path = "../support/ports.rs"]
mod ports;

use ports::free_port;

/// Longest that a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cell of one node and some sidecars.
pub struct Processes {
    children: Vec<Child>,
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    core: u16,
    pub core_http: u16,
    client: reqwest::Client,
}

impl Processes {
    /// Starts the node.
    pub async fn start(env: &[(&str, &str)]) -> Self {
        let env = env
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut processes = Self {
            children: Vec::new(),
            dir: tempfile::tempdir().expect("a temporary directory"),
            env: env.collect(),
            core: free_port(),
            core_http: free_port(),
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a plain client"),
        };
        let (grpc, http) = (processes.core, processes.core_http);
        let data = processes.dir.path().join("core").display().to_string();
        let (grpc, http) = (format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{http}"));
        let peers = format!("1={grpc}");
        processes.spawn(&[
            "core",
            "--node-id",
            "1",
            "--data-dir",
            &data,
            "--grpc",
            &grpc,
            "--http",
            &http,
            "--peers",
            &peers,
        ]);
        processes.ready(&format!("http://{http}/readyz")).await;
        processes
    }

    /// Starts a sidecar; gives its URL once it has its session.
    pub async fn sidecar(&mut self, identity: &str) -> String {
        let http = format!("127.0.0.1:{}", free_port());
        let core = format!("127.0.0.1:{}", self.core);
        self.spawn(&[
            "sidecar",
            "--core",
            &core,
            "--http",
            &http,
            "--identity",
            identity,
        ]);
        let url = format!("http://{http}");
        let attached = async {
            loop {
                if let Ok(mode) = self.get(&format!("{url}/v1/mode")).await
                    && mode["sessions"][0]["session"].is_u64()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, attached)
            .await
            .expect("a session");
        url
    }

    /// Claims, in the trace of an app's span; gives the status and the answer.
    pub async fn claim(&self, url: &str, id: &str, body: Value, traceparent: &str) -> (u16, Value) {
        let put = self.client.put(format!("{url}/v1/claims/{id}")).json(&body);
        let answer = put
            .header("traceparent", traceparent)
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    pub async fn release(&self, url: &str, id: &str) -> u16 {
        let answer = self
            .client
            .delete(format!("{url}/v1/claims/{id}"))
            .send()
            .await;
        answer.expect("an answer").status().as_u16()
    }

    pub async fn get(&self, url: &str) -> Result<Value, reqwest::Error> {
        self.client.get(url).send().await?.json().await
    }

    pub async fn text(&self, url: &str) -> String {
        let answer = self.client.get(url).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    /// Ends all in good order, so that they send what is left.
    pub fn finish(&mut self) {
        // Sidecars first: they end their sessions with the core.
        for mut child in self.children.drain(..).rev() {
            let pid = i32::try_from(child.id()).expect("a pid");
            let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
            child.wait().expect("it ends");
        }
    }

    fn spawn(&mut self, args: &[&str]) {
        let child = Command::new(env!("CARGO_BIN_EXE_sidelock"))
            .args(args)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary that cargo built can be started");
        self.children.push(child);
    }

    async fn ready(&self, url: &str) {
        let ready = async {
            loop {
                if let Ok(answer) = self.client.get(url).send().await
                    && answer.status().is_success()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready)
            .await
            .expect("it becomes ready");
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// An exclusive claim on this lock, which waits for so long.
pub fn waiting(lock: &str, wait_ms: u64) -> Value {
    json!({"lock": lock, "wait_ms": wait_ms, "ttl_ms": 60_000})
}
