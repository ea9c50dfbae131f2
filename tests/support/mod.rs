//! What tests of the store share: a deterministic workload, and short ways to drive log and machine.
//! In: a seed. Out: the same commands and the same table for the same index, in any process.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use futures::stream;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::vote::leader_id_std::CommittedLeaderId;
use sidelock::core::log::LogStore;
use sidelock::core::machine::{Machine, TableView};
use sidelock::core::storage::{Storage, StorageError};
use sidelock::core::types::{Batch, Entry, LogId, TypeConfig, Vote};
use sidelock::table::command::{
    Acquire, EndCause, Mode, OpenSession, Operate, Operation, Release, Renewal, Want,
};
use sidelock::table::id::{
    ClaimId, Generation, LockName, OwnerId, RenewalNumber, Seq, SessionId, SessionKey, ShardId,
};
use sidelock::table::state::{Key, Object};
use sidelock::table::{Command, Reply, Table};

pub const SHARD: ShardId = ShardId(0);
const SESSIONS: usize = 4;

/// Commands that depend on nothing but the number of entries before them.
#[derive(Default)]
pub struct Workload {
    pub table: Table,
    pub next_index: u64,
    sessions: Vec<Session>,
    random: u64,
}

struct Session {
    id: SessionId,
    generation: Generation,
    seq: u64,
    renewal: u64,
    live: Vec<Seq>,
}

impl Workload {
    /// The workload, and its table, after this many entries.
    pub fn after(entries: u64) -> Self {
        let mut workload = Self::default();
        while workload.next_index < entries {
            workload.next();
        }
        workload
    }

    /// The commands of the next entry; they are applied to `table`.
    pub fn next(&mut self) -> Vec<Command> {
        let index = self.next_index;
        self.next_index += 1;
        if self.sessions.len() < SESSIONS {
            return vec![self.open(index)];
        }
        let commands: Vec<Command> = (0..3).map(|_| self.command()).collect();
        for command in &commands {
            self.table.apply(index, command);
        }
        commands
    }

    fn open(&mut self, index: u64) -> Command {
        let command = Command::OpenSession(OpenSession {
            key: SessionKey(u128::from(index) + 1),
            ttl_ms: 10_000,
            identity: format!("host-{index}").into(),
            generation: Generation(1),
            principal: None,
        });
        let (reply, _) = self.table.apply(index, &command);
        let Reply::SessionOpened {
            session,
            generation,
            ..
        } = reply
        else {
            panic!("an open is answered with {reply:?}");
        };
        self.sessions.push(Session {
            id: session,
            generation,
            seq: 0,
            renewal: 0,
            live: Vec::new(),
        });
        command
    }

    fn command(&mut self) -> Command {
        let which = self.roll(SESSIONS as u64) as usize;
        let dice = self.roll(10);
        let lock = LockName::parse(&format!("lock/{}", self.roll(20))).expect("a valid name");
        let session = &mut self.sessions[which];
        if dice == 0 {
            session.renewal += 1;
            return Command::Renew(vec![Renewal {
                session: session.id,
                generation: session.generation,
                number: RenewalNumber(session.renewal),
                heard: RenewalNumber(0),
            }]);
        }
        session.seq += 1;
        let seq = Seq(session.seq);
        let operation = match session.live.first().copied() {
            Some(claim) if session.live.len() > 3 || dice < 4 => {
                session.live.remove(0);
                Operation::Release(Release {
                    claim,
                    cause: EndCause::Released,
                    waited_ms: 1,
                    held_ms: 2,
                })
            }
            Some(_) | None => {
                session.live.push(seq);
                Operation::Acquire(acquire(which, seq, lock, dice.is_multiple_of(2)))
            }
        };
        Command::Operate(Operate {
            session: session.id,
            generation: session.generation,
            seq,
            acked: Seq(seq.0.saturating_sub(5)),
            operation,
        })
    }

    /// A number below `sides`, the same in every run.
    fn roll(&mut self, sides: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % sides
    }
}

fn acquire(which: usize, seq: Seq, name: LockName, shared: bool) -> Acquire {
    let mode = if shared {
        Mode::Shared
    } else {
        Mode::Exclusive
    };
    Acquire {
        claim_id: ClaimId::parse(&format!("claim-{which}-{seq}")).expect("a valid id"),
        owner: OwnerId::parse(&format!("owner-{seq}")).expect("a valid id"),
        locks: vec![Want { name, mode }],
        wait: true,
        priority: 0,
        metadata: BTreeMap::from([("app".into(), "test".into())]),
        value: None,
        trace_id: "".into(),
    }
}

/// A node's storage with one shard.
pub struct Opened {
    pub storage: Storage,
    pub log: LogStore,
    pub machine: Machine,
    pub view: TableView,
}

pub fn open(dir: &Path) -> Result<Opened, StorageError> {
    opened(Storage::open(dir)?)
}

pub fn opened(storage: Storage) -> Result<Opened, StorageError> {
    let log = storage.log_store(SHARD)?;
    let (machine, view) = storage.machine(SHARD)?;
    Ok(Opened {
        storage,
        log,
        machine,
        view,
    })
}

pub fn entry(term: u64, index: u64, commands: Vec<Command>) -> Entry {
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Batch::new(commands)),
    }
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: CommittedLeaderId::new(term),
        index,
    }
}

pub fn vote(term: u64) -> Vote {
    Vote::new_committed(term, 1)
}

/// Appends, and waits until it is durable.
pub async fn append(log: &mut LogStore, entries: Vec<Entry>) -> std::io::Result<()> {
    let (sender, durable) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await?;
    durable.await.expect("every callback is called")
}

pub async fn apply(machine: &mut Machine, entries: Vec<Entry>) -> std::io::Result<()> {
    let entries = entries.into_iter().map(|entry| Ok((entry, None)));
    machine.apply(stream::iter(entries)).await
}

/// All entries of the log.
pub async fn read_all(log: &mut LogStore) -> Vec<Entry> {
    log.try_get_log_entries(0..)
        .await
        .expect("the log is readable")
}

/// Applies what the log holds beyond the state on disk, as Raft does at a start.
pub async fn replay(opened: &mut Opened) {
    let (applied, _) = opened.machine.applied_state().await.expect("readable");
    let mut rest = read_all(&mut opened.log).await;
    rest.retain(|entry| applied.is_none_or(|applied| entry.log_id.index > applied.index));
    apply(&mut opened.machine, rest)
        .await
        .expect("the disk takes it");
}

/// A table as the bytes that are stored of it.
pub fn bytes(table: &Table) -> Vec<(Key, Vec<u8>)> {
    let encode = |(key, object): (Key, Object)| {
        let bytes = sidelock::wire::convert::disk::object_to_bytes(&key, &object);
        (key, bytes)
    };
    table.objects().map(encode).collect()
}

/// Appends and applies the workload until the log holds this many entries.
pub async fn run(opened: &mut Opened, workload: &mut Workload, entries: u64) {
    while workload.next_index < entries {
        let index = workload.next_index;
        let next = entry(1, index, workload.next());
        append(&mut opened.log, vec![next.clone()])
            .await
            .expect("the disk takes it");
        apply(&mut opened.machine, vec![next])
            .await
            .expect("the disk takes it");
    }
}
