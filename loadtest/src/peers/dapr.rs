//! A daprd whose lock store is a Redis without persistence.
//! In: its binary. Out: its HTTP. Never: a control plane, or another component.

use std::path::Path;
use std::process::Command;

use super::process::{Process, first_line, free_port, wait_for};
use super::redis::Redis;
use super::{Door, Running, program, scratch};
use crate::clients::http;

/// It runs.
pub struct Dapr {
    process: Process,
    url: String,
    version: String,
    redis: Redis,
    _folder: tempfile::TempDir,
}

impl Dapr {
    pub async fn start(built: &Path) -> anyhow::Result<Self> {
        let binary = program(Some(built), "daprd")?;
        let redis = Redis::start(false).await?;
        let folder = scratch("dapr")?;
        let store = redis.url(Door::Only);
        let host = store.trim_start_matches("redis://");
        let component = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: locks\nspec:\n  \
             type: lock.redis\n  version: v1\n  metadata:\n  - name: redisHost\n    value: {host}\n"
        );
        std::fs::write(folder.path().join("locks.yaml"), component)?;
        let port = free_port();
        let flags = [
            ("--app-id", "bench".to_owned()),
            ("--dapr-http-port", port.to_string()),
            ("--dapr-grpc-port", free_port().to_string()),
            ("--dapr-internal-grpc-port", free_port().to_string()),
            ("--metrics-port", free_port().to_string()),
            ("--dapr-listen-addresses", "127.0.0.1".to_owned()),
            ("--log-level", "error".to_owned()),
        ];
        let mut command = Command::new(&binary);
        command.arg("--resources-path").arg(folder.path());
        for (flag, value) in flags {
            command.arg(flag).arg(value);
        }
        let process = Process::start(folder.path(), "daprd", &mut command)?;
        let url = format!("http://127.0.0.1:{port}");
        wait_for("daprd", async || {
            let path = "/v1.0/healthz/outbound";
            let answer = http::once(hyper::Method::GET, &url, path, &serde_json::Value::Null).await;
            answer.is_ok_and(|answer| answer.status == 204)
        })
        .await?;
        Ok(Self {
            process,
            url,
            version: first_line(Command::new(&binary).arg("--version")),
            redis,
            _folder: folder,
        })
    }
}

impl Running for Dapr {
    fn url(&self, _door: Door) -> String {
        self.url.clone()
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        let mut all = vec![("sidecar", self.process.pid())];
        all.extend(self.redis.processes());
        all
    }

    fn version(&self) -> String {
        self.version.clone()
    }
}
