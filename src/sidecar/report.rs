//! PURE: what operators are shown of the desk: its mode and why, sessions, links, counts.
//! In: the desk as it stands, now. Out: views. Never: a change.

use std::time::Duration;

use super::desk::Desk;
use super::handle::{CoreLinkView, ModeView, SessionView, SidecarMode, StatusView};
use crate::world::clock::Instant;

impl Desk {
    /// The mode alone.
    pub fn mode(&self, now: Instant) -> SidecarMode {
        self.mode_at(now)
    }

    /// The mode and why.
    pub fn mode_view(&self, now: Instant) -> ModeView {
        let mode = self.mode_at(now);
        let safe = self.session.certain(now);
        ModeView {
            mode,
            since: self.quorum.lasted(now),
            reason: self.reason(mode).to_owned(),
            quorum_seen: self.quorum.proven_at().map(|at| now.since(at)),
            sessions: vec![SessionView {
                shard: 0,
                session: self.session.id().map(|id| id.0),
                safe_for: safe.map_or(Duration::ZERO, |until| until.since(now)),
            }],
        }
    }

    /// The mode, the counts and the links. `addresses` are those of the nodes, in their order.
    pub fn status_view(&self, now: Instant, addresses: &[String]) -> StatusView {
        let home = self.home();
        let links = self.links.iter().enumerate().zip(addresses);
        let cores = links.map(|((node, link), address)| CoreLinkView {
            address: address.clone(),
            connected: link.stream.is_some(),
            leader: home.is_some_and(|home| home.node == node),
        });
        StatusView {
            mode: self.mode_view(now),
            granted: self.granted,
            queued: self.queued,
            in_flight: self.outbox.in_flight() as u64,
            cores: cores.collect(),
            uptime: now.since(self.started),
        }
    }

    fn reason(&self, mode: SidecarMode) -> &'static str {
        let reached = self.links.iter().any(|link| link.stream.is_some());
        match mode {
            SidecarMode::Normal => "",
            SidecarMode::Jeopardy => {
                "the session's safe deadline has passed and the core has not confirmed it yet"
            }
            SidecarMode::ReadOnly if !reached => "no core node answers",
            SidecarMode::ReadOnly if self.home().is_none() => {
                "core nodes answer, but none of them leads with a quorum"
            }
            SidecarMode::ReadOnly => "the leader has not had a majority's acknowledgement",
        }
    }
}
