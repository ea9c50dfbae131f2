//! One Raft group: starts it, proposes to it, confirms that it leads, stops it.
//! In: batches of table commands. Out: their replies in order, and who leads.
//! Never: a retry; whether an entry whose answer was lost took effect, only the table can tell.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::network::{NetSnapshot, RaftNetworkFactory};
use openraft::{Instant as _, LinearizerOption, ReadPolicy, ServerState, SnapshotPolicy};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

use super::machine::{Machine, TableView};
use super::storage::{Storage, StorageError};
use super::types::{Batch, Member, SnapshotFile, TypeConfig};
use crate::table::command::{Command, Reply};
use crate::table::id::ShardId;
use crate::telemetry::traces::Trail;

/// Longest that a proposal waits for its entry to be applied, before its outcome is called unknown.
pub const PROPOSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest that a read waits for a quorum to confirm that this node still leads.
pub const READ_WAIT_MAX: Duration = Duration::from_secs(2);
/// Entries in one append. The log reader bounds their bytes besides.
const APPEND_ENTRIES_MAX: u64 = 512;
/// Purging in large steps keeps the range tombstones few.
const PURGE_ENTRIES_MAX: u64 = 10_000;
/// A snapshot is streamed and installed within this, or started again.
const SNAPSHOT_WAIT_MS: u64 = 120_000;

/// How fast a group notices that its leader is gone.
///
/// A follower stands for election once `election_max` (the leader's lease) and a random time of
/// `election_min..election_max` have passed without a heartbeat. Lower values elect sooner and
/// mistake a loaded machine for a dead one more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Least random delay of an election; more than twice the heartbeat.
    pub election_min: Duration,
    /// Most random delay of an election, and the leader's lease.
    pub election_max: Duration,
}

impl Default for Timings {
    /// 0.7 s of lease and then 0.4 to 0.7 s: a survivor stands about 1.2 s after a `kill -9`.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(700),
        }
    }
}

/// How much of the log is kept, in entries; each is a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Between two snapshots. More makes snapshots rarer and a restart's replay no longer, since the
    /// state is on disk anyway; it costs disk.
    pub snapshot_every: u64,
    /// Behind a snapshot, so that a node that was away for a short while needs none.
    pub keep: u64,
}

impl Default for Retention {
    /// Some minutes of full load.
    fn default() -> Self {
        Self {
            snapshot_every: 100_000,
            keep: 20_000,
        }
    }
}

/// Who leads, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// Raft id and addresses of the leader, if one is known.
    pub leader: Option<(u64, Member)>,
    /// The current term.
    pub term: u64,
    /// This node leads, has applied an entry of its term, and a quorum heard it within its lease.
    pub serving: bool,
    /// No quorum has been heard of here for at least so long.
    pub silent: Duration,
    /// All members, voters or not.
    pub members: Roll,
}

/// The members as of an index of the log: Raft id and `HOST:PORT` of the gRPC of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// Where the log says so; nowhere before the cell has formed.
    pub index: Option<u64>,
    /// The members.
    pub nodes: Vec<(u64, String)>,
}

/// Why a proposal has no replies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was done: this node does not lead, or no quorum has heard it lately.
    #[error("this node does not lead the shard")]
    NotLeader,
    /// It may or may not have been applied, or may be yet. Propose the same again: it applies once.
    #[error("the outcome of the proposal is unknown")]
    Unknown,
    /// Nothing more will be done: the group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(Arc<str>),
}

/// Why a linearizable read cannot be served here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask the leader.
    #[error("this node does not lead the shard")]
    NotLeader,
    /// No quorum confirmed within [`READ_WAIT_MAX`] that this node leads.
    #[error("no quorum confirmed that this node leads")]
    NoQuorum,
    /// The group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(Arc<str>),
}

/// Why a group does not start.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The timings contradict each other.
    #[error("timings: {0}")]
    Timings(#[from] openraft::ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log or the state cannot be read.
    #[error("raft: {0}")]
    Raft(Box<Fatal<TypeConfig>>),
}

/// A running Raft group. Clones share it.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    shard: ShardId,
    id: u64,
    raft: openraft::Raft<TypeConfig, Machine>,
    table: TableView,
    leadership: watch::Receiver<Leadership>,
}

impl Group {
    /// Builds the group on its storage; [`Group::run`] starts it. The caller spawns the future, which
    /// keeps [`Group::leadership`] up to date until the group stops.
    ///
    /// # Errors
    /// If the timings are inconsistent or the stored log cannot be read.
    pub async fn build<N>(
        id: u64,
        shard: ShardId,
        timings: Timings,
        retention: Retention,
        storage: &Storage,
        network: N,
    ) -> Result<(Self, BoxFuture<'static, ()>), GroupError>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: NetSnapshot<TypeConfig, SnapshotData = SnapshotFile>,
    {
        let (machine, table) = storage.machine(shard)?;
        let config = Arc::new(config(shard, timings, retention).validate()?);
        let raft = openraft::Raft::build(id, config, network, storage.log_store(shard)?, machine)
            .await
            .map_err(|fatal| GroupError::Raft(Box::new(fatal)))?;
        let (sender, leadership) = watch::channel(Leadership::default());
        let watcher = watch_leadership(raft.clone(), sender, timings.election_max);
        let inner = Inner {
            shard,
            id,
            raft,
            table,
            leadership,
        };
        Ok((Self(Arc::new(inner)), Box::pin(watcher)))
    }

    /// Starts to take part: from now on it may vote, store and lead.
    pub fn run(&self) {
        self.0.raft.run();
    }

    /// Proposes commands as one entry and gives their replies, in order, once it is applied here.
    ///
    /// # Errors
    /// See [`ProposeError`]; only `NotLeader` says that nothing happened. Dropping the future leaves
    /// the outcome unknown.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Reply>, ProposeError> {
        self.propose_traced(commands, &Arc::default()).await
    }

    /// The same, below a span.
    ///
    /// # Errors
    /// As [`Group::propose`].
    pub async fn propose_traced(
        &self,
        commands: Vec<Command>,
        trail: &Arc<Trail>,
    ) -> Result<Vec<Reply>, ProposeError> {
        if let Err(fatal) = &self.0.raft.metrics().borrow_watched().running_state {
            return Err(ProposeError::Stopped(why(fatal)));
        }
        let count = commands.len();
        let _committing = trail.child("raft.commit", None);
        let write = self.0.raft.client_write(Batch::new(commands).traced(trail));
        let response = match timeout(PROPOSE_WAIT_MAX, write).await {
            Err(_elapsed) => return Err(ProposeError::Unknown),
            Ok(Ok(response)) => response,
            Ok(Err(RaftError::Fatal(fatal))) => {
                // The entry may have reached the log before the group stopped.
                tracing::error!(%fatal, "the group stopped while an entry was proposed");
                return Err(ProposeError::Unknown);
            }
            Ok(Err(RaftError::APIError(error))) => return Err(refused(error)),
        };
        let replies = response.data.0;
        assert_eq!(
            replies.len(),
            count,
            "the machine answers each command of an entry"
        );
        Ok(replies)
    }

    /// After `Ok`, [`Group::table`] reflects everything acknowledged anywhere before this call.
    ///
    /// # Errors
    /// See [`ReadError`]. It takes at most [`READ_WAIT_MAX`].
    pub async fn read_index(&self) -> Result<(), ReadError> {
        let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(READ_WAIT_MAX);
        let confirmed = async {
            let linearizer = self
                .0
                .raft
                .get_read_linearizer(option)
                .await
                .map_err(unreadable)?;
            linearizer
                .await_ready(&self.0.raft)
                .await
                .map_err(|fatal| ReadError::Stopped(why(&fatal)))
        };
        match timeout(READ_WAIT_MAX, confirmed).await {
            Err(_elapsed) => Err(ReadError::NoQuorum),
            Ok(Ok(_state)) => Ok(()),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Who leads; changes are seen at once.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// The table as applied on this node.
    pub fn table(&self) -> &TableView {
        &self.0.table
    }

    /// Which shard this group serves.
    pub fn shard(&self) -> ShardId {
        self.0.shard
    }

    /// The Raft id of this node.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Stops taking part. Proposals that wait end with an unknown outcome.
    pub async fn stop(&self) {
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::warn!(%error, "the group did not stop cleanly");
        }
    }

    /// Resolves with the reason when the group stops by itself, as after a storage failure.
    pub async fn stopped(&self) -> Arc<str> {
        let metrics = self.0.raft.metrics();
        // Changes rarely, and ends with the engine; the whole metrics change with every entry.
        let mut server = self.0.raft.server_metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return why(fatal);
            }
            if server.changed().await.is_err() {
                let last = metrics.borrow_watched();
                return match &last.running_state {
                    Err(fatal) => why(fatal),
                    Ok(()) => "the group ended".into(),
                };
            }
        }
    }

    /// The engine itself, for the network, for membership changes and for simulation.
    pub fn raft(&self) -> &openraft::Raft<TypeConfig, Machine> {
        &self.0.raft
    }
}

fn config(shard: ShardId, timings: Timings, retention: Retention) -> openraft::Config {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    openraft::Config {
        cluster_name: format!("shard {shard}"),
        heartbeat_interval: millis(timings.heartbeat),
        heartbeat_min_interval: Some(millis(timings.heartbeat)),
        election_timeout_min: millis(timings.election_min),
        election_timeout_max: millis(timings.election_max),
        // A node that was cut off must not raise the term of a healthy cell when it is back.
        enable_pre_vote: Some(true),
        // A restarted leader must win an election: its table may be behind what it once committed.
        enable_leader_restore: Some(false),
        // A log that went back to empty is a lost disk: `cluster replace`, never a silent resync.
        allow_log_reversion: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(retention.snapshot_every),
        replication_lag_threshold: 2 * retention.snapshot_every,
        max_in_snapshot_log_to_keep: retention.keep,
        purge_batch_size: retention.keep.clamp(1, PURGE_ENTRIES_MAX),
        max_payload_entries: APPEND_ENTRIES_MAX,
        install_snapshot_timeout: SNAPSHOT_WAIT_MS,
        backoff: "50ms 100ms 200ms ...1s".into(),
        ..openraft::Config::default()
    }
}

fn refused(error: ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(_) => ProposeError::NotLeader,
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown,
        // Neither is an answer to a normal entry; nothing was appended.
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            ProposeError::NotLeader
        }
    }
}

fn unreadable(error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> ReadError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(_)) => ReadError::NotLeader,
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadError::NoQuorum,
        RaftError::Fatal(fatal) => ReadError::Stopped(why(&fatal)),
    }
}

fn why(fatal: &Fatal<TypeConfig>) -> Arc<str> {
    fatal.to_string().into()
}

/// Follows the engine's metrics and tells of leadership when it changes. Ends with the group.
///
/// The metrics alone go on naming a leader that has died, until another is elected; so every now and
/// then this asks the engine when it last heard of one.
async fn watch_leadership(
    raft: openraft::Raft<TypeConfig, Machine>,
    sender: watch::Sender<Leadership>,
    lease: Duration,
) {
    let mut metrics = raft.metrics();
    let mut server = raft.server_metrics();
    let mut probe = tokio::time::interval(lease / 2);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = true;
    loop {
        let server_now = server.borrow_watched().clone();
        let now = observe(&server_now, &metrics.borrow_watched(), lease, silent);
        let rises = server_now.state == ServerState::Leader && !now.serving;
        sender.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                let leader = now.leader.as_ref().map_or(0, |(id, _)| *id);
                tracing::info!(leader, term = now.term, serving = now.serving, "leadership");
                *known = now;
            }
            changed
        });
        tokio::select! {
            changed = server.changed() => match changed {
                Ok(()) => silent &= server.borrow_watched().vote.leader_id.term == server_now.vote.leader_id.term,
                Err(_ended) => break,
            },
            // The whole metrics change with every entry: they are followed only by a leader that has yet
            // to apply an entry of its term.
            changed = metrics.changed(), if rises => {
                if changed.is_err() {
                    break;
                }
            }
            _ = probe.tick() => {
                let heard = raft.with_raft_state(|state| state.vote_last_modified()).await;
                let Ok(heard) = heard else { break };
                silent = heard.is_none_or(|at| at.elapsed() > 2 * lease);
            }
        }
    }
    sender.send_replace(Leadership::default());
}

/// What the metrics say of leadership; `silent` if no other leader has been heard of lately.
fn observe(
    server: &openraft::metrics::RaftServerMetrics<TypeConfig>,
    metrics: &openraft::RaftMetrics<TypeConfig>,
    lease: Duration,
    silent: bool,
) -> Leadership {
    let term = server.vote.leader_id.term;
    let membership = server.membership_config.membership();
    let leads = server.state == ServerState::Leader && metrics.running_state.is_ok();
    // The table then holds all that earlier terms committed, so its answers are not stale.
    let own_term = metrics.last_applied.as_ref().map(|id| id.leader_id.term) == Some(term);
    // The only voter is its own quorum; nobody else acknowledges anything, ever.
    let heard = if leads && membership.voter_ids().all(|id| id == server.id) {
        Some(Duration::ZERO)
    } else {
        metrics.last_quorum_acked.as_ref().map(|at| at.elapsed())
    };
    let in_time = |age: Duration| age < lease;
    // A leader that no quorum has answered for its lease may have been replaced.
    let stands = if leads {
        heard.is_none_or(in_time)
    } else {
        !silent
    };
    let leader = server.current_leader.filter(|_| stands).and_then(|id| {
        let member = membership.get_node(&id)?;
        Some((id, member.clone()))
    });
    let nodes = membership
        .nodes()
        .map(|(id, member)| (*id, member.grpc.clone()));
    let index = server.membership_config.log_id().as_ref();
    Leadership {
        leader,
        term,
        members: Roll {
            index: index.map(|id| id.index),
            nodes: nodes.collect(),
        },
        serving: leads && own_term && heard.is_some_and(in_time),
        silent: if stands { Duration::ZERO } else { lease },
    }
}
