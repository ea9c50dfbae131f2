//! Three Consul servers.
//! In: its binary. Out: the leader's HTTP. Never: more of Consul than its servers.

use std::path::Path;
use std::process::Command;

use super::process::{Process, first_line, free_port, wait_for};
use super::servers::Servers;
use super::{program, scratch};
use crate::clients::http;

/// The ports of one server.
struct Ports {
    http: u16,
    server: u16,
    serf: u16,
}

/// Starts them.
pub async fn start(built: &Path) -> anyhow::Result<Servers> {
    let binary = program(Some(built), "consul")?;
    let folder = scratch("consul")?;
    let nodes: Vec<_> = (0..3).map(|_| Ports::free()).collect();
    let mut processes = Vec::new();
    for (number, ports) in nodes.iter().enumerate() {
        let name = format!("c{number}");
        let config = folder.path().join(format!("{name}.json"));
        std::fs::write(&config, ports.config(&nodes))?;
        let mut command = Command::new(&binary);
        command
            .args([
                "agent",
                "-server",
                "-bootstrap-expect",
                "3",
                "-bind",
                "127.0.0.1",
            ])
            .args([
                "-client",
                "127.0.0.1",
                "-node",
                &name,
                "-log-level",
                "error",
            ])
            .arg("-data-dir")
            .arg(folder.path().join(&name))
            .arg("-config-file")
            .arg(&config);
        processes.push(Process::start(folder.path(), &name, &mut command)?);
    }
    let mut leader = None;
    wait_for("Consul", async || {
        leader = find_leader(&nodes).await;
        leader.is_some()
    })
    .await?;
    Ok(Servers {
        processes,
        url: leader.expect("it was waited for"),
        version: first_line(Command::new(&binary).arg("version")),
        _folder: folder,
    })
}

impl Ports {
    fn free() -> Self {
        Self {
            http: free_port(),
            server: free_port(),
            serf: free_port(),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    fn config(&self, all: &[Self]) -> String {
        let join: Vec<_> = all
            .iter()
            .map(|one| format!("127.0.0.1:{}", one.serf))
            .collect();
        let config = serde_json::json!({
            "retry_join": join,
            "retry_interval": "1s",
            "limits": {"http_max_conns_per_client": 4096},
            "performance": {"raft_multiplier": 1},
            "ports": {"http": self.http, "server": self.server, "serf_lan": self.serf,
                      "serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1},
        });
        config.to_string()
    }
}

async fn find_leader(nodes: &[Ports]) -> Option<String> {
    for ports in nodes {
        let url = ports.url();
        let leader = http::get(&url, "/v1/status/leader").await.ok()?;
        if leader == format!("127.0.0.1:{}", ports.server) {
            return Some(url);
        }
    }
    None
}
