//! PURE: what operators are shown of the desk: its mode and why, sessions, links, counts.
//! In: the desk as it stands, now. Out: views. Never: a change.

use std::time::Duration;

use super::desk::Desk;
use super::handle::{CoreLinkView, ModeView, SessionView, SidecarMode, Standing, StatusView, Why};
use crate::world::clock::Instant;

impl Desk {
    /// The mode alone.
    pub fn mode(&self, now: Instant) -> SidecarMode {
        self.mode_at(now)
    }

    /// The mode and why.
    pub fn mode_view(&self, now: Instant) -> ModeView {
        let safe = self.session.certain(now);
        ModeView {
            standing: self.standing_at(now),
            since: self.quorum.lasted(now),
            quorum_seen: self.quorum.proven_at().map(|at| now.since(at)),
            sessions: vec![SessionView {
                shard: 0,
                session: self.session.id().map(|id| id.0),
                safe_for: safe.map_or(Duration::ZERO, |until| until.since(now)),
            }],
        }
    }

    /// The mode, the counts and the links. `addresses` are those of the nodes, each with its place.
    pub fn status_view<'a>(
        &self,
        now: Instant,
        addresses: impl Iterator<Item = (usize, &'a str)>,
    ) -> StatusView {
        let home = self.home();
        let cores = addresses.map(|(node, address)| CoreLinkView {
            address: address.to_owned(),
            connected: self.stream_of(node).is_some(),
            leader: home.is_some_and(|home| home.node == node),
        });
        StatusView {
            mode: self.mode_view(now),
            granted: self.granted,
            queued: self.queued,
            in_flight: self.outbox.in_flight() as u64,
            frames_sent: self.frames_sent,
            operations_sent: self.outbox.left,
            delegations: self
                .spots
                .iter()
                .filter(|(_, spot)| spot.given().is_some())
                .count() as u64,
            granted_locally: self.granted_locally,
            cores: cores.collect(),
            uptime: now.since(self.started),
        }
    }

    /// The mode and its reason as of the last step.
    pub fn standing(&self) -> Standing {
        self.quorum.standing()
    }

    pub(super) fn standing_at(&self, now: Instant) -> Standing {
        let mode = self.mode_at(now);
        let why = match mode {
            SidecarMode::ReadOnly if !self.reaches_any() => Some(Why::CoreUnreachable),
            SidecarMode::ReadOnly => Some(Why::NoQuorum),
            SidecarMode::Jeopardy => Some(Why::Jeopardy),
            SidecarMode::Normal if self.draining => Some(Why::Draining),
            SidecarMode::Normal if self.session.is_between() => Some(Why::SessionLost),
            SidecarMode::Normal if !self.outbox.has_room() => Some(Why::Overloaded),
            SidecarMode::Normal => None,
        };
        Standing { mode, why }
    }
}
