//! `Engine` on RocksDB: one database a node, three column families, each option with its why.
//! In: batches, syncs, reads. Out: the same, durable. Never: a recovery that guesses; see `wal.rs`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRawIterator, DBRecoveryMode, Options, ReadOptions, SnapshotWithThreadMode,
};

use super::storage::StorageError;
use super::wal;
use crate::world::engine::{Change, Engine, PinnedWork, Reader, Space, Visit, Work, WriteBatch};

const MIB: usize = 1 << 20;
/// Blocks read from SST files. Reads are rare (start, lagging followers), so little is enough.
const BLOCK_CACHE_BYTES: usize = 16 * MIB;
/// All memtables together; beyond it the largest is flushed. Bounds the memory of a busy node.
const MEMTABLES_BYTES_MAX: usize = 64 * MIB;
/// Log entries mostly die young: the larger this, the more are purged before they reach an SST.
const LOG_MEMTABLE_BYTES: usize = 32 * MIB;
/// State objects are overwritten often; a larger memtable saves little after that.
const STATE_MEMTABLE_BYTES: usize = 16 * MIB;
/// The meta space holds a handful of keys.
const META_MEMTABLE_BYTES: usize = MIB;
/// A rarely flushed column family pins old WAL files; past this RocksDB flushes it. Also bounds what a
/// start has to replay.
const WAL_BYTES_MAX: u64 = 128 * MIB as u64;
/// File descriptors for SST files.
const OPEN_FILES_MAX: i32 = 256;
/// Practically never: a stalled append would stall heartbeats, and so cost the leadership.
const NO_STALL: i32 = 1 << 30;

/// The engine of a real node.
pub struct Rocks {
    opened: Arc<Opened>,
    /// All writes up to this RocksDB sequence number are durable. Stamped into every later write, so
    /// that recovery can tell a lost synced write from a torn tail.
    synced: AtomicU64,
}

/// The database, and the lock that keeps other processes out while it is open.
struct Opened {
    db: DB,
    _lock: File,
}

impl Rocks {
    /// Opens or makes the database in `dir`. Cuts a torn tail of the write-ahead log; refuses any
    /// other damage. Blocks while it replays.
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        std::fs::create_dir_all(dir).map_err(|source| StorageError::io(dir, source))?;
        // RocksDB takes its own lock only when it opens, but the tail is cut before that.
        let lock = wal::lock(dir)?;
        wal::check_and_cut(dir)?;
        let families = [
            (Space::Log, LOG_MEMTABLE_BYTES),
            (Space::Meta, META_MEMTABLE_BYTES),
            (Space::State, STATE_MEMTABLE_BYTES),
        ];
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families = families.map(|(space, memtable)| {
            ColumnFamilyDescriptor::new(name(space), family_options(space, memtable, &cache))
        });
        let db = DB::open_cf_descriptors(&database_options(), dir, families)
            .map_err(|error| open_error(dir, &error))?;
        Ok(Self {
            opened: Arc::new(Opened { db, _lock: lock }),
            synced: AtomicU64::new(0),
        })
    }
}

impl Reader for Rocks {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.opened
            .db
            .get_cf(family(&self.opened.db, space), key)
            .map_err(io_error)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        let options = scan_options(to);
        let iterator = self
            .opened
            .db
            .raw_iterator_cf_opt(family(&self.opened.db, space), options);
        walk(iterator, from, visit)
    }
}

impl Engine for Rocks {
    fn write(&self, batch: &WriteBatch) -> io::Result<()> {
        let mut writes = rocksdb::WriteBatch::default();
        for change in &batch.0 {
            match change {
                Change::Put { space, key, value } => {
                    writes.put_cf(family(&self.opened.db, *space), key, value);
                }
                Change::Delete { space, key } => {
                    writes.delete_cf(family(&self.opened.db, *space), key)
                }
                Change::DeleteRange { space, from, to } => {
                    writes.delete_range_cf(family(&self.opened.db, *space), from, to);
                }
            }
        }
        writes.put_log_data(wal::synced_mark(self.synced.load(Ordering::Acquire)));
        self.opened.db.write(writes).map_err(io_error)
    }

    fn sync(&self) -> io::Result<()> {
        // Read before the sync: what is written meanwhile may not be covered by it.
        let upto = self.opened.db.latest_sequence_number();
        self.opened.db.flush_wal(true).map_err(io_error)?;
        self.synced.fetch_max(upto, Ordering::AcqRel);
        Ok(())
    }

    fn pin(&self, work: PinnedWork) -> io::Result<()> {
        let opened = Arc::clone(&self.opened);
        let (pinned, fixed) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("sidelock-pinned".into())
            .spawn(move || {
                let view = Pinned {
                    snapshot: opened.db.snapshot(),
                    db: &opened.db,
                };
                if pinned.send(()).is_ok() {
                    work(&view);
                }
            })?;
        fixed.recv().map_err(io::Error::other)
    }

    fn aside(&self, work: Work) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("sidelock-aside".into());
        thread.spawn(work).map(|_detached| ())
    }
}

/// The database as of one moment.
struct Pinned<'a> {
    snapshot: SnapshotWithThreadMode<'a, DB>,
    db: &'a DB,
}

impl Reader for Pinned<'_> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.snapshot
            .get_cf(family(self.db, space), key)
            .map_err(io_error)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        let iterator = self
            .snapshot
            .raw_iterator_cf_opt(family(self.db, space), scan_options(to));
        walk(iterator, from, visit)
    }
}

fn name(space: Space) -> &'static str {
    match space {
        Space::Log => "log",
        Space::Meta => "meta",
        Space::State => "sm",
    }
}

fn family(db: &DB, space: Space) -> &ColumnFamily {
    db.cf_handle(name(space))
        .expect("every space's column family is opened with the database")
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Whatever is torn was cut by `wal::check_and_cut`; all that is left must be whole.
    options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
    options.set_paranoid_checks(true);
    // A WAL file that vanished, or is shorter than when it was synced, stops the node.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    // Obsolete files are deleted in the background, not by whoever holds the last iterator.
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_keep_log_file_num(4);
    options
}

fn family_options(space: Space, memtable_bytes: usize, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(memtable_bytes);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    match space {
        Space::Log => {
            options.set_max_write_buffer_number(4);
            // Short-lived and read once: compressing would only cost.
            options.set_compression_type(DBCompressionType::None);
            options.set_level_zero_slowdown_writes_trigger(NO_STALL);
            options.set_level_zero_stop_writes_trigger(NO_STALL);
            options.set_soft_pending_compaction_bytes_limit(0);
            options.set_hard_pending_compaction_bytes_limit(0);
        }
        Space::Meta => options.set_compression_type(DBCompressionType::None),
        Space::State => {
            options.set_compression_type(DBCompressionType::Lz4);
            blocks.set_bloom_filter(10.0, false);
        }
    }
    options.set_block_based_table_factory(&blocks);
    options
}

fn scan_options(to: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(to);
    // A scan reads each block once; it shall not push out what point reads use.
    options.fill_cache(false);
    options
}

fn walk(mut iterator: DBRawIterator<'_>, from: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
    iterator.seek(from);
    while let Some((key, value)) = iterator.item() {
        if visit(key, value).is_break() {
            return Ok(());
        }
        iterator.next();
    }
    iterator.status().map_err(io_error)
}

fn io_error(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.into_string())
}

fn open_error(dir: &Path, error: &rocksdb::Error) -> StorageError {
    let text = error.to_string();
    match error.kind() {
        rocksdb::ErrorKind::IOError if text.contains("LOCK") => StorageError::in_use(dir),
        rocksdb::ErrorKind::Corruption => StorageError::damaged(named_file(dir, &text), text),
        _ => StorageError::io(dir, io::Error::other(text)),
    }
}

/// The file that a message of RocksDB is about, or the whole directory.
fn named_file(dir: &Path, text: &str) -> String {
    let is_file = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or_default();
        name.ends_with(".sst") || name.ends_with(".log") || name.starts_with("MANIFEST")
    };
    let words = text.split(|c: char| c.is_whitespace() || c == ':' || c == '\'');
    match words
        .map(|w| w.trim_end_matches(['.', ',']))
        .find(|w| is_file(w))
    {
        Some(file) if file.starts_with('/') => file.to_owned(),
        Some(file) => PathBuf::from(dir).join(file).display().to_string(),
        None => dir.display().to_string(),
    }
}
