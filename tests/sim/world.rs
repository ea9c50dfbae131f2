//! The played world: its parts, its clocks, and one step of it.
//! In: a seed. Out: pods, a table and a leader at an instant. Never: real time, or anything not drawn from the seed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sidelock::core::expiry::Expiry;
use sidelock::sidecar::desk::{Desk, Rules};
use sidelock::sidecar::saved::Saved;
use sidelock::sidecar::session::StreamRef;
use sidelock::table::Table;
use sidelock::table::command::Command;
use sidelock::table::id::{ClaimId, SessionId};
use sidelock::table::laws;
use sidelock::wire::v1;
use sidelock::world::clock::Instant;

use crate::belief::Beliefs;
use crate::rules::rules;
use crate::trace::Trace;

pub const STEP_MS: u64 = 5;
pub const PODS: usize = 3;
/// The rate of a sidecar's clock differs from the core's by no more than this, which is within the bound.
pub const RATE_PPM_MAX: i64 = 99_000;

/// One sidecar and its stream to the core.
pub struct Pod {
    pub desk: Desk,
    pub rules: Rules,
    /// Its clock began elsewhere, and goes faster by so many parts per million.
    pub began_ms: u64,
    pub faster_ppm: i64,
    /// What it has written down, for the process after it.
    pub saved: Saved,
    pub stream: u64,
    pub up: bool,
    /// Whether the core serves its session on this stream.
    pub session: Option<SessionId>,
    pub to_core: VecDeque<(u64, v1::SidecarFrame)>,
    pub to_pod: VecDeque<(u64, v1::CoreFrame)>,
    /// Frames to it are held up until then, and those from it are not.
    pub deaf_until: u64,
    /// It does nothing until then.
    pub paused_until: u64,
    /// Nobody can be reached from it until then.
    pub cut_until: u64,
    /// Frames take long both ways until then.
    pub slow_until: u64,
    pub claims: Vec<ClaimId>,
}

/// What a run has seen, so that a test can tell that it saw anything.
#[derive(Debug, Default)]
pub struct Seen {
    pub grants: u64,
    pub local: u64,
    /// Of those, permits of a semaphore.
    pub permits: u64,
    pub recalls: u64,
    pub lost: u64,
    /// Holds that a later process went on with.
    pub inherited: u64,
    pub elections: u64,
    pub cuts: u64,
    pub slow: u64,
    pub pauses: u64,
    pub stalls: u64,
}

impl Seen {
    /// All of both.
    pub fn add(&mut self, other: &Self) {
        self.grants += other.grants;
        self.local += other.local;
        self.permits += other.permits;
        self.recalls += other.recalls;
        self.lost += other.lost;
        self.inherited += other.inherited;
        self.elections += other.elections;
        self.cuts += other.cuts;
        self.slow += other.slow;
        self.pauses += other.pauses;
        self.stalls += other.stalls;
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "grants={} local={} permits={} recalls={} lost={} inherited={} elections={} cuts={} slow={} pauses={} stalls={}",
            self.grants,
            self.local,
            self.permits,
            self.recalls,
            self.lost,
            self.inherited,
            self.elections,
            self.cuts,
            self.slow,
            self.pauses,
            self.stalls
        )
    }
}

pub struct World {
    pub now: u64,
    pub rng: StdRng,
    pub table: Table,
    pub index: u64,
    pub pods: Vec<Pod>,
    /// Frames of processes that have died, still on their way.
    pub stale: Vec<(u64, v1::SidecarFrame)>,
    /// The timers of the leader, and its term.
    pub expiry: Expiry,
    pub term: u64,
    pub next_tick: u64,
    /// It does nothing until then.
    pub stalled_until: u64,
    /// What it has proposed and has not applied yet.
    pub proposed: VecDeque<(u64, Command)>,
    pub beliefs: Beliefs,
    /// When each session was last renewed.
    pub renewed: BTreeMap<SessionId, u64>,
    pub next_claim: u64,
    pub seen: Seen,
    pub trace: Trace,
}

pub fn at(ms: u64) -> Instant {
    Instant::from_boot(Duration::from_millis(ms))
}

/// What a clock shows that began at another time and goes faster, or slower.
pub fn clock(now_ms: u64, began_ms: u64, faster_ppm: i64) -> Instant {
    let us = i64::try_from(now_ms * 1_000).expect("a short run");
    let shown = us + us * faster_ppm / 1_000_000;
    Instant::from_boot(
        Duration::from_millis(began_ms) + Duration::from_micros(shown.unsigned_abs()),
    )
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let pods = (0..PODS).map(|pod| {
            let rules = rules(pod, 1, rng.random());
            let (began_ms, faster_ppm) = (
                rng.random_range(0..100_000),
                rng.random_range(-RATE_PPM_MAX..=RATE_PPM_MAX),
            );
            let now = clock(1_000, began_ms, faster_ppm);
            Pod {
                desk: Desk::new(rules.clone(), now),
                rules,
                began_ms,
                faster_ppm,
                saved: Saved::default(),
                stream: 0,
                up: false,
                session: None,
                to_core: VecDeque::new(),
                to_pod: VecDeque::new(),
                deaf_until: 0,
                paused_until: 0,
                cut_until: 0,
                slow_until: 0,
                claims: Vec::new(),
            }
        });
        Self {
            now: 1_000,
            pods: pods.collect(),
            rng,
            table: Table::default(),
            index: 0,
            stale: Vec::new(),
            expiry: Expiry::default(),
            term: 1,
            next_tick: 0,
            stalled_until: 0,
            proposed: VecDeque::new(),
            beliefs: Beliefs::default(),
            renewed: BTreeMap::new(),
            next_claim: 0,
            seen: Seen::default(),
            trace: Trace::default(),
        }
    }

    /// What this pod's clock shows.
    pub fn clock(&self, pod: usize) -> Instant {
        let one = &self.pods[pod];
        clock(self.now, one.began_ms, one.faster_ppm)
    }

    pub fn stream(&self, pod: usize) -> StreamRef {
        StreamRef {
            node: 0,
            number: self.pods[pod].stream,
        }
    }

    pub fn step(&mut self) {
        self.now += STEP_MS;
        let leads = self.stalled_until <= self.now;
        if leads {
            self.lead();
        }
        self.take_stale();
        for pod in 0..PODS {
            while leads
                && let Some((due, _)) = self.pods[pod].to_core.front()
                && *due <= self.now
                && let Some((_, frame)) = self.pods[pod].to_core.pop_front()
            {
                self.take(pod, frame);
                laws::check(&self.table).unwrap_or_else(|broken| panic!("{broken}"));
            }
            if self.pods[pod].paused_until > self.now {
                continue;
            }
            self.work(pod);
            self.check();
        }
        self.check();
    }
}
