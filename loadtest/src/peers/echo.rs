//! The bare echo, in a process of its own.
//! In: nothing. Out: its address. Never: a second one in this process.

use std::process::Command;

use serde_json::json;

use super::process::{Process, free_port, wait_for};
use super::{Door, Running, scratch};
use crate::clients::http;

/// It runs.
pub struct Echo {
    process: Process,
    url: String,
    _folder: tempfile::TempDir,
}

impl Echo {
    pub async fn start() -> anyhow::Result<Self> {
        let folder = scratch("echo")?;
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(std::env::current_exe()?);
        let process = Process::start(folder.path(), "echo", command.args(["echo", &address]))?;
        let url = format!("http://{address}");
        wait_for("the echo", async || {
            http::once(hyper::Method::POST, &url, "/", &json!({}))
                .await
                .is_ok()
        })
        .await?;
        Ok(Self {
            process,
            url,
            _folder: folder,
        })
    }
}

impl Running for Echo {
    fn url(&self, _door: Door) -> String {
        self.url.clone()
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        vec![("server", self.process.pid())]
    }

    fn version(&self) -> String {
        "axum 0.8".to_owned()
    }
}
