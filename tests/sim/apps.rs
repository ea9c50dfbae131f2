//! What happens at the pods: apps that claim and let go, and the faults.
//! In: the dice. Out: calls at desks; cuts, pauses, restarts, elections.
//! Never: a fault that the assumptions of the design exclude.

use std::sync::Arc;

use rand::Rng;
use sidelock::sidecar::desk::{Desk, Now};
use sidelock::sidecar::saved_codec;
use sidelock::table::id::ClaimId;

use crate::asks;
use crate::rules::TTL_MS;
use crate::world::{PODS, World};

impl World {
    /// Something happens at one pod: its apps, or its network.
    pub fn act(&mut self) {
        let pod = self.rng.random_range(0..PODS);
        let now = self.clock(pod);
        if self.pods[pod].paused_until > self.now {
            return;
        }
        self.pods[pod].desk.advance(now);
        match self.rng.random_range(0..1_000) {
            0..400 => self.claim(pod),
            400..960 => {
                let live = self.pods[pod].claims.len();
                if live > 0 {
                    let which = self.rng.random_range(0..live);
                    let id = self.pods[pod].claims.swap_remove(which);
                    self.pods[pod].desk.release(now, &id);
                    self.write_down(pod);
                }
            }
            960..970 => {
                self.cut(pod);
                self.seen.cuts += 1;
            }
            970..973 => {
                self.cut(pod);
                self.pods[pod].cut_until = self.now + self.rng.random_range(0..2 * TTL_MS);
            }
            973..975 => {
                self.seen.slow += 1;
                self.pods[pod].slow_until = self.now + self.rng.random_range(0..2 * TTL_MS);
            }
            990..996 => self.restart(pod),
            975..985 => {
                let long = self.rng.random_range(100..2 * TTL_MS);
                self.pods[pod].deaf_until = self.now + long;
            }
            985..990 => {
                let long = self.rng.random_range(100..2 * TTL_MS);
                self.pods[pod].paused_until = self.now + long;
                self.seen.pauses += 1;
            }
            996..998 => self.elect(),
            998 => {
                self.seen.stalls += 1;
                self.stalled_until = self.now + self.rng.random_range(50..2 * TTL_MS);
            }
            _ => {}
        }
        let reachable = self.pods[pod].cut_until <= self.now;
        if !self.pods[pod].up && reachable && self.rng.random_range(0..10) < 3 {
            self.connect(pod);
        }
    }

    pub fn claim(&mut self, pod: usize) {
        self.next_claim += 1;
        let id = ClaimId::parse(&format!("c{}", self.next_claim)).expect("an id");
        let ask = asks::ask(&mut self.rng);
        let now = self.clock(pod);
        let desk = &mut self.pods[pod].desk;
        if let Now::Done(answer) = desk.claim(now, id.clone(), ask, Arc::from("")) {
            self.told(pod, &answer);
        }
        self.write_down(pod);
        self.pods[pod].claims.push(id);
    }

    /// The process dies, and another one goes on from what it has written down. What it had sent may
    /// still come to the core, whenever.
    pub fn restart(&mut self, pod: usize) {
        let frames: Vec<_> = self.pods[pod].to_core.drain(..).collect();
        for (due, frame) in frames {
            let late = self.rng.random_range(0..2_000);
            self.stale.push((due + late, frame));
        }
        self.cut(pod);
        let down = self.rng.random_range(0..TTL_MS / 2);
        let now = self.clock(pod);
        let one = &mut self.pods[pod];
        one.desk.advance(now);
        let granted = |desk: &Desk| {
            let claims = desk.claims(now, 10_000, None).items.into_iter();
            let holds = claims.filter(|claim| !claim.tokens.is_empty());
            let holds = holds.map(|claim| (claim.claim_id, claim.tokens));
            holds.collect::<Vec<_>>()
        };
        self.write_down(pod);
        let one = &mut self.pods[pod];
        let before = granted(&one.desk);
        let saved = std::mem::take(&mut one.saved);
        one.desk = Desk::taken_over(one.rules.clone(), saved, now);
        one.desk
            .all_records(now)
            .into_iter()
            .for_each(|record| one.saved.apply(record));
        assert_eq!(
            granted(&one.desk),
            before,
            "each hold is known, with its tokens"
        );
        one.paused_until = self.now + down;
        self.seen.inherited += before.len() as u64;
        self.write_down(pod);
    }

    /// What follows from a step does so after this.
    pub fn write_down(&mut self, pod: usize) {
        let one = &mut self.pods[pod];
        for record in one.desk.take_records() {
            let read = saved_codec::decode(saved_codec::encode(&record)).expect("our own record");
            assert_eq!(read, record);
            one.saved.apply(read);
        }
    }
}
