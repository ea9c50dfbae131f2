//! The one list of what is measured and noted: metrics, and the attributes of spans.
//! In: nothing. Out: names with their meaning, for the instruments, for docs/telemetry.md and for its check.
//! Never: a name used elsewhere that is not listed here, or a lock's name as a label.

/// One metric as Prometheus sees it; over OTLP it has the same name.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Without the `_total` of counters.
    pub name: &'static str,
    /// Who tells it.
    pub face: Face,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// Who tells a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Each sidecar.
    Sidecar,
    /// Each core node.
    Core,
    /// Both, each of itself.
    Both,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds or numbers in buckets.
    Histogram,
    /// The same, with trace ids as exemplars.
    HistogramWithExemplars,
}

const fn metric(
    face: Face,
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        face,
        kind,
        labels,
        help,
    }
}

use Face::{Both, Core, Sidecar};
use Kind::{Counter, Gauge, Histogram, HistogramWithExemplars as Traced};

/// All metrics.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric(Both, "sidelock_build_info", Gauge, &["version"], "1, with the version of this program"),
    metric(Sidecar, "sidelock_http_requests", Counter, &["route", "method", "status"], "Requests answered by the local API"),
    metric(Sidecar, "sidelock_decisions", Counter, &["outcome"], "Claims decided: granted, refused (an honest no), failed (no decision could be had), late (more than 1 s after the end of the wait)"),
    metric(Sidecar, "sidelock_grants", Counter, &[], "Claims granted and told to the app, waiting ones that had asked to queue excepted"),
    metric(Sidecar, "sidelock_local_grants", Counter, &[], "Claims granted without asking the core"),
    metric(Sidecar, "sidelock_claims", Gauge, &["state"], "Live claims of this pod: granted, queued"),
    metric(Sidecar, "sidelock_claims_ended", Counter, &["state"], "Claims that ended: released, expired, lost, cancelled, revoked"),
    metric(Both, "sidelock_wait_seconds", Traced, &[], "How long claims waited that had to; on a core node, in its queue"),
    metric(Sidecar, "sidelock_hold_seconds", Histogram, &[], "From the grant of a claim to its end"),
    metric(Both, "sidelock_hand_over_seconds", Traced, &[], "From when a lock was free and wanted to its next grant"),
    metric(Both, "sidelock_recalls", Counter, &[], "Locks kept by a sidecar that the core asked back"),
    metric(Sidecar, "sidelock_delegations", Gauge, &[], "Locks kept here"),
    metric(Sidecar, "sidelock_jeopardy", Counter, &[], "Times that the session went past its safe deadline"),
    metric(Sidecar, "sidelock_mode", Gauge, &["mode"], "1 for the mode in force: normal, jeopardy, read-only"),
    metric(Sidecar, "sidelock_session_safe_seconds", Gauge, &[], "Left until the safe deadline of the session"),
    metric(Sidecar, "sidelock_core_connected", Gauge, &[], "Core nodes to which a stream stands"),
    metric(Sidecar, "sidelock_core_operations_sent", Counter, &[], "Operations sent to the core, resent ones included"),
    metric(Sidecar, "sidelock_core_frames_sent", Counter, &[], "Frames sent to core nodes"),
    metric(Sidecar, "sidelock_core_operations_in_flight", Gauge, &[], "Operations sent to the core and not yet answered"),
    metric(Sidecar, "sidelock_core_answer_seconds", Histogram, &[], "How long claims waited for the core's first answer"),
    metric(Core, "sidelock_core_formed", Gauge, &[], "Whether this node belongs to a cell"),
    metric(Core, "sidelock_raft_term", Gauge, &[], "The current term"),
    metric(Core, "sidelock_raft_leader_known", Gauge, &[], "Whether a leader is known"),
    metric(Core, "sidelock_raft_serving", Gauge, &[], "Whether this node leads and serves"),
    metric(Core, "sidelock_raft_last_index", Gauge, &[], "The last entry in the log"),
    metric(Core, "sidelock_raft_committed_index", Gauge, &[], "The last entry known to be committed"),
    metric(Core, "sidelock_raft_applied_index", Gauge, &[], "The last entry applied here"),
    metric(Core, "sidelock_raft_snapshot_index", Gauge, &[], "The last entry that a snapshot covers"),
    metric(Core, "sidelock_raft_purged_index", Gauge, &[], "The last entry no longer in the log"),
    metric(Core, "sidelock_raft_lag_entries", Gauge, &[], "Committed entries not applied here yet"),
    metric(Core, "sidelock_raft_replica_lag_entries", Gauge, &["node"], "On the leader: entries that another member does not have yet"),
    metric(Core, "sidelock_raft_voters", Gauge, &[], "Voters of the cell"),
    metric(Core, "sidelock_raft_learners", Gauge, &[], "Learners of the cell"),
    metric(Core, "sidelock_elections", Counter, &[], "Times that this node saw another leader"),
    metric(Core, "sidelock_log_syncs", Counter, &[], "Times that the log was made durable"),
    metric(Core, "sidelock_log_sync_seconds", Histogram, &[], "How long it took to make the log durable"),
    metric(Core, "sidelock_entry_commands", Histogram, &[], "Commands in one log entry"),
    metric(Core, "sidelock_commit_seconds", Traced, &[], "From the proposal of a log entry to its answer, on the leader"),
    metric(Core, "sidelock_operations", Counter, &["kind"], "Operations of sidecars that were applied, on the leader"),
    metric(Core, "sidelock_core_grants", Counter, &[], "Claims and delegations granted, on the leader"),
    metric(Core, "sidelock_core_refusals", Counter, &["code"], "Claims refused, on the leader"),
    metric(Core, "sidelock_locks", Gauge, &[], "Locks known here: held, waited for, or remembered for their tokens"),
    metric(Core, "sidelock_core_claims", Gauge, &["state"], "Claims known here: granted, queued"),
    metric(Core, "sidelock_core_delegations", Gauge, &[], "Locks kept by sidecars"),
    metric(Core, "sidelock_sessions", Gauge, &[], "Sessions of sidecars"),
    metric(Core, "sidelock_sessions_expired", Counter, &[], "Sessions that ended because nobody renewed them, on the leader"),
    metric(Core, "sidelock_recall_oldest_seconds", Gauge, &[], "On the leader: age of the oldest recall that is not answered; 0 if there is none"),
    metric(Core, "sidelock_deadlocks", Counter, &[], "Deadlocks found and ended, on the leader"),
    metric(Core, "sidelock_lock_order_inversions", Counter, &[], "Orders of lock classes seen that contradict earlier ones, on the leader"),
    metric(Core, "sidelock_snapshots", Counter, &[], "Snapshots built"),
    metric(Core, "sidelock_snapshot_failures", Counter, &[], "Snapshots that could not be built"),
    metric(Core, "sidelock_storage_failed", Gauge, &[], "Whether a write or a sync has failed; the node takes nothing more then"),
    metric(Core, "sidelock_disk_free_bytes", Gauge, &[], "Free on the file system of the data directory"),
    metric(Core, "sidelock_disk_size_bytes", Gauge, &[], "Size of the file system of the data directory"),
    metric(Both, "sidelock_certificate_valid_seconds", Gauge, &[], "Left of the certificate in use; told only where certificates are in use"),
    metric(Core, "sidelock_stalls", Counter, &[], "Ticks that came so late that nothing was expired for a while"),
    metric(Core, "sidelock_clock_rate_error_ppm", Gauge, &[], "How much faster or slower the clock of leases runs than the raw one, over the last minute"),
];

/// The metric of this name.
///
/// # Panics
/// If it is not listed: it would be missing from the documentation.
pub fn metric_named(name: &str) -> &'static Metric {
    let found = METRICS.iter().find(|metric| metric.name == name);
    found.unwrap_or_else(|| panic!("{name} is not listed in names.rs"))
}

/// One attribute of spans. OpenTelemetry has no conventions for distributed locks; these follow its rules
/// for names, and are ours until it has some.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// string, int, double, boolean, string[].
    pub kind: &'static str,
    /// Which spans have it.
    pub spans: &'static str,
    /// What it means.
    pub help: &'static str,
}

macro_rules! attributes {
    ($($constant:ident = $name:literal, $kind:literal, $spans:literal, $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// All attributes of ours.
        pub const ATTRIBUTES: &[Attribute] = &[
            $(Attribute { name: $name, kind: $kind, spans: $spans, help: $help },)+
        ];
    };
}

attributes! {
    LOCK_NAME = "lock.name", "string", "lock.acquire, lock.hold, lock.wait", "The lock; of a claim over several, the first";
    LOCK_COUNT = "lock.count", "int", "lock.acquire", "How many locks the claim is over";
    LOCK_MODE = "lock.mode", "string", "lock.acquire, lock.hold", "exclusive, shared or semaphore";
    LOCK_CLAIM_ID = "lock.claim.id", "string", "lock.acquire, lock.hold, lock.wait", "The claim";
    LOCK_OWNER = "lock.owner", "string", "lock.acquire", "Its party for deadlocks, if it named one";
    LOCK_OUTCOME = "lock.outcome", "string", "lock.acquire, lock.wait", "granted, queued, or the code of the problem that the app was told";
    LOCK_TOKEN = "lock.token", "int", "lock.acquire, lock.hold", "The fencing token of the first lock";
    LOCK_CACHED = "lock.cached", "boolean", "lock.acquire", "Granted by the sidecar from a lock that it keeps, without the core";
    LOCK_CONTENDED = "lock.contended", "boolean", "lock.acquire", "Something stood in the way";
    LOCK_WAIT_DURATION = "lock.wait.duration", "double", "lock.acquire", "Seconds from the claim to its decision";
    LOCK_QUEUE_POSITION = "lock.queue.position", "int", "lock.acquire, lock.wait", "How many claims went before it when it was queued";
    LOCK_QUEUE_WAITERS = "lock.queue.waiters", "int", "lock.acquire", "How many claims wait, as told with a refusal";
    LOCK_HOLDER_CLAIM_ID = "lock.holder.claim.id", "string", "lock.acquire, lock.wait", "A claim that stood in the way; its span is linked";
    LOCK_HOLDER_IDENTITY = "lock.holder.identity", "string", "lock.acquire, lock.wait", "The sidecar of that claim";
    LOCK_RECALL = "lock.recall", "boolean", "lock.hold", "Others asked for the lock while it was held; their spans are linked";
    LOCK_HOLD_DURATION = "lock.hold.duration", "double", "lock.hold", "Seconds from the grant to the end";
    LOCK_END_STATE = "lock.end.state", "string", "lock.hold", "released, expired, lost, cancelled or revoked";
    LOCK_END_REASON = "lock.end.reason", "string", "lock.hold", "Why, unless the app asked for it";
    LOCK_SESSION = "lock.session", "int", "lock.operation", "The core's number of the sidecar's session";
    LOCK_OPERATION = "lock.operation", "string", "lock.operation", "acquire, delegate, release, return and so on";
    LOCK_ENTRY_COMMANDS = "lock.entry.commands", "int", "raft.entry", "Commands in the log entry";
    LOCK_ENTRY_INDEX = "lock.entry.index", "int", "lock.apply", "Index of the log entry";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_is_listed_once_and_named_by_the_rules() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let lower = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(metric.name.starts_with("sidelock_") && metric.name.chars().all(lower));
            assert!(
                !metric.name.ends_with("_total"),
                "{} is added by the encoder",
                metric.name
            );
            assert!(
                !metric
                    .labels
                    .iter()
                    .any(|label| ["lock", "name", "claim_id"].contains(label))
            );
            assert!(
                !metric.help.ends_with('.'),
                "{}: the encoder adds it",
                metric.name
            );
        }
        let names: BTreeSet<&str> = ATTRIBUTES.iter().map(|attribute| attribute.name).collect();
        assert_eq!(names.len(), ATTRIBUTES.len());
        assert!(names.iter().all(|name| name.starts_with("lock.")));
    }
}
