//! One node of the cell: the real group, the real shard, on a runtime whose time only the world advances.
//! In: the world's time, calls, streams. Out: calls, frames. Never: a thread, a socket, or real time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use rand::rngs::StdRng;
use sidelock::core::group::{Group, Retention, Timings};
use sidelock::core::network::Home;
use sidelock::core::raft_service::{Groups, RaftService};
use sidelock::core::service::{Shard, ShardOptions};
use sidelock::core::session::{Guest, SidecarStream};
use sidelock::core::storage::Storage;
use sidelock::core::types::Member;
use sidelock::table::Table;
use sidelock::table::id::ShardId;
use sidelock::wire::v1;
use sidelock::world::clock::{Clock, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Status;

use crate::disk::Disk;
use crate::wires::{Answer, Call, Calls, Network, Receiver};

pub const CELL: &str = "played";
/// So few that snapshots and purges happen all the time.
const RETENTION: Retention = Retention {
    snapshot_every: 60,
    keep: 10,
};

/// A clock that shows what the world says.
#[derive(Debug, Default)]
pub struct PlayedClock(AtomicU64);

impl Clock for PlayedClock {
    fn now(&self) -> Instant {
        Instant::from_boot(Duration::from_micros(self.0.load(Ordering::Relaxed)))
    }
}

/// A clock's way: when it began, and how much faster it goes than the world's, in parts per million.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub began_us: u64,
    pub faster_ppm: i64,
}

impl Pace {
    /// What it shows.
    pub fn at(self, now_us: u64) -> u64 {
        let now = i64::try_from(now_us).expect("a short run");
        self.began_us + (now + now * self.faster_ppm / 1_000_000).unsigned_abs()
    }
}

/// Frames for sidecars that the world has not taken yet: stream, frame; none when the stream has ended.
pub type Frames = Arc<Mutex<Vec<(StreamId, Option<v1::CoreFrame>)>>>;
/// Answers that the world has not taken yet, with the call and whom they are from.
pub type Answers = Arc<Mutex<Vec<(u64, tokio::sync::oneshot::Sender<Answer>, u64, Answer)>>>;

/// Which stream: of a pod, to a node, the how manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    pub pod: usize,
    pub node: usize,
    pub number: u64,
}

/// What all nodes give the world.
#[derive(Clone, Default)]
pub struct Outlets {
    pub calls: Calls,
    pub answers: Answers,
    pub frames: Frames,
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One node, up or down.
pub struct Node {
    pub member: Member,
    pub pace: Pace,
    /// It does nothing until then.
    pub paused_until: u64,
    /// Its fsyncs take long until then.
    pub slow_until: u64,
    /// Its next fsync fails.
    pub disk_dies: bool,
    pub disk: Disk,
    dir: TempDir,
    clock: Arc<PlayedClock>,
    outlets: Outlets,
    up: Option<Process>,
}

/// A running process.
struct Process {
    runtime: Runtime,
    running: Arc<Mutex<Option<Running>>>,
    failed: Arc<Mutex<Option<String>>>,
    /// Up to which moment of its own clock it has run, in milliseconds.
    played_ms: u64,
    stalled: bool,
}

/// What has come up in a process.
#[derive(Clone)]
pub struct Running {
    pub group: Group,
    pub shard: Shard,
    receiver: Arc<Receiver>,
}

impl Node {
    pub fn new(member: Member, pace: Pace, outlets: Outlets) -> Self {
        let shm = PathBuf::from("/dev/shm");
        let dir = if shm.is_dir() {
            TempDir::new_in(shm)
        } else {
            TempDir::new()
        };
        Self {
            member,
            pace,
            paused_until: 0,
            slow_until: 0,
            disk_dies: false,
            disk: Disk::default(),
            dir: dir.expect("a temporary directory can be made"),
            clock: Arc::default(),
            outlets,
            up: None,
        }
    }

    pub fn id(&self) -> u64 {
        self.member.raft_id()
    }

    pub fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// What runs, once the process has come so far.
    pub fn running(&self) -> Option<Running> {
        lock(&self.up.as_ref()?.running).clone()
    }

    pub fn serves(&self) -> bool {
        self.running()
            .is_some_and(|running| running.group.leadership().borrow().serving)
    }

    /// The table as applied here, with its index.
    pub fn table<R>(&self, read: impl FnOnce(&Table, u64) -> R) -> Option<R> {
        self.running()
            .map(|running| running.group.table().read(read))
    }

    /// Starts the process. The first node of a new cell gets its members.
    pub fn start(&mut self, now_us: u64, founders: Option<Vec<Member>>) {
        let local_us = self.pace.at(now_us);
        self.clock.0.store(local_us, Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be built");
        let (running, failed) = (Arc::default(), Arc::default());
        let storage = Storage::open_synced_by(
            self.dir.path(),
            Arc::new(self.disk.clone()),
            Arc::new(self.disk.clone()),
        );
        let storage = storage.expect("what was synced can be read");
        runtime.spawn(live(Life {
            member: self.member.clone(),
            storage,
            calls: self.outlets.calls.clone(),
            clock: Arc::clone(&self.clock),
            founders,
            running: Arc::clone(&running),
            failed: Arc::clone(&failed),
        }));
        self.up = Some(Process {
            runtime,
            running,
            failed,
            played_ms: local_us / 1_000,
            stalled: false,
        });
    }

    /// kill -9: the process is gone at once, and of its unsynced writes a prefix survives.
    pub fn crash(&mut self, dice: &mut StdRng) -> u64 {
        self.disk_dies = false;
        self.paused_until = 0;
        self.up = None;
        self.disk.crash(dice)
    }

    /// Lets the process run up to `now`. Gives why it has stopped by itself, if it has.
    pub fn play(&mut self, now_us: u64) -> Option<String> {
        let process = self.up.as_mut()?;
        if self.paused_until > now_us {
            process.stalled = true;
            return None;
        }
        let local_us = self.pace.at(now_us);
        self.clock.0.store(local_us, Ordering::Relaxed);
        let left = Duration::from_millis(local_us / 1_000 - process.played_ms);
        process.played_ms = local_us / 1_000;
        let stalled = std::mem::take(&mut process.stalled);
        process.runtime.block_on(async {
            if stalled {
                // The clock has gone on while nothing was done.
                tokio::time::advance(left).await;
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(left).await;
            }
        });
        lock(&process.failed).take()
    }

    /// Another node's call comes in. Without a process it goes nowhere, as does its answer.
    pub fn take(&self, call: Call, twice: bool) {
        let (Some(process), Some(running)) = (&self.up, self.running()) else {
            return; // dropped: the connection is refused
        };
        let own = self.id();
        let answers = Arc::clone(&self.outlets.answers);
        let receiver = running.receiver;
        process.runtime.spawn(async move {
            if twice {
                // Its answer is not heard.
                receiver.answer(call.method, &call.body).await.ok();
            }
            let answer = receiver.answer(call.method, &call.body).await;
            lock(&answers).push((own, call.answer, call.from, answer));
        });
    }

    /// A sidecar's stream comes in. What is sent into it is heard until it is dropped.
    pub fn open(
        &self,
        id: StreamId,
    ) -> Option<mpsc::UnboundedSender<Result<v1::SidecarFrame, Status>>> {
        let (process, running) = (self.up.as_ref()?, self.running()?);
        let (sender, incoming) = mpsc::unbounded();
        let out = Arc::clone(&self.outlets.frames);
        process.runtime.spawn(async move {
            let mut frames = SidecarStream::new(running.shard, Guest::default(), incoming).frames();
            while let Some(Ok(frame)) = frames.next().await {
                lock(&out).push((id, Some(frame)));
            }
            lock(&out).push((id, None));
        });
        Some(sender)
    }

    /// Something that an operator asks this node for; nobody waits for it.
    pub fn ask<F>(&self, work: impl FnOnce(Group) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let (Some(process), Some(running)) = (&self.up, self.running()) {
            process.runtime.spawn(work(running.group));
        }
    }
}

/// What a process begins with.
struct Life {
    member: Member,
    storage: Storage,
    calls: Calls,
    clock: Arc<PlayedClock>,
    founders: Option<Vec<Member>>,
    running: Arc<Mutex<Option<Running>>>,
    failed: Arc<Mutex<Option<String>>>,
}

/// As `core/node.rs` does, but for the servers.
async fn live(life: Life) {
    let failed = Arc::clone(&life.failed);
    let mut broken = life.storage.failed();
    let why = tokio::select! {
        biased;
        _ = broken.wait_for(Option::is_some) => String::from("the disk has failed"),
        why = run(life) => why,
    };
    *lock(&failed) = Some(why);
}

async fn run(life: Life) -> String {
    let shard = ShardId(0);
    let id = life.member.raft_id();
    let mut identity = life.storage.identity();
    if identity.raft_id.is_none() {
        identity.place = Some(life.member.place);
        identity.cluster_id = Some(CELL.into());
        identity.raft_id = Some(id);
        if let Err(error) = life.storage.set_identity(identity).await {
            return error.to_string();
        }
    }
    let home = Home {
        cluster_id: CELL.into(),
        shard,
        id,
    };
    let network = Network {
        home: home.clone(),
        calls: life.calls,
    };
    let built = Group::build(
        id,
        shard,
        Timings::default(),
        RETENTION,
        &life.storage,
        network,
    );
    let (group, watcher) = match built.await {
        Ok(built) => built,
        Err(error) => return format!("not built: {error}"),
    };
    let options = ShardOptions {
        cluster_id: CELL.into(),
        breaks_allowed: false,
    };
    let (served, tasks) = Shard::start(group.clone(), life.clock, options, Arc::default());
    let groups = Groups::default();
    groups.insert(home, group.clone());
    group.run();
    *lock(&life.running) = Some(Running {
        group: group.clone(),
        shard: served,
        receiver: Arc::new(Receiver {
            service: RaftService::new(groups.clone(), life.storage.clone()),
            groups,
            storage: life.storage,
        }),
    });
    let found = async {
        if let Some(members) = life.founders {
            let members = members.into_iter().map(|member| (member.raft_id(), member));
            let members: std::collections::BTreeMap<_, _> = members.collect();
            if group.raft().is_initialized().await.is_ok_and(|it| !it) {
                // If it fails it is tried again after the next restart.
                group.raft().initialize(members).await.ok();
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        why = group.stopped() => why.to_string(),
        _ = async { tokio::join!(watcher, futures::future::select_all(tasks), found) } => String::from("the group ended"),
    }
}
