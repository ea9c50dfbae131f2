//! What single steps cost, without sockets, disks or other processes: table, codec, timers, local grants.
//! In: nothing. Out: time for each step, as criterion tells it; `make micro` compares it to the stored
//! baseline. Never: a verdict.

#[path = "../../tests/desk/bench.rs"]
#[expect(dead_code, reason = "a part of it is enough here")]
mod desk;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use sidelock::core::types::Batch;
use sidelock::sidecar::desk::Rules;
use sidelock::sidecar::timers::Wheel;
use sidelock::table::Table;
use sidelock::table::command::{
    Acquire, Command, Delegated, EndCause, Grant, Mode, OpenSession, Operate, Operation,
    OperationReply, Release, Reply, Want, Was,
};
use sidelock::table::id::{
    ClaimId, ClaimRef, Generation, LockName, OwnerId, Revision, Seq, SessionId, SessionKey,
};
use sidelock::table::token::TokenBlock;
use sidelock::world::clock::Instant;

use desk::{Bench, ask, rules, token};

/// One session at a table.
struct Shard {
    table: Table,
    session: SessionId,
    index: u64,
    seq: u64,
}

impl Shard {
    fn new() -> Self {
        let mut table = Table::default();
        let open = Command::OpenSession(OpenSession {
            key: SessionKey(1),
            ttl_ms: 10_000,
            identity: "bench".into(),
            generation: Generation(1),
            principal: None,
        });
        let Reply::SessionOpened { session, .. } = table.apply(1, &open).0 else {
            unreachable!("an open is answered with a session");
        };
        Self {
            table,
            session,
            index: 1,
            seq: 0,
        }
    }

    fn command(&mut self, operation: Operation) -> Command {
        self.seq += 1;
        Command::Operate(Operate {
            session: self.session,
            generation: Generation(1),
            seq: Seq(self.seq),
            acked: Seq(self.seq - 1),
            operation,
        })
    }

    fn apply(&mut self, operation: Operation) -> Seq {
        let command = self.command(operation);
        self.index += 1;
        black_box(self.table.apply(self.index, &command));
        if self.table.changes_len() > 2_048 {
            black_box(self.table.take_changes());
        }
        Seq(self.seq)
    }

    fn acquire(&mut self, lock: &str) -> Seq {
        let id = format!("{:032x}", self.seq);
        self.apply(acquire(&id, lock))
    }

    fn release(&mut self, claim: Seq) {
        self.apply(release(claim));
    }
}

fn acquire(id: &str, lock: &str) -> Operation {
    let claim_id = ClaimId::parse(id).expect("a valid id");
    Operation::Acquire(Acquire {
        owner: OwnerId::of(&claim_id),
        claim_id,
        locks: vec![Want {
            name: LockName::parse(lock).expect("a valid name"),
            mode: Mode::Exclusive,
        }],
        wait: true,
        priority: 0,
        metadata: BTreeMap::new(),
        value: None,
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
    })
}

fn release(claim: Seq) -> Operation {
    Operation::Release(Release {
        claim,
        cause: EndCause::Released,
        waited_ms: 0,
        held_ms: 1,
    })
}

/// How the cost of a pair grows with the locks that are held meanwhile, and with the waiters of its lock.
fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for held in [0, 10_000, 1_000_000] {
        let mut shard = Shard::new();
        for lock in 0..held {
            shard.acquire(&format!("held/{lock}"));
        }
        group.bench_function(BenchmarkId::new("pair_beside_held", held), |bencher| {
            bencher.iter(|| {
                let claim = shard.acquire("orders/42");
                shard.release(claim);
            });
        });
    }
    for waiters in [2_u64, 1_000] {
        let mut shard = Shard::new();
        let mut first = shard.acquire("orders/42");
        let mut line: std::collections::VecDeque<Seq> =
            (0..waiters).map(|_| shard.acquire("orders/42")).collect();
        group.bench_function(BenchmarkId::new("hand_over_waiters", waiters), |bencher| {
            bencher.iter(|| {
                line.push_back(shard.acquire("orders/42"));
                shard.release(first);
                first = line.pop_front().expect("somebody waits");
            });
        });
    }
    group.finish();
}

/// An entry of 64 commands, as stored and as replicated.
fn entries(criterion: &mut Criterion) {
    let mut shard = Shard::new();
    let commands: Vec<Command> = (0..32)
        .flat_map(|pair| {
            let id = format!("{pair:032x}");
            let acquire = shard.command(acquire(&id, "orders/42"));
            let claim = Seq(shard.seq);
            [acquire, shard.command(release(claim))]
        })
        .collect();
    let bytes = Batch::new(commands.clone()).encoded();
    let mut group = criterion.benchmark_group("entry_of_64");
    group.bench_function("encode", |bencher| {
        bencher.iter_batched(
            || commands.clone(),
            |commands| Batch::new(commands).encoded(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Batch::decode(black_box(bytes.clone())).expect("a batch"));
    });
    group.finish();
}

/// Setting and cancelling a timer beside others.
fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    for others in [0_u64, 1_000_000] {
        let start = Instant::from_boot(Duration::from_secs(1));
        let mut wheel = Wheel::new(start);
        for other in 0..others {
            wheel.set(start + Duration::from_millis(other * 7 % 86_400_000), other);
        }
        let mut turn = 0;
        group.bench_function(
            BenchmarkId::new("set_and_cancel_beside", others),
            |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    let timer = wheel.set(start + Duration::from_millis(turn % 10_000), turn);
                    black_box(wheel.cancel(timer))
                });
            },
        );
    }
    group.finish();
}

/// A desk that has the lock `a` to itself, with tokens without end.
fn lent() -> Bench {
    let mut bench = Bench::with(Rules {
        delegate: true,
        ..rules()
    });
    bench.connect();
    bench.attach(&[]);
    bench.acknowledge();
    bench.hold("once", ask("a"), 1);
    bench.release("once");
    bench.applied_release(Was::Held);
    bench.claim_later("first", ask("a"));
    bench.send();
    let asked = bench.operations.iter().rev().find_map(|(seq, operation)| {
        matches!(operation, Operation::Delegate { .. }).then_some(*seq)
    });
    let seq = asked.expect("a lock that is used again is asked for");
    let grant = Grant {
        claim: ClaimRef {
            session: bench.session,
            seq,
        },
        revision: Revision(bench.revision + 1),
        tokens: vec![token(10)],
    };
    let block = TokenBlock::new(11, 1 << 40).expect("a block");
    bench.reply(seq, OperationReply::Delegated(Delegated { grant, block }));
    bench.release("first");
    bench
}

/// Acquire and release of a lock that stays here.
fn local(criterion: &mut Criterion) {
    let mut bench = lent();
    let mut turn = 0_u64;
    criterion.bench_function("desk/local_pair", |bencher| {
        bencher.iter(|| {
            turn += 1;
            // Time goes on, so that ended claims are forgotten as they would be.
            bench.now_ms += 1;
            if turn.is_multiple_of(512) {
                bench.acknowledge();
                bench.operations.clear();
            }
            let id = format!("{turn:032x}");
            black_box(bench.claim(&id, ask("a")));
            black_box(bench.release(&id));
        });
    });
}

criterion_group!(benches, table, entries, timers, local);
criterion_main!(benches);
