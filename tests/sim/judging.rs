//! What apps may believe at each moment, and what they are told.
//! In: all desks at one instant. Out: a panic with the first contradiction. Never: a look into the table.

use sidelock::sidecar::handle::{ClaimAnswer, ClaimError, ClaimState};

use crate::world::{World, clock};

impl World {
    /// What everybody believes at this moment.
    pub fn check(&mut self) {
        let desks = self.pods.iter().enumerate().map(|(number, pod)| {
            let now = clock(self.now, pod.began_ms, pod.faster_ppm);
            (number, &pod.desk, now)
        });
        let new = self.beliefs.look(desks);
        let new = new.unwrap_or_else(|broken| panic!("at {}: {broken}", self.now));
        for (_, view) in new {
            self.seen.grants += 1;
            self.seen.local += u64::from(view.local);
            let of_permits = view.locks[0].mode.limit().is_some();
            self.seen.permits += u64::from(view.local && of_permits);
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
