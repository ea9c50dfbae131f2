//! A three-node etcd, as its documentation starts one.
//! In: its binary. Out: the leader's URL. Never: its fsync turned off.

use std::path::Path;
use std::process::Command;

use hyper::Method;
use serde_json::json;

use super::process::{Process, first_line, free_port, wait_for};
use super::servers::Servers;
use super::{program, scratch};
use crate::clients::http;

/// Starts them.
pub async fn start(built: &Path) -> anyhow::Result<Servers> {
    let binary = program(Some(built), "etcd")?;
    let folder = scratch("etcd")?;
    let nodes: Vec<_> = (0..3).map(|_| (free_port(), free_port())).collect();
    let cluster: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(number, (_, peer))| format!("e{number}=http://127.0.0.1:{peer}"))
        .collect();
    let mut processes = Vec::new();
    for (number, (client, peer)) in nodes.iter().enumerate() {
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let name = format!("e{number}");
        let mut command = Command::new(&binary);
        command
            .args(["--name", &name, "--log-level", "error"])
            .arg("--data-dir")
            .arg(folder.path().join(&name))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(",")]);
        processes.push(Process::start(folder.path(), &name, &mut command)?);
    }
    let urls = nodes
        .iter()
        .map(|(client, _)| format!("http://127.0.0.1:{client}"));
    let urls: Vec<_> = urls.collect();
    let mut leader = None;
    wait_for("etcd", async || {
        leader = find_leader(&urls).await;
        leader.is_some()
    })
    .await?;
    Ok(Servers {
        processes,
        url: leader.expect("it was waited for"),
        version: first_line(Command::new(&binary).arg("--version")),
        _folder: folder,
    })
}

async fn find_leader(urls: &[String]) -> Option<String> {
    for url in urls {
        let answer = http::once(Method::POST, url, "/v3/maintenance/status", &json!({})).await;
        let status = answer.ok()?.success().ok()?;
        if status["leader"].is_string() && status["leader"] == status["header"]["member_id"] {
            return Some(url.clone());
        }
    }
    None
}
