//! The instruments of a core node.
//! In: what the node's parts see, and how it stands at a scrape. Out: metrics. Never: a lock's name as a label.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::names::{Face, Kind, METRICS};
use super::registry::{Level, Perhaps, Reading, Registry, Times};

/// All that is measured at one core node.
pub struct Instruments {
    registry: Registry,
    /// Gauges without labels, by name; set at each scrape.
    readings: BTreeMap<&'static str, Number>,
    claims: Family<StateLabels, Level>,
    replica_lag: Family<NodeLabels, Level>,
    operations: Family<KindLabels, Counter>,
    refusals: Family<CodeLabels, Counter>,
    counts: BTreeMap<&'static str, Counter>,
    sync: Histogram,
    entry_commands: Histogram,
    commit: Times,
    wait: Times,
    hand_over: Times,
    certificate: Perhaps,
}

/// A gauge without labels.
enum Number {
    /// Of what comes in whole: shown without a point.
    Whole(Level),
    /// Of times and rates.
    Broken(Reading),
}

/// What is counted one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Another leader.
    Election,
    /// A claim or a delegation granted.
    Grant,
    /// A session that nobody renewed.
    SessionExpired,
    /// A lock asked back.
    Recall,
    /// A deadlock found and ended.
    Deadlock,
    /// An order of lock classes that contradicts an earlier one.
    Inversion,
    /// A snapshot built.
    Snapshot,
    /// A snapshot that could not be built.
    SnapshotFailure,
}

const COUNTS: [(Count, &str); 8] = [
    (Count::Election, "sidelock_elections"),
    (Count::Grant, "sidelock_core_grants"),
    (Count::SessionExpired, "sidelock_sessions_expired"),
    (Count::Recall, "sidelock_recalls"),
    (Count::Deadlock, "sidelock_deadlocks"),
    (Count::Inversion, "sidelock_lock_order_inversions"),
    (Count::Snapshot, "sidelock_snapshots"),
    (Count::SnapshotFailure, "sidelock_snapshot_failures"),
];

/// Told as 0 from the start: an alert on a counter that is not there yet would miss its first step.
const OPERATIONS: [&str; 10] = [
    "acquire",
    "delegate",
    "return",
    "in-use",
    "refill",
    "rename",
    "release",
    "set-value",
    "close",
    "denied",
];
const REFUSALS: [&str; 7] = [
    "lock-held",
    "lock-delay",
    "deadlock",
    "semaphore-limit",
    "quota-exceeded",
    "invalid-request",
    "forbidden",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

/// How a node stands, in numbers.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// By the names of gauges without labels.
    pub readings: Vec<(&'static str, f64)>,
    /// Claims that hold.
    pub granted: u64,
    /// Claims that wait.
    pub queued: u64,
    /// Entries that each other member lacks, as far as this node knows.
    pub replica_lag: Vec<(u16, u64)>,
    /// Seconds left of its certificate, if it has one.
    pub certificate: Option<f64>,
}

impl Default for Instruments {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.add_build_info();
        let plain = METRICS.iter().filter(|metric| {
            metric.face == Face::Core && metric.kind == Kind::Gauge && metric.labels.is_empty()
        });
        let readings = plain.map(|metric| {
            let name = metric.name;
            let broken = name.ends_with("_seconds") || name.ends_with("_ppm");
            let number = if broken {
                Number::Broken(registry.add(name, Reading::default()))
            } else {
                Number::Whole(registry.add(name, Level::default()))
            };
            (name, number)
        });
        let readings: BTreeMap<_, _> = readings.collect();
        let operations: Family<KindLabels, Counter> =
            registry.add("sidelock_operations", Family::default());
        for kind in OPERATIONS {
            drop(operations.get_or_create(&KindLabels { kind }));
        }
        let refusals: Family<CodeLabels, Counter> =
            registry.add("sidelock_core_refusals", Family::default());
        for code in REFUSALS {
            drop(refusals.get_or_create(&CodeLabels { code }));
        }
        let counts = COUNTS.map(|(_, name)| (name, registry.add(name, Counter::default())));
        Self {
            readings,
            counts: counts.into(),
            claims: registry.add("sidelock_core_claims", Family::default()),
            replica_lag: registry.add("sidelock_raft_replica_lag_entries", Family::default()),
            operations,
            refusals,
            sync: registry.seconds("sidelock_log_sync_seconds"),
            entry_commands: registry.sizes("sidelock_entry_commands"),
            commit: registry.times("sidelock_commit_seconds"),
            wait: registry.times("sidelock_wait_seconds"),
            hand_over: registry.times("sidelock_hand_over_seconds"),
            certificate: registry.perhaps("sidelock_certificate_valid_seconds"),
            registry,
        }
        .with_totals()
    }
}

impl Instruments {
    /// What others count, or a histogram beside it.
    fn with_totals(mut self) -> Self {
        for name in ["sidelock_log_syncs", "sidelock_stalls"] {
            let counter = self.registry.add(name, Counter::default());
            drop(self.counts.insert(name, counter));
        }
        self
    }

    /// One more of these.
    pub fn count(&self, what: Count) {
        let named = COUNTS.iter().find(|(count, _)| *count == what);
        if let Some(counter) = named.and_then(|(_, name)| self.counts.get(name)) {
            counter.inc();
        }
    }

    /// So many ticks have come late by now.
    pub fn stalled(&self, ticks: u64) {
        if let Some(counter) = self.counts.get("sidelock_stalls") {
            counter
                .inner()
                .store(ticks, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The log was made durable.
    pub fn synced(&self, took: Duration) {
        self.sync.observe(took.as_secs_f64());
        if let Some(counter) = self.counts.get("sidelock_log_syncs") {
            counter.inc();
        }
    }

    /// A log entry was proposed and answered; of this trace, if any of it was traced.
    pub fn committed(&self, commands: usize, took: Duration, trace_id: &str) {
        let commands = u32::try_from(commands).unwrap_or(u32::MAX);
        self.entry_commands.observe(f64::from(commands));
        self.commit.observe(took, trace_id);
    }

    /// An operation was applied.
    pub fn operated(&self, kind: &'static str) {
        self.operations.get_or_create(&KindLabels { kind }).inc();
    }

    /// A claim was refused.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&CodeLabels { code }).inc();
    }

    /// A claim that waited in the core was granted.
    pub fn waited(&self, waited: Duration, trace_id: &str) {
        self.wait.observe(waited, trace_id);
    }

    /// A lock went from one claim to the next.
    pub fn handed_over(&self, took: Duration, trace_id: &str) {
        self.hand_over.observe(took, trace_id);
    }

    /// Notes how the node stands.
    pub fn stands(&self, standing: &Standing) {
        for (name, value) in &standing.readings {
            match self.readings.get(name) {
                Some(Number::Whole(level)) => drop(level.set(whole(*value))),
                Some(Number::Broken(reading)) => drop(reading.set(*value)),
                None => {}
            }
        }
        for (state, count) in [("granted", standing.granted), ("queued", standing.queued)] {
            self.claims.get_or_create(&StateLabels { state }).set(count);
        }
        self.certificate.set(standing.certificate);
        self.replica_lag.clear();
        for (node, lag) in &standing.replica_lag {
            let labels = NodeLabels { node: *node };
            self.replica_lag.get_or_create(&labels).set(*lag);
        }
    }

    /// The instruments.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and flags, none of them negative or beyond 2^53"
)]
fn whole(value: f64) -> u64 {
    value as u64
}
