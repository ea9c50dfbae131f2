//! A node's metrics at the moment of a scrape.
//! In: the group, the table, the disk, the clocks, read when asked. Out: the node's instruments, up to date.
//! Never: a long walk under the table's lock.

use std::sync::{Arc, Mutex, PoisonError};

use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::watch;

use super::clock_rate::ClockRate;
use super::group::Group;
use super::membership::Members;
use super::overview::progress;
use super::service::{Shard, Shards};
use super::storage::Storage;
use crate::table::id::ShardId;
use crate::telemetry::core::{Instruments, Standing};
use crate::telemetry::registry::Registry;
use crate::tls::credentials::Credentials;
use crate::world::clock::{BootClock, Clock, RawClock};

/// What the metrics are read from. Clones read the same.
#[derive(Clone)]
pub struct Measured {
    /// What is counted while it happens.
    instruments: Arc<Instruments>,
    /// The disk.
    storage: Storage,
    /// What this node serves; nothing before it belongs to a cell.
    shards: Shards,
    /// Who is in the cell, once there is one.
    members: watch::Receiver<Option<Members>>,
    /// Our certificate, if there is one.
    credentials: Option<Credentials>,
    /// The clock of leases beside the raw one.
    clock_rate: Arc<Mutex<ClockRate>>,
}

impl Measured {
    /// Nothing has been read yet.
    pub fn new(
        instruments: &Arc<Instruments>,
        storage: &Storage,
        shards: &Shards,
        members: &watch::Receiver<Option<Members>>,
        credentials: Option<Credentials>,
    ) -> Self {
        Self {
            instruments: Arc::clone(instruments),
            storage: storage.clone(),
            shards: shards.clone(),
            members: members.clone(),
            credentials,
            clock_rate: Arc::default(),
        }
    }

    /// All instruments as they stand now.
    pub fn now(&self) -> &Registry {
        let shard = self.shards.get(ShardId(0));
        let mut standing = Standing::default();
        let flag = |yes: bool| f64::from(u8::from(yes));
        let mut set = |name, value| standing.readings.push((name, value));
        set("sidelock_core_formed", flag(shard.is_some()));
        set(
            "sidelock_storage_failed",
            flag(self.storage.failed().borrow().is_some()),
        );
        self.read_clocks();
        let rate = self
            .clock_rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        set("sidelock_clock_rate_error_ppm", rate.error_ppm());
        drop(rate);
        if let Ok(disk) = rustix::fs::statvfs(self.storage.dir()) {
            set(
                "sidelock_disk_free_bytes",
                count(disk.f_bavail.saturating_mul(disk.f_frsize)),
            );
            set(
                "sidelock_disk_size_bytes",
                count(disk.f_blocks.saturating_mul(disk.f_frsize)),
            );
        }
        if let Some(shard) = shard {
            group(shard.group(), &mut standing);
            table(&shard, &mut standing);
            let members = self.members.borrow().clone();
            replicas(shard.group(), members.as_ref(), &mut standing);
            self.instruments.stalled(shard.stalls());
        }
        let credentials = self.credentials.as_ref();
        standing.certificate = credentials.and_then(Credentials::seconds_left);
        self.instruments.stands(&standing);
        self.instruments.registry()
    }

    /// Takes a reading of both clocks; to be called every few seconds.
    pub fn read_clocks(&self) {
        let mut rate = self
            .clock_rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        rate.read(BootClock.now(), RawClock.now());
    }
}

fn group(group: &Group, standing: &mut Standing) {
    let now = progress(group);
    let leadership = group.leadership().borrow().clone();
    standing.readings.extend([
        ("sidelock_raft_term", count(now.term)),
        (
            "sidelock_raft_leader_known",
            f64::from(u8::from(leadership.leader.is_some())),
        ),
        (
            "sidelock_raft_serving",
            f64::from(u8::from(leadership.serving)),
        ),
        ("sidelock_raft_last_index", count(now.last)),
        ("sidelock_raft_committed_index", count(now.committed)),
        ("sidelock_raft_applied_index", count(now.applied)),
        ("sidelock_raft_snapshot_index", count(now.snapshot)),
        ("sidelock_raft_purged_index", count(now.purged)),
        ("sidelock_raft_lag_entries", count(now.lag())),
        (
            "sidelock_raft_voters",
            count(group.raft().voter_ids().count() as u64),
        ),
        (
            "sidelock_raft_learners",
            count(group.raft().learner_ids().count() as u64),
        ),
    ]);
}

fn table(shard: &Shard, standing: &mut Standing) {
    let eyes = shard.eyes();
    let (sizes, oldest) = shard
        .group()
        .table()
        .read(|table, _| (table.sizes(), eyes.oldest_recall(table)));
    standing.queued = sizes.waiting as u64;
    standing.granted = (sizes.claims - sizes.waiting) as u64;
    standing.readings.extend([
        ("sidelock_locks", count(sizes.locks as u64)),
        ("sidelock_core_delegations", count(sizes.delegations as u64)),
        ("sidelock_sessions", count(sizes.sessions as u64)),
        ("sidelock_recall_oldest_seconds", oldest.as_secs_f64()),
    ]);
}

/// Only a leader knows what the others have.
fn replicas(group: &Group, members: Option<&Members>, standing: &mut Standing) {
    let last = group.raft().metrics().borrow_watched().last_log_index;
    let last = last.unwrap_or(0);
    let others = members.map(Members::standings).unwrap_or_default();
    let others = others.into_iter().filter(|node| node.id != group.id());
    let lags =
        others.filter_map(|node| Some((node.member.place, last.saturating_sub(node.matched?))));
    standing.replica_lag = lags.collect();
}

#[expect(
    clippy::cast_precision_loss,
    reason = "indexes and bytes stay below 2^53"
)]
fn count(number: u64) -> f64 {
    number as f64
}
