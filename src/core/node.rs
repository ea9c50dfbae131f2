//! A core node: opens its disk, listens, finds or founds its cell, and stops in good order.
//! In: [`Config`] and a clock. Out: a running node. Alone in the core it spawns tasks.
//! Never: a node that goes on after its disk has failed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::admin::{self, Admin};
use super::calls::Calls;
use super::doors::{self, Cells};
use super::formation::{Bound, Local};
use super::group::{Group, GroupError};
use super::membership::{ChangeError, Members};
use super::metrics::Measured;
use super::network::{Home, Network, Peers};
pub use super::node_config::{Config, StartError};
use super::node_config::{check_peers, check_reach, local_config};
use super::raft_service::Groups;
use super::service::{Shard, ShardOptions, Shards};
use super::storage::Storage;
use crate::config::limits;
use crate::table::id::ShardId;
use crate::telemetry::core::Instruments;
use crate::telemetry::push;
use crate::tls::accept::Accepting;
use crate::tls::connect::Connector;
use crate::world::clock::SharedClock;
use crate::world::listener;

/// Longest that a stopping node waits for its servers to end their calls.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Longest that a stopping leader waits for another node to lead.
const HAND_OVER_WAIT_MAX: Duration = Duration::from_secs(3);
/// How often the clocks are compared.
const CLOCKS_EVERY: Duration = Duration::from_secs(5);

/// A running node. Dropping it aborts its tasks; [`Node::shutdown`] stops it in good order.
pub struct Node {
    grpc: SocketAddr,
    http: SocketAddr,
    groups: Groups,
    members: watch::Receiver<Option<Members>>,
    stopped: watch::Receiver<Option<Arc<str>>>,
    closing: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Opens the data directory and listens. On return it answers; it serves once its cell has formed.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        check_reach(&config)?;
        check_peers(&config)?;
        let storage = open(config.data_dir.clone()).await?;
        let instruments = Arc::new(Instruments::default());
        storage.be_seen_by(Arc::clone(&instruments));
        let doors = open_doors(&config).await?;
        let (grpc, http) = (doors.grpc_at, doors.http_at);
        let local_config = local_config(&config, &storage, grpc, http)?;

        let groups = Groups::default();
        let shards = Shards::default();
        let access = config.access.clone();
        let channels = Peers::new(Connector::new(access.credentials.clone()));
        let local = Local::new(
            local_config,
            storage.clone(),
            groups.clone(),
            Calls::new(channels.clone()),
            clock.clone(),
        );
        let (members_sender, members) = watch::channel(None);
        let (stopped_sender, stopped) = watch::channel(None);
        let closing = CancellationToken::new();

        let measured = Measured::new(
            &instruments,
            &storage,
            &shards,
            &members,
            access.credentials.clone(),
        );
        let admin = Admin {
            groups: groups.clone(),
            shards: shards.clone(),
            access,
            local: local.clone(),
            members: members.clone(),
            measured: measured.clone(),
            closing: closing.clone(),
            pages: Arc::new(tokio::sync::Semaphore::new(limits::PAGES_MAX)),
        };
        let parts = Parts {
            config,
            clock,
            storage: storage.clone(),
            local: local.clone(),
            groups: groups.clone(),
            shards: shards.clone(),
            channels,
            members: members_sender,
            instruments,
        };
        let life = live_and_tell(parts, closing.clone(), stopped_sender);
        let cells = Cells {
            groups: groups.clone(),
            shards,
            storage,
            local,
        };
        let tasks = serve(doors, admin, cells, life);
        tracing::info!(%grpc, %http, "listening");
        Ok(Self {
            grpc,
            http,
            groups,
            members,
            stopped,
            closing,
            tasks,
        })
    }

    /// Where its gRPC listens.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc
    }

    /// Where its operator HTTP listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Resolves with the reason if the node stops by itself, as when its disk fails.
    pub async fn stopped(&self) -> Arc<str> {
        let mut stopped = self.stopped.clone();
        let why = match stopped.wait_for(Option::is_some).await {
            Ok(why) => why.clone(),
            Err(_ended) => None,
        };
        why.unwrap_or_else(|| "the node's task ended".into())
    }

    /// Hands the leadership over if it leads, ends its calls and stops. Takes some seconds at most.
    pub async fn shutdown(mut self) {
        let members = self.members.borrow().clone();
        if let Some(members) = members {
            match timeout(HAND_OVER_WAIT_MAX, members.transfer(None)).await {
                Err(_elapsed) => tracing::info!("stops although no other node leads yet"),
                Ok(Ok(())) => tracing::info!("handed the leadership over"),
                Ok(Err(ChangeError::NotLeader(_))) => {}
                Ok(Err(error)) => {
                    tracing::info!(%error, "stops without handing the leadership over")
                }
            }
        }
        self.closing.cancel();
        if let Some(group) = self.groups.get(ShardId(0)) {
            group.stop().await;
        }
        for mut task in std::mem::take(&mut self.tasks) {
            if timeout(DRAIN_WAIT_MAX, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.closing.cancel();
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the node's life needs.
struct Parts {
    config: Config,
    clock: SharedClock,
    storage: Storage,
    local: Local,
    groups: Groups,
    shards: Shards,
    channels: Peers,
    members: watch::Sender<Option<Members>>,
    instruments: Arc<Instruments>,
}

/// Lives, and says why it does not any more.
async fn live_and_tell(
    parts: Parts,
    stopping: CancellationToken,
    stopped: watch::Sender<Option<Arc<str>>>,
) {
    let why = live(parts).await;
    if !stopping.is_cancelled() {
        tracing::error!(%why, "the node stops");
    }
    stopped.send_replace(Some(why));
}

/// From an identity to the end; gives the reason of the end.
async fn live(parts: Parts) -> Arc<str> {
    let mut failed = parts.storage.failed();
    let running = async {
        let bound = parts.local.settle().await;
        match run_group(&parts, bound).await {
            Ok(why) => why,
            Err(error) => error.to_string().into(),
        }
    };
    tokio::select! {
        why = running => why,
        failure = failed.wait_for(Option::is_some) => match failure {
            Ok(why) => why.clone().unwrap_or_else(|| "the disk has failed".into()),
            Err(_ended) => "the storage ended".into(),
        },
    }
}

/// Starts the group and all that serves it, and waits for its end.
async fn run_group(parts: &Parts, bound: Bound) -> Result<Arc<str>, GroupError> {
    let shard = ShardId(0);
    let cluster_id: Arc<str> = bound.cluster_id.clone().into();
    let home = Home {
        cluster_id: Arc::clone(&cluster_id),
        shard,
        id: bound.raft_id,
    };
    let network = Network::new(home.clone(), parts.channels.clone());
    let timings = parts.config.timings;
    let (group, watcher) = Group::build(
        bound.raft_id,
        shard,
        timings,
        parts.config.retention,
        &parts.storage,
        network,
    )
    .await?;
    let options = ShardOptions {
        cluster_id: bound.cluster_id.clone(),
        breaks_allowed: parts.config.breaks_allowed,
    };
    let (served, tasks) = Shard::start(
        group.clone(),
        parts.clock.clone(),
        options,
        Arc::clone(&parts.instruments),
    );
    tracing::info!(
        cluster_id = bound.cluster_id,
        raft_id = bound.raft_id,
        "this disk is of a cell"
    );
    parts.shards.insert(served);
    parts.groups.insert(home, group.clone());
    let members = Members::new(group.clone(), parts.local.clone(), cluster_id);
    parts.members.send_replace(Some(members));
    group.run();
    let founded = async {
        parts.local.found(&group, &bound.cluster_id).await;
        std::future::pending::<()>().await;
    };
    // Aborted when this returns or is dropped.
    let mut spawned: JoinSet<()> = tasks.into_iter().chain([watcher]).collect();
    tokio::select! {
        why = group.stopped() => Ok(why),
        () = founded => Ok("unreachable: it never ends".into()),
        _ = spawned.join_next() => Ok("the group ended".into()),
    }
}

async fn open(dir: PathBuf) -> Result<Storage, StartError> {
    let opened = tokio::task::spawn_blocking(move || Storage::open(&dir)).await;
    // The task neither panics nor is it cancelled while this future lives.
    Ok(opened.expect("the opening task runs to its end")?)
}

/// Where a node listens.
struct Doors {
    grpc: Accepting,
    http: Accepting,
    grpc_at: SocketAddr,
    http_at: SocketAddr,
}

async fn open_doors(config: &Config) -> Result<Doors, StartError> {
    let grpc = listen(config.grpc).await?;
    let http = listen(config.http).await?;
    let unfit = |address| move |source| StartError::Listen { address, source };
    Ok(Doors {
        grpc_at: bound_address(&grpc, config.grpc)?,
        http_at: bound_address(&http, config.http)?,
        grpc: doors::grpc(grpc, &config.access).map_err(unfit(config.grpc))?,
        http: doors::http(http, &config.access).map_err(unfit(config.http))?,
    })
}

/// Starts all that a node does, each a task.
fn serve(
    doors: Doors,
    admin: Admin,
    cells: Cells,
    life: impl Future<Output = ()> + Send + 'static,
) -> Vec<JoinHandle<()>> {
    let (access, closing) = (admin.access.clone(), admin.closing.clone());
    let followed = closing.clone();
    let measured = measure(admin.measured.clone(), closing.clone());
    let router = admin::router(admin);
    vec![
        tokio::spawn(doors::serve_grpc(
            doors.grpc,
            closing.clone(),
            cells,
            access.clone(),
        )),
        tokio::spawn(doors::serve_http(doors.http, closing, router)),
        tokio::spawn(async move {
            tokio::select! {
                () = followed.cancelled() => {}
                () = access.follow() => {}
            }
        }),
        tokio::spawn(measured),
        tokio::spawn(life),
    ]
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = listener::bind(address).await;
    listener.map_err(|source| StartError::Listen { address, source })
}

fn bound_address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    let bound = listener.local_addr();
    bound.map_err(|source| StartError::Listen {
        address: asked,
        source,
    })
}

/// Reads the clocks, and sends the metrics to a collector if there is one.
async fn measure(measured: Measured, closing: CancellationToken) {
    let read = measured.clone();
    let pushing = push::run("core", Arc::new(move || read.now().messages()));
    let reading = async {
        loop {
            measured.read_clocks();
            tokio::time::sleep(CLOCKS_EVERY).await;
        }
    };
    tokio::select! {
        () = closing.cancelled() => {}
        () = async { tokio::join!(pushing, reading); } => {}
    }
}
