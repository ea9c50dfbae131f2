//! One run: workers who take and give back locks, as fast as it goes or at a rate.
//! In: a plan, where the peer is. Out: what all workers saw within the time measured.
//! Never: a latency that begins later than its operation was due.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use sidelock::world::clock::{BootClock, Clock, Instant};

use super::fairness;
use super::histogram::Latencies;
use super::worker::{self, Grant, Recorder};
use crate::clients::{self, Client, Protocol, Shape};

/// Connections that are made at a time.
const CONNECTING_MAX: usize = 64;
/// Of what is recorded, so that the threads of the runtime seldom want the same one.
const SHARDS: usize = 8;

/// What the workers do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub workers: usize,
    /// Before anything counts.
    pub warm_up: Duration,
    pub measured: Duration,
    pub pace: Pace,
    pub locks: Locks,
    pub shape: Shape,
    /// Of a hundred, so many want the lock exclusively instead of in `shape`.
    pub writers_percent: u8,
    /// How long a lock is held.
    pub hold: Duration,
    /// Whether to write down each grant.
    pub log_grants: bool,
}

/// When the next pair begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// After the one before.
    Closed,
    /// When it is due: so many in a second, over all workers.
    Open { per_second: f64 },
}

/// Which lock a worker takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Locks {
    /// Its own, under this name.
    Own(String),
    /// One of these, by the worker's number.
    Named(Vec<String>),
    /// Mostly its own; else that of any worker.
    Local { folder: String, percent: u8 },
}

/// Where the peer is.
#[derive(Debug, Clone)]
pub struct Target {
    pub protocol: Protocol,
    /// Workers are spread over them.
    pub urls: Vec<String>,
}

/// What came out of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// From when the acquire was due to the grant.
    pub acquire: Latencies,
    /// From when a worker was free to ask to the grant: less, where workers are too few for the rate.
    pub service: Latencies,
    /// From the asking of the release to its answer.
    pub release: Latencies,
    /// From the asking to the refusal.
    pub refused: Latencies,
    pub refusals: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    /// Due before the end, but no worker was free to begin them.
    pub unserved: u64,
    pub seconds: f64,
    pub grants: Vec<Grant>,
    /// Grants of each URL, by its place in the target.
    pub by_url: Vec<u64>,
}

impl Plan {
    /// Closed loop, each worker with a lock of its own, for so long after a third of it as warm-up.
    pub fn closed(workers: usize, measured: Duration) -> Self {
        Self {
            workers,
            warm_up: measured / 3,
            measured,
            pace: Pace::Closed,
            locks: Locks::Own("bench".to_owned()),
            shape: Shape::Exclusive,
            writers_percent: 0,
            hold: Duration::ZERO,
            log_grants: false,
        }
    }
}

/// The time that counts.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub start: Instant,
    pub from: Instant,
    pub until: Instant,
}

/// Connects all workers and runs them to the end.
pub async fn run(target: &Target, plan: &Plan) -> anyhow::Result<Outcome> {
    run_watched(target, plan, async {})
        .await
        .map(|(run, ())| run)
}

/// The same, with something that begins when the time measured does.
pub async fn run_watched<W: Future>(
    target: &Target,
    plan: &Plan,
    watch: W,
) -> anyhow::Result<(Outcome, W::Output)> {
    let clients = connect(target, plan.workers).await?;
    let start = BootClock.now();
    let from = start + plan.warm_up;
    let window = Window {
        start,
        from,
        until: from + plan.measured,
    };
    let urls = target.urls.len();
    let shards: Vec<_> = (0..SHARDS)
        .map(|_| Arc::new(Mutex::new(Outcome::of(urls, plan.measured))))
        .collect();
    let plan = Arc::new(plan.clone());
    let mut workers = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        let recorder = Recorder {
            outcome: Arc::clone(&shards[number % SHARDS]),
            worker: number,
            window,
            logs: plan.log_grants,
        };
        let work = worker::run(client, Arc::clone(&plan), recorder);
        workers.push(tokio::spawn(work));
    }
    tokio::time::sleep(plan.warm_up).await;
    let watched = watch.await;
    for worker in workers {
        worker.await?;
    }
    let mut outcome = Outcome::of(urls, plan.measured);
    for shard in shards {
        let shard = Arc::into_inner(shard).expect("all workers have ended");
        outcome.merge(shard.into_inner().expect("nobody panics while it records"));
    }
    Ok((outcome, watched))
}

async fn connect(target: &Target, workers: usize) -> anyhow::Result<Vec<Box<dyn Client>>> {
    let dials = (0..workers).map(|number| {
        let url = &target.urls[number % target.urls.len()];
        clients::connect(target.protocol, url)
    });
    let dialled: Vec<_> = futures::stream::iter(dials)
        .buffered(CONNECTING_MAX)
        .collect()
        .await;
    dialled.into_iter().collect()
}

impl Outcome {
    /// Of nothing yet.
    fn of(urls: usize, measured: Duration) -> Self {
        Self {
            seconds: measured.as_secs_f64(),
            by_url: vec![0; urls],
            ..Self::default()
        }
    }

    fn merge(&mut self, other: Self) {
        self.acquire.merge(&other.acquire);
        self.service.merge(&other.service);
        self.release.merge(&other.release);
        self.refused.merge(&other.refused);
        self.unserved += other.unserved;
        self.grants.extend(other.grants);
        for (all, one) in self.by_url.iter_mut().zip(other.by_url) {
            *all += one;
        }
        for (all, one) in [
            (&mut self.refusals, other.refusals),
            (&mut self.errors, other.errors),
        ] {
            for (word, count) in one {
                *all.entry(word).or_default() += count;
            }
        }
    }

    /// Pairs of acquire and release within the time measured.
    pub fn pairs(&self) -> u64 {
        self.release.count()
    }

    /// The figures that every run has.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^52"
    )]
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        let mut put = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        put("pairs_per_s", self.pairs() as f64 / self.seconds);
        put("grants_per_s", self.service.count() as f64 / self.seconds);
        put("refused_per_s", self.refused.count() as f64 / self.seconds);
        put("errors", self.errors.values().sum::<u64>() as f64);
        put("unserved", self.unserved as f64);
        let kinds = [
            ("acquire", &self.acquire),
            ("service", &self.service),
            ("release", &self.release),
            ("refused", &self.refused),
        ];
        for (kind, latencies) in kinds {
            let percentiles = [("p50", 50.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)];
            for (name, percent) in percentiles {
                if let Some(value) = latencies.percentile(percent) {
                    put(&format!("{kind}_{name}_ms"), value);
                }
            }
        }
        if self.by_url.len() > 1 {
            put("jain_pods", fairness::jain(&self.by_url));
        }
        figures
    }
}
