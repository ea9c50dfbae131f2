//! Those who take locks: one small trait, and a file for each way to speak to a peer.
//! In: where a peer is, the lock that is wanted. Out: what is held, or how it was refused.
//! Never: a retry that the peer's own clients would not make, or a number that is not the peer's.

mod consul;
mod dapr;
mod echo;
mod etcd_gateway;
mod etcd_grpc;
pub mod http;
mod redis;
pub mod session;
mod sidelock;
mod zookeeper;

use async_trait::async_trait;
use clap::ValueEnum;
use rand::Rng;
use std::time::Duration;

pub use self::sidelock::body;

/// How long a client waits for a lock that others hold, before it gives up.
pub const WAIT: Duration = Duration::from_secs(10);
/// Leases outlive every run, so that nobody has to renew in the middle of one.
pub const LEASE: Duration = Duration::from_secs(3600);

/// How to speak to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// A sidecar's HTTP, over TCP or a Unix socket.
    Sidelock,
    /// etcd's JSON gateway, with a lease for each worker.
    EtcdGateway,
    /// etcd's gRPC lock, with a lease for each worker.
    EtcdGrpc,
    /// The same without a lease of one's own: the server grants one each time.
    EtcdGrpcLeaseless,
    /// `SET NX PX`, and compare-and-delete by script.
    Redis,
    /// The lock recipe: an ephemeral sequential node.
    Zookeeper,
    /// A session, and KV acquire and release.
    Consul,
    /// The lock building block of a daprd.
    Dapr,
    /// Two requests of the same sizes, sent back.
    Echo,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    pub lock: &'a str,
    pub shape: Shape,
}

/// How the lock is wanted. Only Sidelock is asked for more than the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Exclusive,
    /// Beside other readers.
    Shared,
    /// One permit of so many.
    Permit(u32),
    /// So many locks at once, named after the first.
    Several(u32),
}

/// A lock in hand: what the peer wants to see at the release.
#[derive(Debug, Clone)]
pub struct Held(pub String);

/// Why there is no lock.
#[derive(Debug)]
pub enum Failure {
    /// The peer said no, in its own word.
    Refused(String),
    /// It did not answer, or not in its protocol.
    Broken(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// One who takes locks, one at a time, over a connection of its own.
#[async_trait]
pub trait Client: Send {
    /// Takes the lock; waits for it as the peer's clients do.
    async fn acquire(&mut self, want: Want<'_>) -> Result<Held, Failure>;

    /// Gives it back.
    async fn release(&mut self, held: &Held) -> Result<(), Failure>;
}

/// A client of the peer at this address.
pub async fn connect(protocol: Protocol, url: &str) -> anyhow::Result<Box<dyn Client>> {
    Ok(match protocol {
        Protocol::Sidelock => Box::new(sidelock::Sidelock::connect(url).await?),
        Protocol::EtcdGateway => Box::new(etcd_gateway::EtcdGateway::connect(url).await?),
        Protocol::EtcdGrpc => Box::new(etcd_grpc::EtcdGrpc::connect(url, true).await?),
        Protocol::EtcdGrpcLeaseless => Box::new(etcd_grpc::EtcdGrpc::connect(url, false).await?),
        Protocol::Redis => Box::new(redis::Redis::connect(url).await?),
        Protocol::Zookeeper => Box::new(zookeeper::Zookeeper::connect(url).await?),
        Protocol::Consul => Box::new(consul::Consul::connect(url).await?),
        Protocol::Dapr => Box::new(dapr::Dapr::connect(url).await?),
        Protocol::Echo => Box::new(echo::Echo::connect(url).await?),
    })
}

/// For peers without a queue: when to ask again, with full jitter.
pub(crate) struct Patience {
    left: Duration,
}

impl Patience {
    /// Between two attempts, at most.
    const PAUSE_MAX: Duration = Duration::from_millis(10);

    pub(crate) fn new() -> Self {
        Self { left: WAIT }
    }

    /// Waits until the next attempt, or has waited long enough.
    pub(crate) async fn pause(&mut self) -> Result<(), Failure> {
        let pause = Self::PAUSE_MAX.mul_f64(rand::rng().random_range(0.0..1.0));
        let left = self.left.checked_sub(pause);
        self.left = left.ok_or_else(|| Failure::Refused("wait-timeout".to_owned()))?;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// A name that no other worker and no other run has.
pub(crate) fn unique() -> String {
    format!("{:016x}", rand::rng().random::<u64>())
}
