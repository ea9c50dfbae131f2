//! Snapshots: built from a pinned view while apply goes on, checked whole before anything is installed.
//! In: the state of one moment, or chunks from a leader. Out: one durable file a shard.
//! Never: a half-written file under a final name, or a snapshot newer than the state on this disk.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::codec;
use super::keys;
use super::snapshot_file::{self, Draft, SnapshotDir};
use super::storage::{Disk, StorageError, read_error, read_sealed};
use super::types::{Snapshot, SnapshotFile, SnapshotMeta, TypeConfig};
use crate::table::id::ShardId;
use crate::telemetry::core::Count;
use crate::wire::disk;
use crate::world::engine::{Reader, Space};

pub use super::snapshot_file::Incoming;

/// A shard's current snapshot, shared by its machine and the builder.
#[derive(Clone)]
pub(super) struct Current {
    dir: SnapshotDir,
    snapshot: Arc<Mutex<Option<Snapshot>>>,
}

impl Current {
    /// Finds the newest snapshot that is not newer than the state, checks it, and removes the others.
    pub fn open(dir: &Path, shard: ShardId, applied: u64) -> Result<Self, StorageError> {
        let dir = SnapshotDir::new(dir, shard);
        let snapshot = dir.load(applied)?;
        Ok(Self {
            dir,
            snapshot: Arc::new(Mutex::new(snapshot)),
        })
    }

    /// The current snapshot.
    pub fn get(&self) -> Option<Snapshot> {
        let current = self.snapshot.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes this the current one, unless a newer one was installed meanwhile. The state that it was
    /// made of, or installed as, must be durable.
    pub fn publish(&self, meta: SnapshotMeta, file: SnapshotFile) -> io::Result<Snapshot> {
        let mut current = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newer) = &*current
            && newer.meta.last_log_id > meta.last_log_id
        {
            return Ok(newer.clone());
        }
        let snapshot = file.publish(&self.dir, &meta)?;
        let snapshot = Snapshot { meta, snapshot };
        *current = Some(snapshot.clone());
        Ok(snapshot)
    }
}

/// Writes the snapshot of the moment at which it was made.
pub struct Builder {
    disk: Arc<Disk>,
    current: Current,
    /// What the pinned thread has written; taken once.
    draft: Option<oneshot::Receiver<io::Result<(SnapshotMeta, SnapshotFile)>>>,
}

impl Builder {
    /// Fixes the state of this moment. What is written is read by a thread of its own.
    pub(super) fn start(disk: &Arc<Disk>, shard: ShardId, current: &Current) -> io::Result<Self> {
        let (sender, draft) = oneshot::channel();
        let draft_file = current.dir.draft()?;
        disk.engine().pin(Box::new(move |view| {
            let result = write(view, shard, draft_file, &|| sender.is_closed());
            // Whoever no longer waits has no use for it.
            sender.send(result).ok();
        }))?;
        Ok(Self {
            disk: Arc::clone(disk),
            current: current.clone(),
            draft: Some(draft),
        })
    }

    /// A builder that can only fail, where a trait demands one.
    pub(super) fn failed(disk: &Arc<Disk>, current: &Current, error: io::Error) -> Self {
        let (sender, draft) = oneshot::channel();
        sender.send(Err(error)).ok();
        Self {
            disk: Arc::clone(disk),
            current: current.clone(),
            draft: Some(draft),
        }
    }
}

impl openraft::RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let built = self.build().await;
        if let Some(instruments) = self.disk.looking.get() {
            instruments.count(match &built {
                Ok(_) => Count::Snapshot,
                Err(_) => Count::SnapshotFailure,
            });
        }
        if let Err(error) = &built {
            tracing::error!(%error, "no snapshot could be built: the log goes on growing");
        }
        built
    }
}

impl Builder {
    async fn build(&mut self) -> Result<Snapshot, io::Error> {
        let draft = self.draft.take();
        let draft = draft.ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        let (meta, file) = draft.await.map_err(io::Error::other)??;
        // State is written unsynced: without this a crash could leave the snapshot, and the purge
        // that follows on it, without the state that they stand for.
        self.disk.flusher.durable().await?;
        self.current.publish(meta, file)
    }
}

/// Writes all of a shard's state, as `view` has it, into the draft.
fn write(
    view: &dyn Reader,
    shard: ShardId,
    mut draft: Draft,
    given_up: &dyn Fn() -> bool,
) -> io::Result<(SnapshotMeta, SnapshotFile)> {
    let what = format!("the applied mark of shard {shard}");
    let applied = read_sealed::<disk::Applied>(view, Space::State, &keys::applied(shard), &what)?;
    let applied = codec::applied_from_proto(applied.unwrap_or_default());
    let (last_log_id, last_membership) = applied.map_err(io::Error::other)?;
    let meta = SnapshotMeta {
        last_log_id,
        last_membership,
    };
    draft.meta(&meta)?;
    let (from, to) = keys::objects(shard);
    let mut outcome = Ok(());
    view.scan(Space::State, &from, &to, &mut |key, value| {
        outcome = match (given_up(), keys::unseal(key, value)) {
            (true, _) => Err(io::Error::other("nobody waits for the snapshot")),
            (false, Err(error)) => {
                let what = format!("the state of shard {shard} at key {key:02x?}");
                Err(StorageError::damaged(what, error.to_string()).into())
            }
            (false, Ok(_)) => draft.record(&key[keys::SHARD_BYTES..], value),
        };
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })
    .map_err(|error| read_error("the state", error))?;
    outcome?;
    Ok((meta, draft.finish()?))
}

/// What a snapshot holds: keys with their shard, and values as stored, each checked.
pub(super) type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads and checks a whole snapshot, apart from what else goes on.
pub(super) async fn read_all(
    disk: &Disk,
    shard: ShardId,
    snapshot: SnapshotFile,
) -> io::Result<(SnapshotMeta, Records)> {
    let (sender, receiver) = oneshot::channel();
    disk.engine().aside(Box::new(move || {
        let mut records = Vec::new();
        let read = snapshot_file::read(&snapshot, &mut |key, value| {
            let mut whole = shard.0.to_be_bytes().to_vec();
            whole.extend_from_slice(key);
            keys::unseal(&whole, value)?;
            records.push((whole, value.to_vec()));
            Ok(())
        });
        // If the receiver is gone, the group has stopped.
        sender.send(read.map(|meta| (meta, records))).ok();
    }))?;
    let read = receiver.await.map_err(io::Error::other)?;
    read.map_err(io::Error::from)
}
