//! Kills a writing process with SIGKILL, over and over: nothing it acknowledged may be lost.
//! In: SIDELOCK_KILLS (10, or 200 in the slow test). Out: one line. The writer is this binary again, with SIDELOCK_CRASH_DIR set.

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use openraft::RaftSnapshotBuilder;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use sidelock::core::types::TypeConfig;
use support::{Opened, Workload, apply, bytes, entry, log_id, open, vote};

const DIR: &str = "SIDELOCK_CRASH_DIR";
const ACKED: &str = "SIDELOCK_CRASH_ACKED";
/// A directory is used for so many kills, since each restart checks its whole history.
const KILLS_PER_DIR: u32 = 20;
/// A vote after so many entries, in a term of its own.
const ENTRIES_PER_TERM: u64 = 16;
const ENTRIES_PER_SNAPSHOT: u64 = 150;

/// The greatest that was ever acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Acked {
    /// Entries `0..entries`.
    entries: u64,
    term: u64,
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    kill_and_check(kills(10));
}

#[test]
#[ignore = "slow: 200 kills, some 40 s"]
fn crash_loop_loses_nothing_acknowledged() {
    kill_and_check(kills(200));
}

fn kills(default: u32) -> u32 {
    std::env::var("SIDELOCK_KILLS").map_or(default, |kills| {
        kills.parse().expect("SIDELOCK_KILLS is a number")
    })
}

fn kill_and_check(kills: u32) {
    let mut dir = tempfile::TempDir::new().expect("a temporary directory can be made");
    let mut acked = Acked::default();
    let mut total = 0;
    for kill in 0..kills {
        if kill.is_multiple_of(KILLS_PER_DIR) {
            total += acked.entries;
            dir = tempfile::TempDir::new().expect("a temporary directory can be made");
            acked = Acked::default();
        }
        // Some die while they still recover, most while they write.
        let life = Duration::from_millis(u64::from(kill * 37 % 140));
        let before_ready = kill % 5 == 4;
        acked = run_and_kill(dir.path(), acked, life, before_ready);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async { check(&mut open(dir.path()).expect("opens"), acked).await });
    total += acked.entries;
    assert!(
        total > u64::from(kills),
        "the writers wrote next to nothing: {total}"
    );
    println!("{kills} kills, {total} acknowledged entries, none lost");
}

fn run_and_kill(dir: &Path, mut acked: Acked, life: Duration, before_ready: bool) -> Acked {
    let mut writer = Command::new(std::env::current_exe().expect("this binary has a path"))
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ACKED, format!("{} {}", acked.entries, acked.term))
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary can be run");
    let lines = BufReader::new(writer.stdout.take().expect("it is piped")).lines();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            match line.trim().split_once(' ') {
                Some(("entry", index)) => {
                    let index: u64 = index.parse().expect("a number");
                    acked.entries = acked.entries.max(index + 1);
                }
                Some(("vote", term)) => acked.term = term.parse().expect("a number"),
                // The harness prints lines of its own.
                Some(_) => {}
                None if line.trim() == "ready" => ready.send(()).expect("the test waits"),
                None => {}
            }
        }
        acked
    });
    if !before_ready {
        is_ready
            .recv_timeout(Duration::from_secs(60))
            .expect("the writer finds all that was acknowledged, and starts to write");
    }
    // How long it may live is the point of the test, not a guess at when it is done.
    std::thread::sleep(life);
    assert_eq!(
        writer.try_wait().expect("it is ours"),
        None,
        "the writer ended by itself"
    );
    writer.kill().expect("it is ours");
    writer.wait().expect("it is ours");
    reader.join().expect("the reader does not panic")
}

/// Not a test of its own: what the test above runs and kills.
#[test]
fn writer() {
    let (Ok(dir), Ok(acked)) = (std::env::var(DIR), std::env::var(ACKED)) else {
        return;
    };
    let (entries, term) = acked.split_once(' ').expect("two numbers");
    let acked = Acked {
        entries: entries.parse().expect("a number"),
        term: term.parse().expect("a number"),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let mut node = open(Path::new(&dir)).expect("a killed writer's directory opens");
        let workload = check(&mut node, acked).await;
        println!("\nready");
        write(node, workload).await;
    });
}

/// Checks that all acknowledged is there, and that log, vote and state belong together.
async fn check(node: &mut Opened, acked: Acked) -> Workload {
    let voted = node.log.read_vote().await.expect("readable");
    let term = voted.map_or(0, |vote| vote.leader_id.term);
    assert!(term >= acked.term, "vote {term} of {acked:?}");
    let state = node.log.get_log_state().await.expect("readable");
    let entries = state.last_log_id.map_or(0, |last| last.index + 1);
    assert!(entries >= acked.entries, "{entries} entries of {acked:?}");
    let purged = state.last_purged_log_id.map_or(0, |last| last.index + 1);
    let (applied, _) = node.machine.applied_state().await.expect("readable");
    let applied = applied.map_or(0, |last| last.index + 1);
    assert!(
        purged <= applied && applied <= entries,
        "{purged} {applied} {entries}"
    );

    let log = node
        .log
        .try_get_log_entries(purged..)
        .await
        .expect("readable");
    assert_eq!(log.len() as u64, entries - purged);
    let mut workload = Workload::default();
    while workload.next_index < entries {
        let index = workload.next_index;
        if index == applied {
            let stored = node.view.read(|table, _| bytes(table));
            assert_eq!(stored, bytes(&workload.table), "state at {applied}");
        }
        let expected = entry(term_of(index), index, workload.next());
        if index >= purged {
            assert_eq!(log[(index - purged) as usize], expected);
        }
        // A vote comes before the entries of its term.
        assert!(term_of(index) <= term, "entry {index} without its vote");
    }
    let tail = log[(applied - purged) as usize..].to_vec();
    apply(&mut node.machine, tail).await.expect("applies");
    let recovered = node.view.read(|table, _| bytes(table));
    assert_eq!(recovered, bytes(&workload.table), "state after replay");
    workload
}

fn term_of(index: u64) -> u64 {
    1 + index / ENTRIES_PER_TERM
}

/// Writes until killed; says what is durable.
async fn write(mut node: Opened, mut workload: Workload) {
    loop {
        let index = workload.next_index;
        let term = term_of(index);
        if index.is_multiple_of(ENTRIES_PER_TERM) {
            node.log.save_vote(&vote(term)).await.expect("is saved");
            println!("\nvote {term}");
        }
        let next = entry(term, index, workload.next());
        let (sender, durable) = TypeConfig::oneshot();
        let callback = IOFlushed::signal(sender);
        node.log
            .append([next.clone()], callback)
            .await
            .expect("is written");
        let acknowledge = async move {
            durable.await.expect("called").expect("durable");
            println!("\nentry {index}");
        };
        // Some wait, some do not, so that one fsync serves several.
        if index.is_multiple_of(3) {
            acknowledge.await;
        } else {
            tokio::spawn(acknowledge);
        }
        apply(&mut node.machine, vec![next]).await.expect("applies");
        if index % ENTRIES_PER_SNAPSHOT == ENTRIES_PER_SNAPSHOT - 1 {
            let builder = node.machine.try_create_snapshot_builder(true).await;
            let mut builder = builder.expect("there is always a builder");
            builder.build_snapshot().await.expect("builds");
            let upto = index - 20;
            node.log
                .purge(log_id(term_of(upto), upto))
                .await
                .expect("purges");
        }
    }
}
