//! One Redis server, without persistence or with each write synced.
//! In: whether it syncs. Out: its URL. Never: a replica, since a lock on one is not safe.

use std::process::Command;

use super::process::{Process, first_line, free_port, wait_for};
use super::{Door, Running, program, scratch};

/// It runs.
pub struct Redis {
    process: Process,
    url: String,
    version: String,
    _folder: tempfile::TempDir,
}

impl Redis {
    pub async fn start(syncs: bool) -> anyhow::Result<Self> {
        let binary = program(None, "redis-server")?;
        let folder = scratch("redis")?;
        let port = free_port();
        let mut command = Command::new(&binary);
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
            ])
            .arg("--dir")
            .arg(folder.path());
        match syncs {
            true => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
            false => command.args(["--appendonly", "no"]),
        };
        let process = Process::start(folder.path(), "redis", &mut command)?;
        let address = format!("127.0.0.1:{port}");
        wait_for("redis", async || {
            tokio::net::TcpStream::connect(&address).await.is_ok()
        })
        .await?;
        Ok(Self {
            process,
            url: format!("redis://{address}"),
            version: first_line(Command::new(&binary).arg("--version")),
            _folder: folder,
        })
    }
}

impl Running for Redis {
    fn url(&self, _door: Door) -> String {
        self.url.clone()
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        vec![("server", self.process.pid())]
    }

    fn version(&self) -> String {
        self.version.clone()
    }
}
