//! Three cores and a few sidecars, and what is done to them.
//! In: a seed and a span. Out: how often each fault was made. Never: more than one fault at a time, but for
//! the one that kills everything.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use serde_json::json;
use sidelock::world::clock::{BootClock, Clock};

use crate::cell::Cell;
use crate::pod::Pod;
use crate::{lock_name, locks};

const CORES: u16 = 3;
/// Of sidecars' sessions; longer than most stops, shorter than some.
const SESSION_TTL: &str = "4s";

pub struct Stage {
    pub pods: Vec<Pod>,
    pub cell: Cell,
    _state: tempfile::TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    LeaderKilled,
    FollowerKilled,
    LeaderStopped,
    SidecarKilled,
    SidecarStopped,
    AllKilled,
    /// One after the other, each as soon as it serves.
    TenLeadersKilled,
}

const FAULTS: [Fault; 7] = [
    Fault::LeaderKilled,
    Fault::FollowerKilled,
    Fault::LeaderStopped,
    Fault::SidecarKilled,
    Fault::SidecarStopped,
    Fault::AllKilled,
    Fault::TenLeadersKilled,
];

/// How often each was made.
pub struct Hits(BTreeMap<Fault, u32>);

impl Hits {
    /// A run in which a fault was never made proves nothing about it.
    pub fn is_enough(&self) {
        for fault in FAULTS {
            assert!(self.0.contains_key(&fault), "never: {fault:?}");
        }
    }
}

impl fmt::Display for Hits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, times) in &self.0 {
            writeln!(out, "{fault:?}: {times}")?;
        }
        Ok(())
    }
}

async fn after(ms: std::ops::Range<u64>, dice: &mut StdRng) {
    let ms = dice.random_range(ms);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

impl Stage {
    pub async fn start(pods: usize) -> Self {
        let cell = Cell::of_three().await;
        let state = tempfile::tempdir().expect("a temporary directory can be made");
        let cores = cell.cores();
        let mut started = Vec::new();
        for number in 0..pods {
            let dir = state.path().join(format!("pod-{number}"));
            let dir = dir
                .to_str()
                .expect("temporary directories have plain names");
            // Every other one remembers its claims.
            let arguments = ["--session-ttl", SESSION_TTL, "--state-dir", dir];
            let arguments = if number % 2 == 0 {
                &arguments[..]
            } else {
                &arguments[..2]
            };
            started.push(Pod::start(&cores, arguments).await);
        }
        Self {
            pods: started,
            cell,
            _state: state,
        }
    }

    /// Makes trouble for as long as that; each fault in turn, then by the dice.
    pub async fn trouble(&mut self, span: Duration, seed: u64) -> Hits {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut hits = BTreeMap::new();
        let start = BootClock.now();
        let mut turn = 0;
        while BootClock.now().since(start) < span || turn < FAULTS.len() {
            after(300..1_500, &mut dice).await;
            let fault = *FAULTS
                .get(turn)
                .unwrap_or(&FAULTS[dice.random_range(0..FAULTS.len())]);
            println!("{:>4} s  {fault:?}", BootClock.now().since(start).as_secs());
            self.make(fault, &mut dice).await;
            *hits.entry(fault).or_insert(0) += 1;
            turn += 1;
        }
        Hits(hits)
    }

    async fn make(&mut self, fault: Fault, dice: &mut StdRng) {
        let leader = self.cell.leader().await;
        let pod = dice.random_range(0..self.pods.len());
        match fault {
            Fault::LeaderKilled => self.killed(leader, dice).await,
            Fault::FollowerKilled => self.killed(leader % CORES + 1, dice).await,
            Fault::LeaderStopped => {
                self.cell.signal(leader, Signal::STOP);
                after(500..5_000, dice).await;
                self.cell.signal(leader, Signal::CONT);
            }
            Fault::SidecarKilled => {
                self.pods[pod].kill();
                after(0..1_500, dice).await;
                self.pods[pod].restart();
            }
            Fault::SidecarStopped => {
                self.pods[pod].signal(Signal::STOP);
                after(500..6_000, dice).await;
                self.pods[pod].signal(Signal::CONT);
            }
            Fault::TenLeadersKilled => self.ten_killed().await,
            Fault::AllKilled => {
                (1..=CORES).for_each(|place| self.cell.kill(place));
                self.pods.iter_mut().for_each(Pod::kill);
                (1..=CORES).for_each(|place| self.cell.start(place, &[]));
                self.pods.iter_mut().for_each(Pod::restart);
            }
        }
    }

    async fn ten_killed(&mut self) {
        for _ in 0..10 {
            let leader = self.cell.leader().await;
            self.cell.kill(leader);
            self.cell.leader_other_than(leader).await;
            self.cell.start(leader, &[]);
        }
    }

    async fn killed(&mut self, place: u16, dice: &mut StdRng) {
        self.cell.kill(place);
        after(0..2_000, dice).await;
        self.cell.start(place, &[]);
    }

    /// When the trouble is over, every pod gets every lock.
    pub async fn heals(&self) {
        self.cell.leader().await;
        for (number, pod) in self.pods.iter().enumerate() {
            for lock in (0..locks()).map(lock_name) {
                let path = format!("/v1/claims/after-{number}-{lock}");
                pod.until("a lock after the trouble", async || {
                    let body = json!({ "lock": lock, "ttl_ms": 60_000, "wait_ms": 10_000 });
                    let answer = pod.try_ask(reqwest::Method::PUT, &path, Some(body)).await?;
                    (answer.body["state"] == "granted").then_some(())
                })
                .await;
                pod.ask(reqwest::Method::DELETE, &path, None).await;
            }
        }
    }
}
