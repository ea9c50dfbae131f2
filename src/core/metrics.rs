//! A node's figures for Prometheus.
//! In: the group's own metrics, read when asked. Out: text. Never: a lock's name as a label.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::group::Group;
use super::overview::progress;

/// Of the text that [`render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All figures of this node; without a group only that it is up.
pub fn render(group: Option<&Group>) -> String {
    let mut registry = Registry::with_prefix("sidelock");
    set(
        &mut registry,
        "core_formed",
        "Whether this node belongs to a cell",
        u64::from(group.is_some()),
    );
    if let Some(group) = group {
        for (name, help, value) in readings(group) {
            set(&mut registry, name, help, value);
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String grows as needed, and that is the only error");
    text
}

fn readings(group: &Group) -> [(&'static str, &'static str, u64); 11] {
    let now = progress(group);
    let leadership = group.leadership().borrow().clone();
    let serving = u64::from(leadership.serving);
    let known = u64::from(leadership.leader.is_some());
    let voters = group.raft().voter_ids().count() as u64;
    let learners = group.raft().learner_ids().count() as u64;
    [
        ("raft_term", "The current term", now.term),
        ("raft_leader_known", "Whether a leader is known", known),
        (
            "raft_serving",
            "Whether this node leads and serves",
            serving,
        ),
        ("raft_last_index", "The last entry in the log", now.last),
        (
            "raft_committed_index",
            "The last entry known to be committed",
            now.committed,
        ),
        (
            "raft_applied_index",
            "The last entry applied here",
            now.applied,
        ),
        (
            "raft_snapshot_index",
            "The last entry that a snapshot covers",
            now.snapshot,
        ),
        (
            "raft_purged_index",
            "The last entry no longer in the log",
            now.purged,
        ),
        (
            "raft_lag_entries",
            "Committed entries not applied here yet",
            now.lag(),
        ),
        ("raft_voters", "Voters of the cell", voters),
        ("raft_learners", "Learners of the cell", learners),
    ]
}

fn set(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
