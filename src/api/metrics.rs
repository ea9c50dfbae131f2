//! The basic metrics of a sidecar, for Prometheus.
//! In: finished requests, the sidecar's status at the moment of a scrape. Out: OpenMetrics text.
//! Never: a lock name, claim id or path as a label.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::sidecar::handle::{SidecarMode, StatusView};

/// The media type of what [`Metrics::render`] returns.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is counted here.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    grants: Counter,
    claims: Family<StateLabels, Gauge<u64, AtomicU64>>,
    mode: Family<ModeLabels, Gauge<u64, AtomicU64>>,
    in_flight: Gauge<u64, AtomicU64>,
    frames_sent: Counter,
    granted_locally: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            grants: Counter::default(),
            claims: Family::default(),
            mode: Family::default(),
            in_flight: Gauge::default(),
            frames_sent: Counter::default(),
            granted_locally: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "sidelock_http_requests",
            "Requests answered by the local API",
            metrics.requests.clone(),
        );
        registry.register(
            "sidelock_grants",
            "Claims granted and told to the app, waiting ones that had asked to queue excepted",
            metrics.grants.clone(),
        );
        registry.register("sidelock_claims", "Live claims", metrics.claims.clone());
        registry.register(
            "sidelock_mode",
            "1 for the mode in force",
            metrics.mode.clone(),
        );
        registry.register(
            "sidelock_core_operations_in_flight",
            "Operations sent to the core and not yet answered",
            metrics.in_flight.clone(),
        );
        registry.register(
            "sidelock_core_frames_sent",
            "Frames sent to core nodes",
            metrics.frames_sent.clone(),
        );
        registry.register(
            "sidelock_local_grants",
            "Claims granted without asking the core",
            metrics.granted_locally.clone(),
        );
        metrics
    }

    /// Counts a finished request (a stream when it begins).
    pub(super) fn answered(&self, route: &'static str, method: &Method, status: StatusCode) {
        let labels = RequestLabels {
            route,
            method: method_word(method),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a grant.
    pub(super) fn granted(&self) {
        self.grants.inc();
    }

    /// The text of a scrape.
    pub(super) fn render(&self, status: &StatusView) -> String {
        let claims = [("granted", status.granted), ("queued", status.queued)];
        for (state, count) in claims {
            self.claims.get_or_create(&StateLabels { state }).set(count);
        }
        for mode in [
            SidecarMode::Normal,
            SidecarMode::Jeopardy,
            SidecarMode::ReadOnly,
        ] {
            let labels = ModeLabels { mode: mode.word() };
            self.mode
                .get_or_create(&labels)
                .set(u64::from(mode == status.mode.standing.mode));
        }
        self.in_flight.set(status.in_flight);
        let counts = [
            (&self.frames_sent, status.frames_sent),
            (&self.granted_locally, status.granted_locally),
        ];
        for (counter, value) in counts {
            counter.inner().store(value, Ordering::Relaxed);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes all that is written");
        text
    }
}

/// Made-up methods must not make labels.
fn method_word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
