//! What apps may believe at each moment, and what they are told.
//! In: all desks at one instant. Out: the first two that contradict each other, or a token that goes back.
//! Never: a look into the table: what counts is what apps believe.

use std::collections::{BTreeMap, BTreeSet};

use sidelock::sidecar::handle::{ClaimAnswer, ClaimError, ClaimState};
use sidelock::table::command::Mode;
use sidelock::table::id::ClaimId;

use crate::world::{World, clock};

impl World {
    /// What everybody believes at this moment.
    pub fn check(&mut self) {
        let mut held: BTreeMap<String, Vec<(usize, ClaimId, Mode, u64)>> = BTreeMap::new();
        for (number, pod) in self.pods.iter().enumerate() {
            let now = clock(self.now, pod.began_ms, pod.faster_ppm);
            for view in pod.desk.claims(now, 10_000, None).items {
                if view.state != ClaimState::Granted {
                    continue;
                }
                for (want, token) in view.locks.iter().zip(&view.tokens) {
                    let holder = (number, view.claim_id.clone(), want.mode, token.get());
                    held.entry(want.name.to_string()).or_default().push(holder);
                }
                if self.known.insert((number, view.claim_id.clone())) {
                    self.seen.grants += 1;
                    self.seen.local += u64::from(view.local);
                    let of_permits = view.locks[0].mode.limit().is_some();
                    self.seen.permits += u64::from(view.local && of_permits);
                    for (want, token) in view.locks.iter().zip(&view.tokens) {
                        let (any, exclusive) =
                            self.tokens.entry(want.name.to_string()).or_default();
                        let (token, least) = match want.mode {
                            Mode::Exclusive => (token.get(), *any),
                            Mode::Shared | Mode::Semaphore { .. } => (token.get(), *exclusive),
                        };
                        assert!(
                            token > least,
                            "at {}: {} of pod {number} got {} with token {token}, not above {least}",
                            self.now,
                            view.claim_id,
                            want.name
                        );
                        *any = token.max(*any);
                        if want.mode == Mode::Exclusive {
                            *exclusive = token.max(*exclusive);
                        }
                    }
                }
            }
        }
        for (lock, holders) in &held {
            let alone = holders.len() == 1;
            let shared = holders.iter().all(|(_, _, mode, _)| *mode == Mode::Shared);
            let limits = holders.iter().map(|(_, _, mode, _)| mode.limit());
            let limits: BTreeSet<_> = limits.collect();
            let permits = holders.iter().map(|(_, _, mode, _)| match mode {
                Mode::Semaphore { permits, .. } => *permits,
                Mode::Exclusive | Mode::Shared => 0,
            });
            let permits: u32 = permits.sum();
            let within = limits.len() == 1
                && limits
                    .first()
                    .copied()
                    .flatten()
                    .is_some_and(|limit| permits <= limit);
            assert!(
                alone || shared || within,
                "at {}: {lock} is believed to be held by {holders:?}",
                self.now
            );
        }
    }

    /// What an app is told must be true at that moment.
    pub fn told(&self, pod: usize, answer: &Result<ClaimAnswer, ClaimError>) {
        if let Ok(ClaimAnswer::Granted(view)) = answer {
            assert_eq!(
                view.state,
                ClaimState::Granted,
                "at {}: pod {pod} tells that it granted {} past its deadline",
                self.now,
                view.claim_id
            );
        }
    }
}
