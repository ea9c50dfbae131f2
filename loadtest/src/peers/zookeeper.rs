//! A three-node ZooKeeper ensemble from Debian's package.
//! In: nothing. Out: its connect string. Never: its forced sync turned off.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::bail;
use tokio::net::TcpStream;
use zookeeper_client::Client;

use super::process::{Process, first_line, free_port, wait_for};
use super::servers::Servers;
use super::{program, scratch};

const JAR: &str = "/usr/share/java/zookeeper.jar";

/// Starts them.
pub async fn start() -> anyhow::Result<Servers> {
    let java = program(None, "java")?;
    if !Path::new(JAR).is_file() {
        bail!("zookeeper is not installed");
    }
    let folder = scratch("zookeeper")?;
    let nodes: Vec<_> = (0..3)
        .map(|_| [free_port(), free_port(), free_port()])
        .collect();
    let mut servers = String::new();
    for (number, [client, peer, election]) in nodes.iter().enumerate() {
        let id = number + 1;
        writeln!(
            servers,
            "server.{id}=127.0.0.1:{peer}:{election};127.0.0.1:{client}"
        )?;
    }
    let mut processes = Vec::new();
    for id in 1..=3 {
        let data = folder.path().join(format!("data{id}"));
        std::fs::create_dir(&data)?;
        std::fs::write(data.join("myid"), id.to_string())?;
        let config = folder.path().join(format!("zoo{id}.cfg"));
        let text = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\n\
             admin.enableServer=false\ndataDir={}\n{servers}",
            data.display()
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(&java);
        command
            .args(["-Xmx512m", "-cp", JAR])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config);
        let name = format!("zookeeper{id}");
        processes.push(Process::start(folder.path(), &name, &mut command)?);
    }
    let clients = nodes
        .iter()
        .map(|[client, ..]| format!("127.0.0.1:{client}"));
    let clients: Vec<_> = clients.collect();
    for address in &clients {
        wait_for("a ZooKeeper node", async || {
            TcpStream::connect(address).await.is_ok()
        })
        .await?;
    }
    let cluster = clients.join(",");
    wait_for("ZooKeeper", async || {
        Client::connect(&cluster).await.is_ok()
    })
    .await?;
    Ok(Servers {
        processes,
        url: cluster,
        version: first_line(Command::new("dpkg-query").args([
            "-W",
            "-f",
            "ZooKeeper ${Version}",
            "zookeeper",
        ])),
        _folder: folder,
    })
}
