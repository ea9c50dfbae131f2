//! Apps that take locks and write to what they guard, and what they saw.
//! In: a sidecar's socket. Out: a record of holds and updates. Never: a retry of a step that may have
//! happened; a check whether the lock is still held before a write.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use sidelock::world::clock::{BootClock, Clock};

use crate::guarded::Guarded;
use crate::judge::{self, Hold, Mode};
use crate::{TTL, lock_name, locks, pool};

/// Longest that a hold and its writes take, of those that do not pause.
const WORK_MS: u64 = 20;
/// One hold in so many pauses for longer than its lease.
const PAUSE_ONE_IN: u32 = 60;
const PAUSE: Duration = Duration::from_secs(5);
/// Permits of the one lock that is a semaphore.
const PERMITS: usize = 3;

/// What all apps saw.
#[derive(Default)]
pub struct Record {
    locks: Mutex<BTreeMap<usize, (Vec<Hold>, Guarded)>>,
    unknown: Mutex<u64>,
    stopped: AtomicBool,
}

/// What to make of it.
pub struct Verdict {
    broken: Vec<String>,
    grants: usize,
    lost: u64,
    lost_without: u64,
    updates: u64,
    refused: u64,
    unknown: u64,
}

pub struct App {
    number: usize,
    client: reqwest::Client,
    record: Arc<Record>,
    dice: StdRng,
}

fn now_ms() -> u64 {
    let since = BootClock.now().since_boot();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Record {
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn at<R>(&self, lock: usize, act: impl FnOnce(&mut Vec<Hold>, &mut Guarded) -> R) -> R {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let (holds, guarded) = locks.entry(lock).or_default();
        act(holds, guarded)
    }

    pub fn verdict(&self) -> Verdict {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let sum =
            |what: fn(&Guarded) -> u64| locks.values().map(|(_, guarded)| what(guarded)).sum();
        let broken = locks.iter().filter_map(|(lock, (holds, _))| {
            let broken = judge::check(holds).err()?;
            Some(format!("{}: {broken}", lock_name(*lock)))
        });
        Verdict {
            broken: broken.collect(),
            grants: locks.values().map(|(holds, _)| holds.len()).sum(),
            lost: sum(Guarded::lost),
            lost_without: sum(Guarded::lost_without_tokens),
            updates: sum(Guarded::updates),
            refused: sum(|guarded| guarded.refused),
            unknown: *self.unknown.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Verdict {
    pub fn holds(&self) {
        assert!(self.broken.is_empty(), "{:#?}", self.broken);
        assert_eq!(self.lost, 0, "updates lost in spite of tokens");
        assert!(self.grants > 200, "too little was granted: {}", self.grants);
        assert!(
            self.lost_without > 0 && self.refused > 0,
            "no app wrote after its lease, so the tokens were not put to the proof"
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "grants: {}, updates: {}, lost with tokens: {}, lost without: {}, refused: {}, answers that never came: {}",
            self.grants, self.updates, self.lost, self.lost_without, self.refused, self.unknown
        )
    }
}

impl App {
    pub fn new(number: usize, socket: PathBuf, record: Arc<Record>, seed: u64) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .unix_socket(socket)
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a plain client can be made");
        Self {
            number,
            client,
            record,
            dice: StdRng::seed_from_u64(seed.wrapping_mul(1_000) + number as u64),
        }
    }

    pub async fn run(mut self) {
        let mut turn = 0_u64;
        while !self.record.stopped.load(Ordering::Relaxed) {
            turn += 1;
            let wants = self.wants();
            let path = format!("/v1/claims/app-{}-{turn}", self.number);
            if !self.turn(&wants, &path).await {
                // The sidecar is gone or refuses: nothing to await but its return.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// One lock or two, mostly to have them alone.
    fn wants(&mut self) -> Vec<(usize, Mode)> {
        let lock = self.dice.random_range(0..locks());
        match self.dice.random_range(0..10) {
            0 => vec![(pool(), Mode::Permit { of: PERMITS })],
            1..3 => vec![(lock, Mode::Shared)],
            3 if locks() > 1 => {
                let other = (lock + 1) % locks();
                vec![(lock, Mode::Exclusive), (other, Mode::Exclusive)]
            }
            _ => vec![(lock, Mode::Exclusive)],
        }
    }

    /// One claim from beginning to end; whether it was granted.
    async fn turn(&mut self, wants: &[(usize, Mode)], path: &str) -> bool {
        let asked = now_ms();
        let locks: Vec<Value> = wants.iter().map(want).collect();
        let body = json!({ "locks": locks, "ttl_ms": TTL.as_millis() as u64, "wait_ms": 5_000 });
        let answer = self.ask(Method::PUT, path, Some(body)).await;
        let granted = now_ms();
        let tokens = match answer {
            Some((201, claim)) if claim["state"] == "granted" => tokens(&claim, wants.len()),
            Some(_) => None,
            None => {
                let record = &self.record;
                *record
                    .unknown
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) += 1;
                None
            }
        };
        let Some(tokens) = tokens else {
            self.ask(Method::DELETE, path, None).await;
            return false;
        };
        let looked = now_ms();
        let safe = match self.ask(Method::GET, path, None).await {
            Some((200, claim)) if claim["state"] == "granted" => claim["safe_for_ms"].as_u64(),
            _ => None,
        };
        let until = safe.map_or(granted, |safe| granted.max(looked + safe));
        let held: Vec<_> = wants.iter().copied().zip(tokens).collect();
        let read = held.iter().map(|((lock, mode), token)| {
            let alone = *mode == Mode::Exclusive;
            alone.then(|| self.record.at(*lock, |_, guarded| guarded.read(*token)))
        });
        let read: Vec<_> = read.collect();
        let work = if self.dice.random_ratio(1, PAUSE_ONE_IN) {
            PAUSE
        } else {
            Duration::from_millis(self.dice.random_range(0..WORK_MS))
        };
        tokio::time::sleep(work).await;
        for (((lock, mode), token), read) in held.into_iter().zip(read) {
            self.record.at(lock, |holds, guarded| {
                if let Some(read) = read {
                    guarded.write(token, read);
                }
                let certain = until.min(now_ms());
                holds.push(Hold {
                    mode,
                    token,
                    asked,
                    granted,
                    certain,
                });
            });
        }
        self.ask(Method::DELETE, path, None).await;
        true
    }

    /// Status and body; none if no answer came.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let mut request = self
            .client
            .request(method, format!("http://localhost{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or_default()))
    }
}

/// One lock of a claim's body.
fn want((lock, mode): &(usize, Mode)) -> Value {
    match mode {
        Mode::Exclusive => json!({ "name": lock_name(*lock) }),
        Mode::Shared => json!({ "name": lock_name(*lock), "mode": "shared" }),
        Mode::Permit { of } => json!({ "name": lock_name(*lock), "limit": of }),
    }
}

/// The token of each lock of a claim.
fn tokens(claim: &Value, locks: usize) -> Option<Vec<u64>> {
    let each = claim["locks"].as_array()?.iter();
    let tokens: Option<Vec<u64>> = each.map(|lock| lock["token"].as_u64()).collect();
    tokens.filter(|tokens| tokens.len() == locks)
}
