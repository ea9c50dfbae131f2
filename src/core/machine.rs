//! Hop 8: feeds committed entries to the table and answers those who wait.
//! In: entries of one shard, in order. Out: replies, effects to the listener, batches to `Engine`.
//! Never: a clock, a dropped reply, or state on disk that is not of one moment.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use super::snapshot::{self, Builder, Current, Records};
use super::storage::{Disk, StorageError, put_sealed, read_error, read_sealed};
use super::types::{
    BatchReply, Entry, LogId, Snapshot, SnapshotFile, SnapshotMeta, StoredMembership, TypeConfig,
};
use super::{codec, keys};
use crate::planted::{self, Bug};
use crate::table::id::{Revision, Seq, SessionId, ShardId};
use crate::table::state::{Key, Object};
use crate::table::{Command, Effect, Table};
use crate::telemetry::names;
use crate::telemetry::traces::Trail;
use crate::wire::convert::disk as stored;
use crate::wire::disk;
use crate::world::engine::{Space, WriteBatch};

/// Changed objects that gather before they are written. The log holds every command, so state need
/// not be on disk before a reply: a restart replays what is not. Most objects live shorter than it
/// takes to gather these, and so are never written at all: a claim that came and went costs nothing.
/// More would make a write longer than a few milliseconds.
const DIRTY_MAX: usize = 2048;

/// Told of every applied entry, by the machine, under the table's lock and in log order. It must be
/// quick and must not call [`TableView::read`].
pub trait Listener: Send + Sync {
    /// An entry was applied; `table` is the state after it, `effects` its consequences in order.
    /// Called for entries without commands too, with no effects.
    fn applied(&self, table: &Table, index: u64, effects: &[Effect]);

    /// The whole table was put in place: at [`TableView::set_listener`], or by a snapshot. Drop all
    /// timers and start every session at full TTL.
    fn reloaded(&self, table: &Table);
}

/// One shard's table as applied here, for readers. Cheap to clone.
#[derive(Clone)]
pub struct TableView(Arc<Mutex<Shared>>);

struct Shared {
    table: Table,
    index: u64,
    listener: Option<Arc<dyn Listener>>,
}

impl TableView {
    /// Reads the table and the index last applied, under its lock: keep it short.
    pub fn read<R>(&self, f: impl FnOnce(&Table, u64) -> R) -> R {
        let shared = self.lock();
        f(&shared.table, shared.index)
    }

    /// Sets the listener, and calls its `reloaded` with the table as it stands.
    pub fn set_listener(&self, listener: Arc<dyn Listener>) {
        let mut shared = self.lock();
        listener.reloaded(&shared.table);
        shared.listener = Some(listener);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state machine of one shard.
pub struct Machine {
    disk: Arc<Disk>,
    shard: ShardId,
    view: TableView,
    applied: Option<LogId>,
    membership: StoredMembership,
    current: Current,
    written: Written,
}

/// What the last write held, as far as it tells which objects are on disk.
#[derive(Default)]
struct Written {
    /// History up to here is deleted.
    dropped: Revision,
    sessions: BTreeMap<SessionId, Seq>,
}

impl Written {
    fn of(table: &Table) -> Self {
        let sessions = table.sessions().map(|(id, session)| (id, session.seq));
        Self {
            dropped: Revision::default(),
            sessions: sessions.collect(),
        }
    }

    /// Follows what is written now.
    fn follow(&mut self, changed: &[(Key, Option<Object>)]) {
        for (key, object) in changed {
            match (key, object) {
                (Key::Session(id), Some(Object::Session(session))) => {
                    self.sessions.insert(*id, session.seq);
                }
                (Key::Session(id), None) => {
                    self.sessions.remove(id);
                }
                _ => {}
            }
        }
    }

    /// Whether an object that is gone may be on disk. One that came after the last write is not.
    fn may_hold(&self, key: &Key) -> bool {
        let came_before =
            |session, seq| self.sessions.get(&session).is_some_and(|last| seq <= *last);
        match key {
            Key::Reply(session, seq) => came_before(*session, *seq),
            Key::Claim(claim) | Key::Pledge(claim) => came_before(claim.session, claim.seq),
            // They are told of only while they are there; `history_dropped` is for the others.
            Key::History(_) => false,
            Key::Session(session) => self.sessions.contains_key(session),
            Key::Counters | Key::Lock(_) | Key::Policy(_) | Key::Order(..) => true,
        }
    }
}

impl Machine {
    /// Loads the table: a restart replays only what was applied after the last write that survived.
    pub(super) fn open(disk: Arc<Disk>, shard: ShardId) -> Result<(Self, TableView), StorageError> {
        let what = format!(
            "the applied mark of shard {shard} in {}",
            disk.dir.display()
        );
        let key = keys::applied(shard);
        let applied = read_sealed::<disk::Applied>(disk.engine(), Space::State, &key, &what)?;
        let applied = codec::applied_from_proto(applied.unwrap_or_default());
        let (applied, membership) =
            applied.map_err(|error| StorageError::damaged(what, error.to_string()))?;
        let what = format!("the state of shard {shard} in {}", disk.dir.display());
        let table = load(&what, &read_objects(&disk, shard, &what)?)?;
        let index = applied.map_or(0, |id| id.index);
        let current = Current::open(&disk.dir, shard, index)?;
        let written = Written::of(&table);
        let view = TableView(Arc::new(Mutex::new(Shared {
            table,
            index,
            listener: None,
        })));
        let machine = Self {
            disk,
            shard,
            view: view.clone(),
            applied,
            membership,
            current,
            written,
        };
        Ok((machine, view))
    }

    /// The reply to the entry, and how many changed objects have gathered.
    fn apply_entry(&mut self, entry: &Entry) -> (BatchReply, usize) {
        self.applied = Some(entry.log_id);
        let commands: &[Command] = match &entry.payload {
            EntryPayload::Blank => &[],
            EntryPayload::Normal(batch) => batch.commands(),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                &[]
            }
        };
        let index = entry.log_id.index;
        let _applying = applying(entry);
        let mut shared = self.view.lock();
        let mut replies = Vec::with_capacity(commands.len());
        let mut effects = Vec::new();
        for command in commands {
            let (reply, consequences) = shared.table.apply(index, command);
            replies.push(reply);
            effects.extend(consequences);
        }
        shared.index = index;
        if let Some(listener) = &shared.listener {
            listener.applied(&shared.table, index, &effects);
        }
        (BatchReply(replies), shared.table.changes_len())
    }

    /// Writes what has changed since the last call, in one batch with how far it goes.
    fn write(&mut self) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        let (changed, dropped) = {
            let mut shared = self.view.lock();
            let changes = shared.table.take_changes();
            let objects = changes.keys.into_iter().map(|key| {
                let object = shared.table.object(&key);
                (key, object)
            });
            let changed: Vec<(Key, Option<Object>)> = objects.collect();
            (changed, changes.history_dropped)
        };
        self.drop_history(&mut batch, dropped);
        for (key, object) in &changed {
            let stored_key = keys::object(self.shard, key);
            match object {
                Some(object) => {
                    let bytes = stored::object_to_bytes(key, object);
                    let value = keys::seal(&stored_key, &bytes);
                    batch.put(Space::State, stored_key, value);
                }
                None if self.written.may_hold(key) => batch.delete(Space::State, stored_key),
                None => {}
            }
        }
        self.written.follow(&changed);
        self.put_applied(&mut batch);
        // Unsynced: in the one write-ahead log it follows on its entries, so what survives a crash
        // is a state that these entries lead to, and the rest is replayed.
        self.disk.flusher.write(&batch)
    }

    /// One tombstone for all records that went since the last write.
    fn drop_history(&mut self, batch: &mut WriteBatch, dropped: Revision) {
        if dropped <= self.written.dropped {
            return;
        }
        let from = keys::object(self.shard, &Key::History(self.written.dropped));
        let to = keys::object(self.shard, &Key::History(Revision(dropped.0 + 1)));
        batch.delete_range(Space::State, from, to);
        self.written.dropped = dropped;
    }

    fn put_applied(&self, batch: &mut WriteBatch) {
        let applied = codec::applied_to_proto(self.applied, &self.membership);
        put_sealed(batch, Space::State, keys::applied(self.shard), &applied);
    }

    /// Puts a snapshot's state in the place of this one: all of it or, after a crash, none.
    async fn install(&mut self, meta: &SnapshotMeta, records: Records) -> io::Result<()> {
        let table = load("the snapshot", &records)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let mut batch = WriteBatch::default();
        let (from, to) = keys::all(self.shard);
        if !planted::is(Bug::InstallKeepsOld) {
            batch.delete_range(Space::State, from, to);
        }
        for (key, value) in records {
            batch.put(Space::State, key, value);
        }
        self.put_applied(&mut batch);
        self.disk.flusher.write(&batch)?;
        // Raft purges the log up to the snapshot next: by then it must not be lost any more.
        self.disk.flusher.durable().await?;
        self.written = Written::of(&table);
        let mut shared = self.view.lock();
        shared.table = table;
        shared.index = self.applied.map_or(0, |id| id.index);
        if let Some(listener) = &shared.listener {
            listener.reloaded(&shared.table);
        }
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            self.disk.flusher.check()?;
            let (reply, dirty) = self.apply_entry(&entry);
            if let Some(responder) = responder {
                responder.send(reply);
            }
            if dirty >= DIRTY_MAX {
                self.write()?;
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // The snapshot is read from the disk, and the log is purged up to it.
        let written = self.write();
        match written.and_then(|()| Builder::start(&self.disk, self.shard, &self.current)) {
            Ok(builder) => builder,
            Err(error) => Builder::failed(&self.disk, &self.current, error),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let (found, records) = snapshot::read_all(&self.disk, self.shard, snapshot.clone()).await?;
        if found != *meta {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the snapshot covers {found}, not {meta} as announced"),
            ));
        }
        self.install(meta, records).await?;
        self.current.publish(found, snapshot)?;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.current.get())
    }
}

/// The span of applying an entry, where it was proposed and is traced.
fn applying(entry: &Entry) -> Trail {
    let EntryPayload::Normal(batch) = &entry.payload else {
        return Trail::default();
    };
    let Some(of_entry) = batch.trail() else {
        return Trail::default();
    };
    let trail = of_entry.child("lock.apply", None);
    trail.set_number(names::LOCK_ENTRY_INDEX, entry.log_id.index);
    trail
}

fn read_objects(disk: &Disk, shard: ShardId, what: &str) -> Result<Records, StorageError> {
    let (from, to) = keys::objects(shard);
    let mut records = Records::new();
    let scanned = disk
        .engine()
        .scan(Space::State, &from, &to, &mut |key, value| {
            records.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        });
    scanned.map_err(|error| read_error(what, error))?;
    Ok(records)
}

/// The table of sealed objects.
fn load(what: &str, records: &Records) -> Result<Table, StorageError> {
    let objects = records.iter().map(|(key, value)| {
        let of = |error: &dyn std::fmt::Display| {
            StorageError::damaged(what, format!("key {key:02x?}: {error}"))
        };
        let parsed = keys::parse_object(key).ok_or_else(|| of(&"no key of a table"))?;
        let message = keys::unseal(key, value).map_err(|error| of(&error))?;
        let object = stored::object_from_bytes(&parsed, message).map_err(|error| of(&error))?;
        Ok((parsed, object))
    });
    let objects = objects.collect::<Result<Vec<_>, StorageError>>()?;
    Table::load(objects).map_err(|error| StorageError::damaged(what, error.to_string()))
}
