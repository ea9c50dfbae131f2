//! The store on a real disk: openraft's own suite, restarts, snapshots, and syncs that fail.

mod support;

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{RaftSnapshotBuilder, StorageError as RaftStorageError};
use sidelock::core::log::LogStore;
use sidelock::core::machine::Machine;
use sidelock::core::rocks::Rocks;
use sidelock::core::storage::{Storage, StorageError};
use sidelock::core::types::{SnapshotFile, TypeConfig};
use sidelock::world::engine::{
    Engine, PinnedWork, Reader, Space, Syncer, Visit, Waiter, Work, WriteBatch,
};
use support::{Workload, append, apply, bytes, entry, log_id, open, opened, read_all, run, vote};
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), RaftStorageError<TypeConfig>> {
        let dir = temporary();
        let opened = open(dir.path()).expect("an empty directory opens");
        Ok((dir, opened.log, opened.machine))
    }
}

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

#[test]
fn openraft_suite_passes() {
    TypeConfig::run(async { Suite::test_all(Builder).await }).expect("the suite passes");
}

#[tokio::test]
async fn a_restart_loads_the_state_and_replays_only_the_tail() {
    let dir = temporary();
    let mut workload = Workload::default();
    {
        let mut node = open(dir.path()).expect("opens");
        run(&mut node, &mut workload, 60).await;
        // A snapshot is read from the disk, so the state is written for it.
        snapshot_of(&mut node.machine).await;
        node.log.save_vote(&vote(3)).await.expect("is saved");
        let tail = (60..80).map(|index| entry(3, index, workload.next()));
        append(&mut node.log, tail.collect())
            .await
            .expect("durable");
    }
    let mut node = open(dir.path()).expect("opens again");
    let (table, index) = node.view.read(|table, index| (table.clone(), index));
    assert_eq!(index, 59);
    assert_eq!(table, Workload::after(60).table);
    let entries = read_all(&mut node.log).await;
    assert_eq!(entries.len(), 80);
    assert_eq!(node.log.read_vote().await.expect("readable"), Some(vote(3)));
    apply(&mut node.machine, entries[60..].to_vec())
        .await
        .expect("applies");
    assert_eq!(
        node.view.read(|table, _| bytes(table)),
        bytes(&workload.table)
    );
}

#[tokio::test]
async fn truncated_and_purged_entries_stay_gone_after_a_restart() {
    let dir = temporary();
    {
        let mut node = open(dir.path()).expect("opens");
        run(&mut node, &mut Workload::default(), 30).await;
        let last = Some(log_id(1, 24));
        node.log.truncate_after(last).await.expect("truncates");
        let other = entry(2, 25, Vec::new());
        append(&mut node.log, vec![other]).await.expect("durable");
        node.log.purge(log_id(1, 9)).await.expect("purges");
    }
    let mut node = open(dir.path()).expect("opens again");
    let ids: Vec<_> = read_all(&mut node.log).await;
    let ids: Vec<_> = ids.iter().map(|entry| entry.log_id).collect();
    let mut expected: Vec<_> = (10..25).map(|index| log_id(1, index)).collect();
    expected.push(log_id(2, 25));
    assert_eq!(ids, expected);
    let state = node.log.get_log_state().await.expect("readable");
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 9)));
    assert_eq!(state.last_log_id, Some(log_id(2, 25)));
}

#[tokio::test]
async fn reads_of_a_long_log_are_whole_and_bounded() {
    let dir = temporary();
    let mut node = open(dir.path()).expect("opens");
    // More than the cache holds, so that reads meet both the disk and the cache.
    for start in (0..10_000).step_by(500) {
        let entries = (start..start + 500).map(|index| entry(1, index, Vec::new()));
        append(&mut node.log, entries.collect())
            .await
            .expect("durable");
    }
    let all = read_all(&mut node.log).await;
    let indexes = all.iter().map(|entry| entry.log_id.index);
    assert!(indexes.eq(0..10_000));
    let some = node.log.limited_get_log_entries(1_700, 1_900).await;
    let some = some.expect("readable");
    assert_eq!(some.first().map(|entry| entry.log_id.index), Some(1_700));
    assert!(some.len() <= 200);
}

/// A snapshot, built of the machine's state now.
async fn snapshot_of(
    machine: &mut Machine,
) -> openraft::alias::SnapshotOf<TypeConfig, SnapshotFile> {
    let mut builder = machine
        .try_create_snapshot_builder(true)
        .await
        .expect("there is always a builder");
    builder.build_snapshot().await.expect("the disk takes it")
}

#[tokio::test]
async fn replay_and_snapshot_lead_to_the_same_bytes() {
    let (from, to) = (temporary(), temporary());
    let mut workload = Workload::default();
    let mut leader = open(from.path()).expect("opens");
    run(&mut leader, &mut workload, 100).await;

    // Pinned at entry 99; what is applied while it is being written is not in it.
    let mut builder = leader
        .machine
        .try_create_snapshot_builder(true)
        .await
        .expect("there is always a builder");
    run(&mut leader, &mut workload, 150).await;
    let snapshot = builder.build_snapshot().await.expect("builds");
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 99)));

    let follower = open(to.path()).expect("opens");
    let mut machine = follower.machine;
    let mut incoming = follower
        .storage
        .receive_snapshot(support::SHARD)
        .expect("a file");
    let mut chunk = [0; 1000];
    let mut offset = 0;
    loop {
        let read = snapshot
            .snapshot
            .read_at(offset, &mut chunk)
            .expect("readable");
        if read == 0 {
            break;
        }
        incoming.write(&chunk[..read]).expect("the disk takes it");
        offset += read as u64;
    }
    let file = incoming.finish().expect("it is whole");
    machine
        .install_snapshot(&snapshot.meta, file)
        .await
        .expect("installs");
    let (table, index) = follower.view.read(|table, index| (table.clone(), index));
    assert_eq!((&table, index), (&Workload::after(100).table, 99));

    let tail = read_all(&mut leader.log).await;
    apply(&mut machine, tail[100..].to_vec())
        .await
        .expect("applies");
    let replayed = leader.view.read(|table, _| bytes(table));
    assert_eq!(follower.view.read(|table, _| bytes(table)), replayed);
    assert_eq!(bytes(&workload.table), replayed);

    // And again from its disk.
    drop((machine, follower.view, follower.log, follower.storage));
    let mut follower = open(to.path()).expect("opens again");
    let installed = bytes(&Workload::after(100).table);
    assert_eq!(follower.view.read(|table, _| bytes(table)), installed);
    apply(&mut follower.machine, tail[100..].to_vec())
        .await
        .expect("applies");
    assert_eq!(follower.view.read(|table, _| bytes(table)), replayed);
    let current = follower.machine.get_current_snapshot().await;
    let current = current.expect("readable").expect("it is kept");
    assert_eq!(current.meta, snapshot.meta);
}

#[tokio::test]
async fn only_the_newest_snapshot_is_kept() {
    let dir = temporary();
    let mut workload = Workload::default();
    let mut node = open(dir.path()).expect("opens");
    run(&mut node, &mut workload, 20).await;
    let first = snapshot_of(&mut node.machine).await;
    run(&mut node, &mut workload, 40).await;
    let second = snapshot_of(&mut node.machine).await;
    assert!(!first.snapshot.path().exists());
    assert!(second.snapshot.path().exists());
    let mut begin = [0; 8];
    assert_eq!(
        first.snapshot.read_at(0, &mut begin).expect("still open"),
        8
    );
    assert_eq!(
        std::fs::read_dir(dir.path().join("snapshots/0"))
            .expect("there")
            .count(),
        1
    );
}

#[tokio::test]
async fn an_incoming_snapshot_that_is_not_whole_is_refused_and_leaves_nothing() {
    let dir = temporary();
    let mut node = open(dir.path()).expect("opens");
    run(&mut node, &mut Workload::default(), 50).await;
    let snapshot = snapshot_of(&mut node.machine).await;
    let mut whole = vec![0; snapshot.snapshot.bytes() as usize];
    snapshot.snapshot.read_at(0, &mut whole).expect("readable");
    for cut in [0, 7, 20, whole.len() / 2, whole.len() - 1] {
        let mut incoming = node
            .storage
            .receive_snapshot(support::SHARD)
            .expect("a file");
        incoming.write(&whole[..cut]).expect("the disk takes it");
        let error = incoming.finish().expect_err("it is cut");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
    assert_eq!(
        std::fs::read_dir(dir.path().join("snapshots/0"))
            .expect("there")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_data_directory_is_one_disk_of_one_process() {
    let dir = temporary();
    let node = Storage::open(dir.path()).expect("opens");
    let other = Storage::open(dir.path())
        .map(|_| ())
        .expect_err("it is in use");
    assert!(matches!(other, StorageError::InUse { .. }), "{other}");

    let mut identity = node.identity();
    assert_eq!(identity.raft_id, None);
    identity.place = Some(7);
    identity.cluster_id = Some("cell".into());
    identity.raft_id = Some(7 << 16 | 1);
    node.set_identity(identity.clone()).await.expect("is saved");
    let mut forged = identity.clone();
    forged.disk.0 ^= 1;
    node.set_identity(forged)
        .await
        .expect_err("the disk id stays");
    drop(node);
    assert_eq!(
        Storage::open(dir.path()).expect("opens").identity(),
        identity
    );
    assert_ne!(
        Storage::open(temporary().path())
            .expect("opens")
            .identity()
            .disk,
        identity.disk
    );
}

/// A disk whose fsync can be made to fail.
struct Faulty {
    inner: Rocks,
    broken: AtomicBool,
    syncs: AtomicU64,
}

impl Reader for Faulty {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.inner.get(space, key)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        self.inner.scan(space, from, to, visit)
    }
}

impl Engine for Faulty {
    fn write(&self, batch: &WriteBatch) -> io::Result<()> {
        self.inner.write(batch)
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        match self.broken.load(Ordering::SeqCst) {
            true => Err(io::Error::other("no space left on a device of a test")),
            false => self.inner.sync(),
        }
    }

    fn pin(&self, work: PinnedWork) -> io::Result<()> {
        self.inner.pin(work)
    }

    fn aside(&self, work: Work) -> io::Result<()> {
        self.inner.aside(work)
    }
}

#[tokio::test]
async fn a_failed_fsync_fails_what_waits_and_is_never_retried() {
    let dir = temporary();
    let engine = Arc::new(Faulty {
        inner: Rocks::open(&dir.path().join("db")).expect("opens"),
        broken: AtomicBool::new(false),
        syncs: AtomicU64::new(0),
    });
    let storage = Storage::open_on(dir.path(), Arc::clone(&engine) as Arc<dyn Engine>);
    let mut node = opened(storage.expect("opens")).expect("opens");
    run(&mut node, &mut Workload::default(), 5).await;
    let failed = node.storage.failed();
    assert_eq!(*failed.borrow(), None);

    engine.broken.store(true, Ordering::SeqCst);
    let before = engine.syncs.load(Ordering::SeqCst);
    let error = append(&mut node.log, vec![entry(1, 5, Vec::new())]).await;
    assert!(
        error
            .expect_err("not durable")
            .to_string()
            .contains("fsync failed")
    );
    assert!(failed.borrow().is_some());

    // The disk is well again, but what it lost in between nobody knows.
    engine.broken.store(false, Ordering::SeqCst);
    append(&mut node.log, vec![entry(1, 6, Vec::new())])
        .await
        .expect_err("failed for good");
    node.log
        .save_vote(&vote(9))
        .await
        .expect_err("failed for good");
    apply(&mut node.machine, vec![entry(1, 5, Vec::new())])
        .await
        .expect_err("failed for good");
    assert_eq!(engine.syncs.load(Ordering::SeqCst), before + 1);
    assert_eq!(node.log.read_vote().await.expect("readable"), None);
}

/// A disk that says that it has synced when the test wants it to.
#[derive(Default)]
struct Patient(Mutex<Vec<Waiter>>);

impl Syncer for Patient {
    fn when_durable(&self, waiter: Waiter) {
        self.0.lock().expect("no panic").push(waiter);
    }
}

#[tokio::test]
async fn a_vote_and_an_entry_wait_until_they_are_durable() {
    let dir = temporary();
    let engine = Arc::new(Rocks::open(&dir.path().join("db")).expect("opens"));
    let patient = Arc::new(Patient::default());
    let storage = Storage::open_synced_by(dir.path(), engine, patient.clone());
    let mut node = opened(storage.expect("opens")).expect("opens");
    let mut log = node.log.clone();
    let given = vote(3);
    let mut voted = Box::pin(log.save_vote(&given));
    assert!(futures::poll!(&mut voted).is_pending());
    let mut appended = Box::pin(append(&mut node.log, vec![entry(1, 0, Vec::new())]));
    assert!(futures::poll!(&mut appended).is_pending());
    for waiter in patient.0.lock().expect("no panic").drain(..) {
        waiter(Ok(()));
    }
    voted.await.expect("durable");
    appended.await.expect("durable");
}

#[tokio::test]
async fn one_fsync_serves_all_that_gathered() {
    let dir = temporary();
    let engine = Arc::new(Faulty {
        inner: Rocks::open(&dir.path().join("db")).expect("opens"),
        broken: AtomicBool::new(false),
        syncs: AtomicU64::new(0),
    });
    let storage = Storage::open_on(dir.path(), Arc::clone(&engine) as Arc<dyn Engine>);
    let node = opened(storage.expect("opens")).expect("opens");
    let before = engine.syncs.load(Ordering::SeqCst);
    let (sender, first) = TypeConfig::oneshot();
    let mut log = node.log;
    let callback = openraft::storage::IOFlushed::signal(sender);
    log.append([entry(1, 0, Vec::new())], callback)
        .await
        .expect("written");
    let mut waiting = vec![first];
    for index in 1..400 {
        let (sender, durable) = TypeConfig::oneshot();
        let callback = openraft::storage::IOFlushed::signal(sender);
        log.append([entry(1, index, Vec::new())], callback)
            .await
            .expect("written");
        waiting.push(durable);
    }
    for durable in waiting {
        durable.await.expect("called").expect("durable");
    }
    let syncs = engine.syncs.load(Ordering::SeqCst) - before;
    assert!(syncs < 400, "{syncs} syncs for 400 appends");
    let mut count = 0;
    let scanned = engine.scan(Space::Log, &[], &[0xff], &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    });
    scanned.expect("readable");
    assert_eq!(count, 400);
}
