//! Damage on the disk: a torn tail is cut, anything else stops the node with a text that says where.

mod support;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use openraft::RaftSnapshotBuilder;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use sidelock::core::keys;
use sidelock::core::rocks::Rocks;
use sidelock::core::storage::StorageError;
use sidelock::core::types::Entry;
use sidelock::world::engine::{Engine, Reader, Space, WriteBatch};
use support::{SHARD, Workload, append, bytes, entry, log_id, open, read_all, replay, run, vote};
use tempfile::TempDir;

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

/// A directory as a crash would leave it: copied while it is in use.
fn crashed(dir: &Path) -> TempDir {
    let copy = temporary();
    copy_all(dir, copy.path());
    copy
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("can be made");
    for file in fs::read_dir(from).expect("is there") {
        let file = file.expect("is there");
        let target = to.join(file.file_name());
        if file.file_type().expect("is there").is_dir() {
            copy_all(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).expect("can be copied");
        }
    }
}

/// The newest write-ahead log.
fn wal(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("db")).expect("is there");
    let logs = files.map(|file| file.expect("is there").path());
    let logs = logs.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.max().expect("there is one")
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("is there").len()
}

fn truncate(path: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.expect("is there").set_len(length).expect("can be cut");
}

fn overwrite(path: &Path, at: u64, change: impl FnOnce(&mut [u8]), count: usize) {
    let mut options = fs::OpenOptions::new();
    let mut file = options.read(true).write(true).open(path).expect("is there");
    let mut old = vec![0; count];
    file.seek(SeekFrom::Start(at)).expect("can seek");
    file.read_exact(&mut old).expect("is long enough");
    change(&mut old);
    file.seek(SeekFrom::Start(at)).expect("can seek");
    file.write_all(&old).expect("can be written");
}

fn flip(path: &Path, at: u64) {
    overwrite(path, at, |byte| byte[0] ^= 0x10, 1);
}

async fn refused(dir: &Path) -> String {
    match open(dir) {
        Ok(mut node) => {
            let last = read_all(&mut node.log).await.len();
            panic!("it opens with {last} entries, as if nothing were damaged");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(matches!(error, StorageError::Damaged { .. }), "{text}");
            assert!(text.contains("sidelock cluster replace"), "{text}");
            text
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_tears() {
    let dir = temporary();
    let mut node = open(dir.path()).expect("opens");
    run(&mut node, &mut Workload::default(), 20).await;
    let whole = length(&wal(dir.path()));
    append(&mut node.log, vec![entry(1, 20, Vec::new())])
        .await
        .expect("durable");
    let longer = length(&wal(dir.path()));
    for cut in whole..longer {
        let copy = crashed(dir.path());
        truncate(&wal(copy.path()), cut);
        let mut node = open(copy.path()).expect("a torn tail is no damage");
        assert_eq!(read_all(&mut node.log).await.len(), 20, "cut at {cut}");
        replay(&mut node).await;
        let table = node.view.read(|table, _| table.clone());
        assert_eq!(table, Workload::after(20).table);
        // It goes on where it was cut, and the cut is clean.
        append(&mut node.log, vec![entry(2, 20, Vec::new())])
            .await
            .expect("durable");
        drop(node);
        let mut node = open(copy.path()).expect("opens again");
        assert_eq!(read_all(&mut node.log).await.len(), 21);
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_middle_stops_the_node_and_names_the_file() {
    let dir = temporary();
    let mut node = open(dir.path()).expect("opens");
    run(&mut node, &mut Workload::default(), 30).await;
    let file = wal(dir.path());
    let name = file
        .file_name()
        .expect("it has one")
        .to_string_lossy()
        .into_owned();
    let end = length(&file);
    run(&mut node, &mut Workload::after(30), 60).await;
    for at in (0..end).step_by(97) {
        let copy = crashed(dir.path());
        flip(&wal(copy.path()), at);
        let text = refused(copy.path()).await;
        assert!(text.contains(&name), "{text}");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_record_is_told_from_a_torn_tail() {
    let dir = temporary();
    let mut node = open(dir.path()).expect("opens");
    run(&mut node, &mut Workload::default(), 10).await;
    let from = length(&wal(dir.path()));
    append(&mut node.log, vec![entry(1, 10, Vec::new())])
        .await
        .expect("durable");
    for at in from..length(&wal(dir.path())) {
        let copy = crashed(dir.path());
        flip(&wal(copy.path()), at);
        // The high byte of the length makes it reach beyond the end, but its checksum still tells.
        refused(copy.path()).await;
    }
}

/// Writes `n` big records through the engine alone; returns where each begins, and the end.
fn records(engine: &Rocks, dir: &Path, steps: &[bool]) -> Vec<u64> {
    let mut offsets = vec![length(&wal(dir))];
    for (n, sync) in steps.iter().enumerate() {
        let mut batch = WriteBatch::default();
        batch.put(Space::Meta, vec![n as u8], vec![n as u8 + 1; 3000]);
        engine.write(&batch).expect("is written");
        if *sync {
            engine.sync().expect("is synced");
        }
        offsets.push(length(&wal(dir)));
    }
    offsets
}

fn present(engine: &Rocks, steps: u8) -> Vec<bool> {
    let there = |n| engine.get(Space::Meta, &[n]).expect("readable").is_some();
    (0..steps).map(there).collect()
}

#[test]
fn a_hole_in_what_was_never_synced_is_cut() {
    let dir = temporary();
    let engine = Rocks::open(&dir.path().join("db")).expect("opens");
    let offsets = records(&engine, dir.path(), &[true, false, false]);
    let copy = crashed(dir.path());
    // A power failure may write later sectors and lose earlier ones.
    overwrite(
        &wal(copy.path()),
        offsets[1] + 600,
        |bytes| bytes.fill(0),
        1024,
    );
    let engine = Rocks::open(&copy.path().join("db")).expect("a torn tail is no damage");
    assert_eq!(present(&engine, 3), [true, false, false]);
}

#[test]
fn a_hole_in_what_was_synced_stops_the_node() {
    let dir = temporary();
    let engine = Rocks::open(&dir.path().join("db")).expect("opens");
    let offsets = records(&engine, dir.path(), &[true, true, false]);
    let copy = crashed(dir.path());
    overwrite(
        &wal(copy.path()),
        offsets[1] + 600,
        |bytes| bytes.fill(0),
        1024,
    );
    let error = Rocks::open(&copy.path().join("db"))
        .map(|_| ())
        .expect_err("damaged");
    assert!(error.to_string().contains("were synced"), "{error}");
}

#[test]
fn zeros_after_the_last_record_are_cut() {
    let dir = temporary();
    let engine = Rocks::open(&dir.path().join("db")).expect("opens");
    let offsets = records(&engine, dir.path(), &[true, false]);
    let copy = crashed(dir.path());
    truncate(&wal(copy.path()), offsets[1]);
    truncate(&wal(copy.path()), offsets[1] + 100_000);
    let engine = Rocks::open(&copy.path().join("db")).expect("a torn tail is no damage");
    assert_eq!(present(&engine, 2), [true, false]);
}

#[test]
fn records_over_several_blocks_are_read_and_cut_whole() {
    let dir = temporary();
    let engine = Rocks::open(&dir.path().join("db")).expect("opens");
    let big = |n: u8| {
        let mut batch = WriteBatch::default();
        batch.put(Space::Meta, vec![n], vec![n + 1; 100_000]);
        engine.write(&batch).expect("is written");
        engine.sync().expect("is synced");
        length(&wal(dir.path()))
    };
    let (first, second) = (big(0), big(1));
    let copy = crashed(dir.path());
    Rocks::open(&copy.path().join("db")).expect("whole records are no damage");
    for cut in [first + 1, first + 40_000, second - 1] {
        let copy = crashed(dir.path());
        truncate(&wal(copy.path()), cut);
        let engine = Rocks::open(&copy.path().join("db")).expect("a torn tail is no damage");
        assert_eq!(present(&engine, 2), [true, false]);
    }
    let copy = crashed(dir.path());
    flip(&wal(copy.path()), first / 2);
    Rocks::open(&copy.path().join("db"))
        .map(|_| ())
        .expect_err("damaged");
}

#[tokio::test]
async fn a_missing_log_entry_stops_the_node() {
    let dir = temporary();
    run(
        &mut open(dir.path()).expect("opens"),
        &mut Workload::default(),
        20,
    )
    .await;
    {
        let engine = Rocks::open(&dir.path().join("db")).expect("opens");
        let mut batch = WriteBatch::default();
        batch.delete(Space::Log, keys::entry(SHARD, 7));
        engine.write(&batch).expect("is written");
    }
    let text = refused(dir.path()).await;
    assert!(
        text.contains("entry") && text.contains("does not follow"),
        "{text}"
    );
}

#[tokio::test]
async fn a_changed_value_stops_the_node_and_names_the_key() {
    for (space, name) in [
        (Space::Log, "log entry"),
        (Space::State, "state of shard 0"),
        (Space::Meta, "of shard 0"),
    ] {
        let dir = temporary();
        {
            let mut node = open(dir.path()).expect("opens");
            run(&mut node, &mut Workload::default(), 20).await;
            node.log.save_vote(&vote(2)).await.expect("is saved");
            // A snapshot is read from the disk, so the state is written for it.
            let builder = node.machine.try_create_snapshot_builder(true).await;
            let mut builder = builder.expect("there is always one");
            builder.build_snapshot().await.expect("can be built");
        }
        {
            let engine = Rocks::open(&dir.path().join("db")).expect("opens");
            let (from, to) = keys::all(SHARD);
            let mut last = None;
            let scanned = engine.scan(space, &from, &to, &mut |key, value| {
                last = Some((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            });
            scanned.expect("readable");
            let (key, mut value) = last.expect("there is one");
            let middle = value.len() / 2;
            value[middle] ^= 1;
            let mut batch = WriteBatch::default();
            batch.put(space, key, value);
            engine.write(&batch).expect("is written");
        }
        let text = refused(dir.path()).await;
        assert!(text.contains(name) && text.contains("checksum"), "{text}");
    }
}

/// All that a node's disk says.
#[derive(Debug, PartialEq)]
struct Everything {
    entries: Vec<Entry>,
    state: String,
    table: Vec<(sidelock::table::state::Key, Vec<u8>)>,
    identity: sidelock::core::identity::Identity,
}

async fn everything(dir: &Path) -> Result<Everything, StorageError> {
    let mut node = open(dir)?;
    let vote = node.log.read_vote().await.expect("readable");
    let log = node.log.get_log_state().await.expect("readable");
    let applied = node.machine.applied_state().await.expect("readable");
    let snapshot = node.machine.get_current_snapshot().await.expect("readable");
    let snapshot = snapshot.map(|snapshot| (snapshot.meta, snapshot.snapshot.bytes()));
    Ok(Everything {
        entries: read_all(&mut node.log).await,
        state: format!("{vote:?} {log:?} {applied:?} {snapshot:?}"),
        table: node.view.read(|table, _| bytes(table)),
        identity: node.storage.identity(),
    })
}

/// Wherever a bit flips, in whatever file: the node starts as it was, or it does not start.
#[tokio::test]
async fn a_flipped_bit_anywhere_never_changes_what_a_node_believes() {
    let dir = temporary();
    let mut workload = Workload::default();
    {
        let mut node = open(dir.path()).expect("opens");
        run(&mut node, &mut workload, 40).await;
    }
    // Opened twice, so that there are SST files beside the write-ahead log.
    let mut node = open(dir.path()).expect("opens");
    node.log.save_vote(&vote(2)).await.expect("is saved");
    let mut builder = node
        .machine
        .try_create_snapshot_builder(true)
        .await
        .expect("there");
    builder.build_snapshot().await.expect("builds");
    node.log.purge(log_id(1, 10)).await.expect("purges");
    run(&mut node, &mut workload, 60).await;
    let expected = everything(crashed(dir.path()).path()).await.expect("opens");
    assert_eq!(expected.entries.len(), 49);

    let mut files = Vec::new();
    for part in ["db", "snapshots/0"] {
        for file in fs::read_dir(dir.path().join(part)).expect("is there") {
            let file = file.expect("is there");
            files.push((Path::new(part).join(file.file_name()), length(&file.path())));
        }
    }
    let (mut refused, mut unharmed) = (0, 0);
    for (file, length) in files {
        for nth in 0..6.min(length) {
            let at = (length * nth / 6 + nth * 11) % length;
            let copy = crashed(dir.path());
            flip(&copy.path().join(&file), at);
            match everything(copy.path()).await {
                Ok(found) => {
                    assert_eq!(found, expected, "byte {at} of {}", file.display());
                    unharmed += 1;
                }
                Err(error) => {
                    println!("byte {at} of {}: {error}", file.display());
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 10, "{refused} refused, {unharmed} unharmed");
}
