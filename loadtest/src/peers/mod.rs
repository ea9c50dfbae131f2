//! The systems that are measured: how each is started, where it listens, what it consists of.
//! In: where their binaries are. Out: targets, pids by role. Never: a peer that is missing taken for a failure.

mod consul;
mod dapr;
mod echo;
mod etcd;
pub mod process;
mod redis;
mod servers;
pub mod sidelock;
mod zookeeper;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::clients::Protocol;
use crate::measure::load::Target;

/// Where the binaries are.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub sidelock: PathBuf,
    /// Where `peers/install` puts what it builds.
    pub built: PathBuf,
}

/// One line of a table: a system, and a way to speak to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contestant {
    pub name: &'static str,
    pub about: &'static str,
    system: System,
    protocol: Protocol,
    /// Which of the system's doors.
    door: Door,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum System {
    Sidelock,
    Etcd,
    Redis,
    RedisAlways,
    Zookeeper,
    Consul,
    Dapr,
    Echo,
}

/// A sidecar has four, all others have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Kept,
    KeptSocket,
    Uncached,
    UncachedSocket,
    Only,
}

const fn contestant(
    name: &'static str,
    system: System,
    protocol: Protocol,
    door: Door,
    about: &'static str,
) -> Contestant {
    Contestant {
        name,
        about,
        system,
        protocol,
        door,
    }
}

/// All of them, in the order of the tables.
pub const CONTESTANTS: &[Contestant] = &[
    contestant(
        "sidelock-kept",
        System::Sidelock,
        Protocol::Sidelock,
        Door::Kept,
        "Sidelock, locks that stay at the sidecar",
    ),
    contestant(
        "sidelock-kept-unix",
        System::Sidelock,
        Protocol::Sidelock,
        Door::KeptSocket,
        "the same over a Unix socket",
    ),
    contestant(
        "sidelock",
        System::Sidelock,
        Protocol::Sidelock,
        Door::Uncached,
        "Sidelock, every pair through the core (3 nodes)",
    ),
    contestant(
        "sidelock-unix",
        System::Sidelock,
        Protocol::Sidelock,
        Door::UncachedSocket,
        "the same over a Unix socket",
    ),
    contestant(
        "etcd-gateway",
        System::Etcd,
        Protocol::EtcdGateway,
        Door::Only,
        "etcd's JSON gateway, a lease for each worker (3 nodes, asked at the leader)",
    ),
    contestant(
        "etcd-grpc",
        System::Etcd,
        Protocol::EtcdGrpc,
        Door::Only,
        "etcd's gRPC lock, a lease for each worker",
    ),
    contestant(
        "etcd-grpc-leaseless",
        System::Etcd,
        Protocol::EtcdGrpcLeaseless,
        Door::Only,
        "the same without a lease of one's own",
    ),
    contestant(
        "redis",
        System::Redis,
        Protocol::Redis,
        Door::Only,
        "Redis without persistence, SET NX PX and compare-and-delete (1 node)",
    ),
    contestant(
        "redis-always",
        System::RedisAlways,
        Protocol::Redis,
        Door::Only,
        "Redis with appendfsync always (1 node)",
    ),
    contestant(
        "zookeeper",
        System::Zookeeper,
        Protocol::Zookeeper,
        Door::Only,
        "ZooKeeper's lock recipe (3 nodes)",
    ),
    contestant(
        "consul",
        System::Consul,
        Protocol::Consul,
        Door::Only,
        "Consul's sessions and KV, asked at the leader (3 servers)",
    ),
    contestant(
        "dapr",
        System::Dapr,
        Protocol::Dapr,
        Door::Only,
        "Dapr's lock through a daprd, on Redis without persistence",
    ),
    contestant(
        "echo",
        System::Echo,
        Protocol::Echo,
        Door::Only,
        "two requests of the same sizes to a bare axum server: the limit of local HTTP",
    ),
];

/// The contestant of this name.
pub fn named(name: &str) -> Option<Contestant> {
    CONTESTANTS.iter().copied().find(|one| one.name == name)
}

/// Something that runs.
#[async_trait]
pub trait Running: Send + Sync {
    /// Where to speak to it.
    fn url(&self, door: Door) -> String;

    /// Its processes by role.
    fn processes(&self) -> Vec<(&'static str, u32)>;

    /// What it says of its version.
    fn version(&self) -> String;

    /// Its own counters, by process; empty where there are none.
    async fn counters(&self) -> Vec<(&'static str, BTreeMap<String, f64>)> {
        Vec::new()
    }
}

/// What runs at the moment. Whatever it holds ends with it.
pub struct Field {
    binaries: Binaries,
    running: BTreeMap<System, Box<dyn Running>>,
    /// Why some do not run.
    absent: BTreeMap<System, String>,
}

impl Field {
    pub fn new(binaries: Binaries) -> Self {
        Self {
            binaries,
            running: BTreeMap::new(),
            absent: BTreeMap::new(),
        }
    }

    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Starts what is needed for this contestant. The error says why it cannot be had.
    pub async fn ready(&mut self, one: Contestant) -> Result<(), String> {
        if let Some(reason) = self.absent.get(&one.system) {
            return Err(reason.clone());
        }
        if self.running.contains_key(&one.system) {
            return Ok(());
        }
        match start(one.system, &self.binaries).await {
            Ok(running) => {
                self.running.insert(one.system, running);
                Ok(())
            }
            Err(error) => {
                let reason = format!("{error:#}");
                self.absent.insert(one.system, reason.clone());
                Err(reason)
            }
        }
    }

    /// A system that is ready.
    pub fn running(&self, one: Contestant) -> &dyn Running {
        let running = self.running.get(&one.system);
        running.expect("`ready` was asked before").as_ref()
    }

    /// Where a system that is ready is spoken to.
    pub fn target(&self, one: Contestant) -> Target {
        Target {
            protocol: one.protocol,
            urls: vec![self.running(one).url(one.door)],
        }
    }

    /// Ends all of them.
    pub fn clear(&mut self) {
        self.running.clear();
    }
}

async fn start(system: System, binaries: &Binaries) -> anyhow::Result<Box<dyn Running>> {
    let built = &binaries.built;
    Ok(match system {
        System::Sidelock => Box::new(sidelock::Pair::start(&binaries.sidelock).await?),
        System::Etcd => Box::new(etcd::start(built).await?),
        System::Redis => Box::new(redis::Redis::start(false).await?),
        System::RedisAlways => Box::new(redis::Redis::start(true).await?),
        System::Zookeeper => Box::new(zookeeper::start().await?),
        System::Consul => Box::new(consul::start(built).await?),
        System::Dapr => Box::new(dapr::Dapr::start(built).await?),
        System::Echo => Box::new(echo::Echo::start().await?),
    })
}

/// A folder that goes away with its guard.
pub fn scratch(name: &str) -> anyhow::Result<tempfile::TempDir> {
    let prefix = format!("lockbench-{name}-");
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

/// A program of Debian's, or one that `peers/install` has built; the error says why it is not there.
fn program(built: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let Some(built) = built else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(name));
        let found = found.into_iter().find(|path| path.is_file());
        return found.ok_or_else(|| anyhow::anyhow!("{name} is not installed"));
    };
    let path = built.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let reason = std::fs::read_to_string(built.join(format!("{name}.absent")));
    Err(anyhow::anyhow!(match reason {
        Ok(reason) => reason.trim().to_owned(),
        Err(_) => format!("{name} is not installed"),
    }))
}
