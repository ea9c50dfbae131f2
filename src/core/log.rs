//! Hop 7: the Raft log on the engine, with one fsync for all that gathered during the last one.
//! In: entries, votes, truncations, purges of one shard. Out: callbacks when durable; entries read back.
//! Never: a vote and an entry reordered, or a write acknowledged before its fsync.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::codec::{self, CodecError};
use super::entries::EntryCache;
use super::keys;
use super::storage::{Disk, StorageError, put_sealed, read_error, read_sealed, unsealed};
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::planted::{self, Bug};
use crate::table::id::ShardId;
use crate::wire::{disk, v1};
use crate::world::engine::{Space, WriteBatch};

/// Entries read in one go, in bytes as stored: what one append to a lagging follower may carry.
const READ_BYTES_MAX: usize = 1 << 20;

/// One shard's log. Its clones share the cache, and read.
#[derive(Clone)]
pub struct LogStore(Arc<Inner>);

struct Inner {
    disk: Arc<Disk>,
    shard: ShardId,
    /// Held for a few lines, never across an await or a read of the disk.
    state: Mutex<State>,
}

/// What of the log is kept in memory.
#[derive(Default)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// The last entry, or the last purged one.
    last: Option<LogId>,
    committed: Option<LogId>,
    /// Whether `committed` is newer than on disk: it goes with the next append, never on its own,
    /// since it may be lost; it only spares a restart some waiting.
    committed_is_news: bool,
    cache: EntryCache,
}

impl LogStore {
    /// Reads the whole log: every entry is there, in order, and as it was written.
    pub(super) fn open(disk: Arc<Disk>, shard: ShardId) -> Result<Self, StorageError> {
        let log_id = |key: Vec<u8>, what: &str| {
            let what = format!("the {what} of shard {shard} in {}", disk.dir.display());
            let stored = read_sealed::<v1::LogId>(disk.engine(), Space::Meta, &key, &what)?;
            Ok::<_, StorageError>(stored.as_ref().map(codec::log_id_from_proto))
        };
        let purged = log_id(keys::purged(shard), "purge mark")?;
        let committed = log_id(keys::committed(shard), "commit mark")?;
        let what = format!("the vote of shard {shard} in {}", disk.dir.display());
        let vote = read_sealed(disk.engine(), Space::Meta, &keys::vote(shard), &what)?;
        let mut state = State {
            vote: vote.as_ref().map(codec::vote_from_proto),
            purged,
            last: purged,
            committed,
            ..State::default()
        };
        read_all(&disk, shard, &mut state)?;
        Ok(Self(Arc::new(Inner {
            disk,
            shard,
            state: Mutex::new(state),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of `start..end`, all there are or, once `bytes_max` are read, at least one.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut next = start;
        while bytes < bytes_max {
            let (from, to) = {
                let state = self.state();
                let from = next.max(next_index(state.purged));
                let purged_meanwhile = from > next && !entries.is_empty();
                if from >= end || purged_meanwhile {
                    break;
                }
                let cached_from = state.cache.first_index().unwrap_or(u64::MAX);
                if from >= cached_from {
                    entries.extend(state.cache.range(from, end, bytes_max - bytes));
                    break;
                }
                (from, end.min(cached_from))
            };
            let (read, size) = self.read_engine(from, to, bytes_max - bytes)?;
            next = match read.last() {
                Some(last) => last.log_id.index + 1,
                // The log begins later.
                None if entries.is_empty() => to,
                None => break,
            };
            bytes += size;
            entries.extend(read);
        }
        Ok(entries)
    }

    fn read_engine(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<(Vec<Entry>, usize)> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        scan(&self.0.disk, self.0.shard, from, to, |entry, length| {
            let hole = entries
                .last()
                .is_some_and(|last| last.log_id.index + 1 != entry.log_id.index);
            if hole {
                return Err(hole_before(&self.0.disk, self.0.shard, &entry.log_id));
            }
            bytes += length;
            entries.push(entry);
            Ok(if bytes < bytes_max {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        Ok((entries, bytes))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX)
    }

    /// Read piece by piece, since a node that was away may have much to apply.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.clone();
        let pieces = stream::try_unfold(start, move |next| {
            let piece = log.read(next, end, READ_BYTES_MAX);
            async move {
                let piece = piece?;
                let Some(last) = piece.last().filter(|_| next < end) else {
                    return Ok(None);
                };
                let next = last.log_id.index + 1;
                Ok::<_, io::Error>(Some((stream::iter(piece).map(Ok), next)))
            }
        });
        pieces.try_flatten().boxed()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.state();
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = WriteBatch::default();
        let key = keys::vote(self.0.shard);
        put_sealed(&mut batch, Space::Meta, key, &codec::vote_to_proto(vote));
        self.0.disk.flusher.write(&batch)?;
        // Streams that replicate for an older leader shall end at once.
        self.state().vote = Some(*vote);
        if planted::is(Bug::VoteUnsynced) {
            return Ok(());
        }
        self.0.disk.flusher.durable().await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.state();
        if committed.is_some() {
            state.committed = committed;
            state.committed_is_news = true;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.state().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let shard = self.0.shard;
        let mut batch = WriteBatch::default();
        let mut written = Vec::new();
        for entry in entries {
            let key = keys::entry(shard, entry.log_id.index);
            let value = keys::seal(&key, &codec::entry_to_bytes(&entry));
            written.push((entry, value.len()));
            batch.put(Space::Log, key, value);
        }
        {
            let mut state = self.state();
            if let (true, Some(committed)) = (state.committed_is_news, state.committed) {
                let committed = codec::log_id_to_proto(&committed);
                put_sealed(&mut batch, Space::Meta, keys::committed(shard), &committed);
                state.committed_is_news = false;
            }
        }
        self.0.disk.flusher.write(&batch)?;
        {
            let mut state = self.state();
            for (entry, bytes) in written {
                state.last = Some(entry.log_id);
                state.cache.push(entry, bytes);
            }
        }
        if planted::is(Bug::EntryUnsynced) {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.0
            .disk
            .flusher
            .when_durable(move |result| callback.io_completed(result));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let shard = self.0.shard;
        let from = next_index(last);
        let mut batch = WriteBatch::default();
        batch.delete_range(Space::Log, keys::entry(shard, from), keys::all(shard).1);
        // Not synced here: whatever replaces the entries comes later in the same write-ahead log.
        self.0.disk.flusher.write(&batch)?;
        let mut state = self.state();
        if !planted::is(Bug::TruncatedStayCached) {
            state.cache.truncate(from);
        }
        state.last = state.last.min(last).max(state.purged);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let shard = self.0.shard;
        let from = next_index(self.state().purged);
        let mut batch = WriteBatch::default();
        let mark = codec::log_id_to_proto(&upto);
        put_sealed(&mut batch, Space::Meta, keys::purged(shard), &mark);
        let (from, to) = (keys::entry(shard, from), keys::entry(shard, upto.index + 1));
        batch.delete_range(Space::Log, from, to);
        // Not synced here: the snapshot that makes it safe was, before it was announced.
        self.0.disk.flusher.write(&batch)?;
        let mut state = self.state();
        state.purged = Some(upto);
        state.last = state.last.max(Some(upto));
        state.cache.purge(upto.index);
        Ok(())
    }
}

/// Checks the log from the purge mark to its end, and keeps its tail in the cache.
fn read_all(disk: &Disk, shard: ShardId, state: &mut State) -> Result<(), StorageError> {
    scan(disk, shard, 0, u64::MAX, |entry, bytes| {
        let log_id = entry.log_id;
        let out_of_order = state
            .last
            .is_some_and(|last| last.leader_id > log_id.leader_id);
        if log_id.index != next_index(state.last) || out_of_order {
            return Err(hole_before(disk, shard, &log_id));
        }
        state.last = Some(log_id);
        state.cache.push(entry, bytes);
        Ok(ControlFlow::Continue(()))
    })
}

/// Visits the entries of `from..to` with their size in bytes as stored.
fn scan(
    disk: &Disk,
    shard: ShardId,
    from: u64,
    to: u64,
    mut visit: impl FnMut(Entry, usize) -> Result<ControlFlow<()>, StorageError>,
) -> Result<(), StorageError> {
    let mut outcome = Ok(());
    let mut step = |key: &[u8], value: &[u8]| {
        let entry = parse(disk, shard, key, value);
        match entry.and_then(|entry| visit(entry, value.len())) {
            Ok(flow) => flow,
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        }
    };
    let to = match to {
        u64::MAX => keys::all(shard).1,
        to => keys::entry(shard, to),
    };
    let scanned = disk
        .engine()
        .scan(Space::Log, &keys::entry(shard, from), &to, &mut step);
    let what = format!("the log of shard {shard} in {}", disk.dir.display());
    outcome.and(scanned.map_err(|error| read_error(&what, error)))
}

fn parse(disk: &Disk, shard: ShardId, key: &[u8], value: &[u8]) -> Result<Entry, StorageError> {
    let index = keys::entry_index(key);
    let what = match index {
        Some(index) => format!(
            "log entry {index} of shard {shard} in {}",
            disk.dir.display()
        ),
        None => format!(
            "a key of the log of shard {shard} in {}",
            disk.dir.display()
        ),
    };
    let entry = unsealed::<disk::Entry>(key, value, &what)?;
    let entry = codec::entry_from_proto(entry)
        .map_err(|error: CodecError| StorageError::damaged(&what, error.to_string()))?;
    if index != Some(entry.log_id.index) {
        return Err(StorageError::damaged(what, "it is another entry"));
    }
    Ok(entry)
}

fn hole_before(disk: &Disk, shard: ShardId, log_id: &LogId) -> StorageError {
    StorageError::damaged(
        format!("the log of shard {shard} in {}", disk.dir.display()),
        format!("entry {log_id} does not follow on the one before it"),
    )
}

fn next_index(last: Option<LogId>) -> u64 {
    last.map_or(0, |id| id.index + 1)
}

/// A range as start and exclusive end.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}
