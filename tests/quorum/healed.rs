//! Before the first fault and after the last: the cell forms; everybody is served, and all agree.
//! In: a world at any moment. Out: a world at rest, or who waits in vain. Never: a fault from then on.

use std::collections::BTreeSet;

use sidelock::sidecar::handle::{ClaimState, SidecarMode};
use sidelock::table::id::SessionId;

use crate::seen::Seen;
use crate::world::{PODS, World};

/// Longest that a new cell takes to serve, and a healed one to serve all who wait, in microseconds.
const FORM_US: u64 = 20_000_000;
const SETTLE_US: u64 = 60_000_000;

impl World {
    /// Until the cell serves all sidecars.
    pub fn form(&mut self) {
        let end = self.now_us + FORM_US;
        while !self.all_normal() {
            assert!(self.now_us < end, "the cell never formed");
            self.mend();
            self.step();
        }
    }

    fn all_normal(&self) -> bool {
        let mut modes = self
            .pods
            .iter()
            .map(|pod| pod.desk.mode(pod.clock(self.now_us)));
        let attached = self.pods.iter().all(|pod| {
            let view = pod.desk.mode_view(pod.clock(self.now_us));
            view.sessions[0].session.is_some()
        });
        attached && modes.all(|mode| mode == SidecarMode::Normal)
    }

    /// The network heals, nobody wants anything new, whoever holds lets go: all is served and settles.
    pub fn settle(&mut self) {
        self.faults.heal();
        for node in &mut self.nodes {
            node.paused_until = 0;
            node.slow_until = 0;
            node.disk_dies = false;
        }
        for pod in &mut self.pods {
            pod.paused_until = 0;
        }
        let end = self.now_us + SETTLE_US;
        loop {
            self.mend();
            self.step();
            let mut live = 0;
            for pod in 0..PODS {
                let now = self.pods[pod].clock(self.now_us);
                let desk = &mut self.pods[pod].desk;
                for view in desk.claims(now, 10_000, None).items {
                    live += 1;
                    if view.state == ClaimState::Granted {
                        desk.release(now, &view.claim_id);
                    }
                }
                self.pods[pod].done(now);
            }
            let settled = self.pods.iter().all(|pod| pod.desk.is_settled());
            if live == 0 && settled && self.all_normal() && self.is_level() && self.is_clean() {
                break;
            }
            assert!(self.now_us < end, "never at rest: {}", self.unrest());
        }
        self.compare();
    }

    /// Whether every node of the membership has applied as much as every other.
    fn is_level(&self) -> bool {
        let Some(leader) = self.nodes.iter().find(|node| node.serves()) else {
            return false;
        };
        let members = leader.running().map(|running| {
            let raft = running.group.raft();
            let learners = raft.learner_ids();
            raft.voter_ids().chain(learners).collect::<Vec<_>>()
        });
        let members = members.unwrap_or_default();
        let of_cell = self
            .nodes
            .iter()
            .filter(|node| members.contains(&node.id()));
        let indexes: Vec<_> = of_cell.map(|node| node.table(|_, index| index)).collect();
        indexes.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// Whether the leader's table has nothing that no living sidecar has: no session of a dead one, no claim
    /// that nobody wants any more.
    fn is_clean(&self) -> bool {
        let alive = self.pods.iter().filter_map(|pod| {
            let view = pod.desk.mode_view(pod.clock(self.now_us));
            view.sessions[0].session.map(SessionId)
        });
        let alive: BTreeSet<_> = alive.collect();
        let leader = self.nodes.iter().find(|node| node.serves());
        let clean = leader.and_then(|node| {
            node.table(|table, _| {
                let plain = |session| {
                    let mut claims = table.claims_of(session);
                    claims.any(|(claim, _)| table.pledge(claim).is_none())
                };
                let mut sessions = table.sessions();
                sessions.all(|(session, _)| alive.contains(&session) && !plain(session))
            })
        });
        clean.unwrap_or(false)
    }

    fn unrest(&self) -> String {
        let pods = self.pods.iter().map(|pod| {
            let now = pod.clock(self.now_us);
            let waiting = pod.desk.claims(now, 100, None).items;
            (pod.desk.mode_view(now), pod.desk.is_settled(), waiting)
        });
        let nodes = self.nodes.iter().map(|node| {
            let leadership = node.running();
            let leadership = leadership.map(|running| running.group.leadership().borrow().clone());
            let sessions = node.table(|table, _| {
                let sessions = table.sessions().map(|(id, session)| (id, session.clone()));
                sessions.collect::<Vec<_>>()
            });
            let index = node.table(|_, index| index);
            (node.is_up(), index, leadership, sessions)
        });
        let (pods, nodes): (Vec<_>, Vec<_>) = (pods.collect(), nodes.collect());
        format!("{pods:#?}\n{nodes:#?}")
    }

    /// What the run has seen.
    pub fn seen(&mut self) -> Seen {
        self.seen.add("runs", 1);
        self.seen.add("sessions_expired", self.expired);
        self.seen.add("updates", self.apps.updates());
        self.seen.add("updates_refused", self.apps.refused());
        let lost = self.apps.lost_without_tokens();
        self.seen.add("lost_without_tokens", lost);
        self.seen.clone()
    }
}
