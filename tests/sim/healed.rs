//! After the last fault: everybody is served, and nothing is left behind.
//! In: a world at any moment. Out: a world at rest, or who waits in vain. Never: a fault from then on.

use std::collections::BTreeSet;

use sidelock::sidecar::handle::ClaimState;

use crate::world::{PODS, World};

impl World {
    /// The network heals, nobody wants anything new, whoever holds lets go: all is served and settles.
    pub fn settle(&mut self) {
        self.stalled_until = 0;
        for pod in 0..PODS {
            self.pods[pod].deaf_until = 0;
            self.pods[pod].paused_until = 0;
            self.pods[pod].cut_until = 0;
            self.pods[pod].slow_until = 0;
            if !self.pods[pod].up {
                self.connect(pod);
            }
        }
        let end = self.now + 60_000;
        loop {
            self.step();
            let mut live = 0;
            for pod in 0..PODS {
                let now = self.clock(pod);
                let desk = &mut self.pods[pod].desk;
                for view in desk.claims(now, 10_000, None).items {
                    live += 1;
                    if view.state == ClaimState::Granted {
                        desk.release(now, &view.claim_id);
                    }
                }
            }
            let idle = self.pods.iter().all(|pod| pod.desk.is_settled());
            if live == 0 && idle {
                break;
            }
            if self.now >= end {
                let waiting =
                    |pod: usize| self.pods[pod].desk.claims(self.clock(pod), 100, None).items;
                let waiting: Vec<_> = (0..PODS).map(waiting).collect();
                let claims = self
                    .table
                    .sessions()
                    .flat_map(|(id, _)| self.table.claims_of(id));
                let claims: Vec<_> = claims
                    .map(|(name, claim)| (name, claim, self.table.pledge(name)))
                    .collect();
                panic!("never served: {waiting:#?} with {claims:#?}");
            }
        }
        let plain = self
            .table
            .sessions()
            .flat_map(|(id, _)| self.table.claims_of(id));
        let plain: Vec<_> = plain
            .filter(|(name, _)| self.table.pledge(*name).is_none())
            .collect();
        let ids: BTreeSet<_> = plain.iter().map(|(_, claim)| &claim.claim_id).collect();
        let of_these = self
            .table
            .history()
            .filter(|(_, it)| ids.contains(&it.claim_id));
        let told: Vec<_> = of_these.map(|(at, it)| (at, it.claim, &it.event)).collect();
        assert!(
            plain.is_empty(),
            "the table holds what nobody has: {plain:?}, {told:#?}"
        );
    }
}
