//! One node's disk: opens it, hands out its parts, and says when it has failed.
//! In: a data directory. Out: the log store and the machine of each shard, and the identity.
//! Never: a retried fsync, or an answer about a write that may not be there after a crash.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use super::flusher::{Flusher, SyncThread};
use super::identity::{self, Identity};
use super::keys;
use super::log::LogStore;
use super::machine::{Machine, TableView};
use super::rocks::Rocks;
use super::snapshot_file::{Incoming, SnapshotDir};
use crate::table::id::ShardId;
use crate::telemetry::core::Instruments;
use crate::world::engine::{Engine, Reader, Space, Syncer, WriteBatch};

/// Why a data directory cannot be used. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The directory or a file in it cannot be reached.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which file or directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process; every core needs a data directory of its own")]
    InUse {
        /// The directory.
        path: String,
    },
    /// Stored bytes are not what was written.
    #[error(
        "{what} is damaged: {detail}. Do not repair it by hand: stop this node, empty its data \
         directory, and admit the new disk with `sidelock cluster replace`"
    )]
    Damaged {
        /// The file, or the key.
        what: String,
        /// How it shows.
        detail: String,
    },
}

impl StorageError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.display().to_string();
        Self::Io { path, source }
    }

    pub(super) fn in_use(dir: &Path) -> Self {
        let path = dir.display().to_string();
        Self::InUse { path }
    }

    pub(super) fn damaged(what: impl Into<String>, detail: impl Into<String>) -> Self {
        let (what, detail) = (what.into(), detail.into());
        Self::Damaged { what, detail }
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io { source, .. } => source,
            StorageError::InUse { .. } => Self::other(error),
            StorageError::Damaged { .. } => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// An open data directory. It is exclusively locked until the last clone, log store and machine are
/// dropped.
#[derive(Clone)]
pub struct Storage(Arc<Disk>);

/// Whoever looks at a storage, once there is one.
pub(super) type Looking = Arc<OnceLock<Arc<Instruments>>>;

/// What the parts of a storage share.
pub(super) struct Disk {
    pub dir: PathBuf,
    pub flusher: Flusher,
    pub looking: Looking,
    identity: Mutex<Identity>,
}

impl Storage {
    /// Opens or makes the data directory. Blocks: it replays the write-ahead log. Fails if another
    /// process has it, or if anything read in it is damaged.
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        let engine = Arc::new(Rocks::open(&dir.join("db"))?);
        // A new directory must not vanish with the power, and with it a vote.
        for made in [Some(dir), dir.parent()].into_iter().flatten() {
            let path = if made.as_os_str().is_empty() {
                Path::new(".")
            } else {
                made
            };
            let synced = File::open(path).and_then(|directory| directory.sync_all());
            synced.map_err(|source| StorageError::io(path, source))?;
        }
        Self::open_on(dir, engine)
    }

    /// As [`Storage::open`], on an engine of the caller's: for fault injection.
    /// Snapshots are still files below `dir`.
    pub fn open_on(dir: &Path, engine: Arc<dyn Engine>) -> Result<Self, StorageError> {
        let looking = Looking::default();
        let syncer = SyncThread::start(Arc::clone(&engine), Arc::clone(&looking));
        let syncer = syncer.map_err(|source| StorageError::io(dir, source))?;
        Self::open_with(dir, engine, Arc::new(syncer), looking)
    }

    /// As [`Storage::open_on`], with syncs of the caller's too: for simulation, without any thread.
    pub fn open_synced_by(
        dir: &Path,
        engine: Arc<dyn Engine>,
        syncer: Arc<dyn Syncer>,
    ) -> Result<Self, StorageError> {
        Self::open_with(dir, engine, syncer, Looking::default())
    }

    fn open_with(
        dir: &Path,
        engine: Arc<dyn Engine>,
        syncer: Arc<dyn Syncer>,
        looking: Looking,
    ) -> Result<Self, StorageError> {
        let identity = identity::load_or_make(&*engine, dir)?;
        let flusher = Flusher::new(engine, syncer);
        Ok(Self(Arc::new(Disk {
            dir: dir.to_owned(),
            flusher,
            looking,
            identity: Mutex::new(identity),
        })))
    }

    /// From now on its syncs and snapshots are measured here.
    pub fn be_seen_by(&self, instruments: Arc<Instruments>) {
        self.0.looking.get_or_init(|| instruments);
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The log of a shard. Ask once: each has its own cache. Blocks: it reads the whole log, and fails
    /// if an entry is missing or damaged.
    pub fn log_store(&self, shard: ShardId) -> Result<LogStore, StorageError> {
        LogStore::open(Arc::clone(&self.0), shard)
    }

    /// The state machine of a shard, and the view that others read its table by. Ask once. Blocks: it
    /// loads the whole table, and fails if an object of it is damaged.
    pub fn machine(&self, shard: ShardId) -> Result<(Machine, TableView), StorageError> {
        Machine::open(Arc::clone(&self.0), shard)
    }

    /// A file for the snapshot that a leader is about to send.
    pub fn receive_snapshot(&self, shard: ShardId) -> io::Result<Incoming> {
        SnapshotDir::new(&self.0.dir, shard).receive()
    }

    /// Who this disk is.
    pub fn identity(&self) -> Identity {
        let identity = self.0.identity.lock();
        identity.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Binds this disk to a place, a cell and a Raft id; durable on return. Fails if the disk id is
    /// another, or as the disk does.
    pub async fn set_identity(&self, identity: Identity) -> io::Result<()> {
        if identity.disk != self.identity().disk {
            return Err(io::Error::other("a data directory keeps its disk id"));
        }
        self.0.flusher.write(&identity::record(&identity))?;
        self.0.flusher.durable().await?;
        let mut current = self
            .0
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = identity;
        Ok(())
    }

    /// Becomes `Some(reason)` when a write or an fsync has failed. From then on every write fails, and
    /// the node has to stop: what is on the disk is known only after a restart.
    pub fn failed(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.0.flusher.failed()
    }
}

impl Disk {
    /// The engine, for reads.
    pub fn engine(&self) -> &dyn Engine {
        self.flusher.engine()
    }
}

/// Reads a sealed message; `what` names it for people.
pub(super) fn read_sealed<M: prost::Message + Default>(
    reader: &(impl Reader + ?Sized),
    space: Space,
    key: &[u8],
    what: &str,
) -> Result<Option<M>, StorageError> {
    let value = reader.get(space, key);
    let value = value.map_err(|error| read_error(what, error))?;
    value.map(|value| unsealed(key, &value, what)).transpose()
}

/// The message of a sealed value; `what` names it for people.
pub(super) fn unsealed<M: prost::Message + Default>(
    key: &[u8],
    value: &[u8],
    what: &str,
) -> Result<M, StorageError> {
    let message = keys::unseal(key, value);
    let message = message.map_err(|error| StorageError::damaged(what, error.to_string()))?;
    M::decode(message).map_err(|error| StorageError::damaged(what, error.to_string()))
}

/// An error of a read: damage if the engine says so.
pub(super) fn read_error(what: &str, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::InvalidData => StorageError::damaged(what, error.to_string()),
        _ => StorageError::Io {
            path: what.to_owned(),
            source: error,
        },
    }
}

/// Adds a sealed put.
pub(super) fn put_sealed(
    batch: &mut WriteBatch,
    space: Space,
    key: Vec<u8>,
    message: &impl prost::Message,
) {
    let value = keys::seal(&key, &message.encode_to_vec());
    batch.put(space, key, value);
}
