//! The instruments of a sidecar.
//! In: what its desk and its HTTP face see. Out: metrics. Never: a lock's name, a claim id or a path as a label.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::registry::{Level, Perhaps, Reading, Registry, Times};

/// All that is measured at one sidecar.
pub struct Instruments {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    decisions: Family<OutcomeLabels, Counter>,
    grants: Counter,
    ended: Family<StateLabels, Counter>,
    wait: Times,
    hold: Histogram,
    hand_over: Times,
    recalls: Counter,
    jeopardy: Counter,
    answer: Histogram,
    certificate: Perhaps,
    now: Now,
}

/// What is read at the moment of a scrape.
struct Now {
    claims: Family<StateLabels, Level>,
    mode: Family<ModeLabels, Level>,
    local_grants: Counter,
    delegations: Level,
    safe: Reading,
    connected: Level,
    operations_sent: Counter,
    frames_sent: Counter,
    in_flight: Level,
}

/// How a sidecar stands, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// Live claims that hold.
    pub granted: u64,
    /// Live claims that wait.
    pub queued: u64,
    /// Claims granted without the core.
    pub local_grants: u64,
    /// Locks kept.
    pub delegations: u64,
    /// Left until the session's safe deadline.
    pub safe: Duration,
    /// Core nodes with a stream.
    pub connected: u64,
    /// Operations sent.
    pub operations_sent: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Operations sent and not answered.
    pub in_flight: u64,
}

/// How a claim was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Granted, or queued as asked.
    Granted,
    /// An honest no.
    Refused,
    /// No decision could be had.
    Failed,
    /// Decided long after the end of its wait.
    Late,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

/// Told as 0 from the start: an alert on a counter that is not there yet would miss its first step.
const OUTCOMES: [Outcome; 4] = [
    Outcome::Granted,
    Outcome::Refused,
    Outcome::Failed,
    Outcome::Late,
];
const END_STATES: [&str; 5] = ["released", "expired", "lost", "cancelled", "revoked"];

impl Default for Instruments {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.add_build_info();
        let decisions: Family<OutcomeLabels, Counter> =
            registry.add("sidelock_decisions", Family::default());
        for outcome in OUTCOMES {
            drop(decisions.get_or_create(&outcome.labels()));
        }
        let ended: Family<StateLabels, Counter> =
            registry.add("sidelock_claims_ended", Family::default());
        for state in END_STATES {
            drop(ended.get_or_create(&StateLabels { state }));
        }
        Self {
            decisions,
            ended,
            requests: registry.add("sidelock_http_requests", Family::default()),
            grants: registry.add("sidelock_grants", Counter::default()),
            wait: registry.times("sidelock_wait_seconds"),
            hold: registry.seconds("sidelock_hold_seconds"),
            hand_over: registry.times("sidelock_hand_over_seconds"),
            recalls: registry.add("sidelock_recalls", Counter::default()),
            jeopardy: registry.add("sidelock_jeopardy", Counter::default()),
            answer: registry.seconds("sidelock_core_answer_seconds"),
            certificate: registry.perhaps("sidelock_certificate_valid_seconds"),
            now: Now {
                claims: registry.add("sidelock_claims", Family::default()),
                mode: registry.add("sidelock_mode", Family::default()),
                local_grants: registry.add("sidelock_local_grants", Counter::default()),
                delegations: registry.add("sidelock_delegations", Level::default()),
                safe: registry.add("sidelock_session_safe_seconds", Reading::default()),
                connected: registry.add("sidelock_core_connected", Level::default()),
                operations_sent: registry.add("sidelock_core_operations_sent", Counter::default()),
                frames_sent: registry.add("sidelock_core_frames_sent", Counter::default()),
                in_flight: registry.add("sidelock_core_operations_in_flight", Level::default()),
            },
            registry,
        }
    }
}

impl Instruments {
    /// A request was answered (a stream when it begins).
    pub fn answered(&self, route: &'static str, method: &'static str, status: u16) {
        let labels = RequestLabels {
            route,
            method,
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// A claim was decided.
    pub fn decided(&self, outcome: Outcome) {
        self.decisions.get_or_create(&outcome.labels()).inc();
    }

    /// A claim was granted and told.
    pub fn granted(&self) {
        self.grants.inc();
    }

    /// A claim that had to wait was granted.
    pub fn waited(&self, waited: Duration, trace_id: &str) {
        self.wait.observe(waited, trace_id);
    }

    /// A lock went from one claim here to the next.
    pub fn handed_over(&self, took: Duration, trace_id: &str) {
        self.hand_over.observe(took, trace_id);
    }

    /// A claim ended, in this state, after it held for so long, if it did.
    pub fn ended(&self, state: &'static str, held: Option<Duration>) {
        self.ended.get_or_create(&StateLabels { state }).inc();
        if let Some(held) = held {
            self.hold.observe(held.as_secs_f64());
        }
    }

    /// The core asked for a lock back.
    pub fn recalled(&self) {
        self.recalls.inc();
    }

    /// The session went past its safe deadline.
    pub fn in_jeopardy(&self) {
        self.jeopardy.inc();
    }

    /// So many seconds are left of its certificate, if it has one.
    pub fn certified(&self, left: Option<f64>) {
        self.certificate.set(left);
    }

    /// The core has answered a claim for the first time.
    pub fn core_answered(&self, took: Duration) {
        self.answer.observe(took.as_secs_f64());
    }

    /// Notes how the sidecar stands; `modes` are all modes, the one in force marked.
    pub fn stands(&self, standing: Standing, modes: &[(&'static str, bool)]) {
        let now = &self.now;
        for (state, count) in [("granted", standing.granted), ("queued", standing.queued)] {
            now.claims.get_or_create(&StateLabels { state }).set(count);
        }
        for (mode, in_force) in modes {
            let labels = ModeLabels { mode };
            now.mode.get_or_create(&labels).set(u64::from(*in_force));
        }
        now.delegations.set(standing.delegations);
        now.safe.set(standing.safe.as_secs_f64());
        now.connected.set(standing.connected);
        now.in_flight.set(standing.in_flight);
        for (counter, count) in [
            (&now.local_grants, standing.local_grants),
            (&now.operations_sent, standing.operations_sent),
            (&now.frames_sent, standing.frames_sent),
        ] {
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    /// The instruments.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Outcome {
    fn labels(self) -> OutcomeLabels {
        let outcome = match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Late => "late",
        };
        OutcomeLabels { outcome }
    }
}
