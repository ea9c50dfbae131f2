//! What apps do: claims of all modes, and updates of what a lock guards, now and then long after its loss.
//! In: the dice, grants. Out: calls at desks; reads and writes with tokens.
//! Never: an app that looks whether it still holds before it writes: tokens must be enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use sidelock::sidecar::handle::ClaimView;
use sidelock::table::command::Mode;
use sidelock::table::id::ClaimId;

use crate::asks;
use crate::guarded::{Guarded, Seen as Read};
use crate::world::{PODS, World};

/// What apps have under way.
#[derive(Debug, Default)]
pub struct Apps {
    next_claim: u64,
    guarded: BTreeMap<String, Guarded>,
    /// By when, and a number.
    plans: BTreeMap<(u64, u64), Plan>,
    planned: u64,
}

/// A step of an update.
#[derive(Debug)]
enum Plan {
    Read {
        lock: String,
        token: u64,
        think_us: u64,
    },
    Write {
        lock: String,
        token: u64,
        read: Read,
    },
}

impl Apps {
    fn plan(&mut self, at_us: u64, plan: Plan) {
        self.planned += 1;
        self.plans.insert((at_us, self.planned), plan);
    }

    /// Who has got an exclusive lock updates what it guards. Some think so long that they lose it meanwhile.
    pub fn granted(&mut self, now_us: u64, new: &[(usize, ClaimView)], dice: &mut StdRng) {
        for (_, view) in new {
            for (want, token) in view.locks.iter().zip(&view.tokens) {
                if want.mode == Mode::Exclusive {
                    let think_us = match dice.random_range(0..12) {
                        0 => dice.random_range(2_000_000..8_000_000),
                        _ => dice.random_range(1_000..40_000),
                    };
                    let read = Plan::Read {
                        lock: want.name.to_string(),
                        token: token.get(),
                        think_us,
                    };
                    self.plan(now_us + dice.random_range(0..20_000), read);
                }
            }
        }
    }

    pub fn use_what_is_guarded(&mut self, now_us: u64) {
        while let Some(entry) = self.plans.first_entry()
            && entry.key().0 <= now_us
        {
            match entry.remove() {
                Plan::Read {
                    lock,
                    token,
                    think_us,
                } => {
                    let read = self.guarded.entry(lock.clone()).or_default().read(token);
                    let write = Plan::Write { lock, token, read };
                    self.plan(now_us + think_us, write);
                }
                Plan::Write { lock, token, read } => {
                    let guarded = self.guarded.entry(lock).or_default();
                    guarded.write(token, read);
                }
            }
        }
    }

    /// Updates that were lost although tokens were compared: never any.
    pub fn lost(&self) -> u64 {
        self.guarded.values().map(Guarded::lost).sum()
    }

    pub fn updates(&self) -> u64 {
        self.guarded.values().map(Guarded::updates).sum()
    }

    pub fn refused(&self) -> u64 {
        self.guarded.values().map(|guarded| guarded.refused).sum()
    }

    pub fn lost_without_tokens(&self) -> u64 {
        let lost = self.guarded.values().map(Guarded::lost_without_tokens);
        lost.sum()
    }

    fn next_id(&mut self) -> ClaimId {
        self.next_claim += 1;
        ClaimId::parse(&format!("c{}", self.next_claim)).expect("an id")
    }
}

impl World {
    /// An app of some pod claims, or lets go of what it has or waits for.
    pub fn act(&mut self) {
        let pod = self.dice.random_range(0..PODS);
        let now = self.now_us;
        if self.pods[pod].paused_until > now {
            return;
        }
        let clock = self.pods[pod].clock(now);
        self.pods[pod].desk.advance(clock);
        let live = self.pods[pod].claims.len();
        if live > 0 && (live > 12 || self.dice.random_range(0..10) < 5) {
            let which = self.dice.random_range(0..live);
            let id = self.pods[pod].claims.swap_remove(which);
            self.pods[pod].desk.release(clock, &id);
        } else {
            let id = self.apps.next_id();
            let ask = asks::ask(&mut self.dice);
            self.pods[pod]
                .desk
                .claim(clock, id.clone(), ask, Arc::from(""));
            self.pods[pod].claims.push(id);
        }
        self.pods[pod].done(clock);
    }
}
