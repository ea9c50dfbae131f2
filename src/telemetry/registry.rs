//! Instruments that are registered by their listed names, and what is made of them: text and messages.
//! In: names of `names.rs`. Out: counters, gauges, histograms; OpenMetrics text.
//! Never: a metric without a line in `names.rs`.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_protobuf::{self, prometheus_data_model::MetricFamily};
use prometheus_client::encoding::text;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{self, Metric};

use super::names;

/// Of the text that [`Registry::text`] gives.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the buckets of times, in seconds: from a local grant to the longest of waits.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 60.0, 600.0,
];
/// Bounds of the buckets of batch sizes.
const SIZES: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// A number that goes up and down, never below 0.
pub type Level = Gauge<u64, AtomicU64>;
/// A number that may be broken or negative.
pub type Reading = Gauge<f64, AtomicU64>;

/// A reading that is told only once there is one.
#[derive(Debug, Clone, Default)]
pub struct Perhaps(Family<Vec<(String, String)>, Reading>);

impl Perhaps {
    /// Reads.
    pub fn set(&self, value: Option<f64>) {
        match value {
            Some(value) => drop(self.0.get_or_create(&Vec::new()).set(value)),
            None => self.0.clear(),
        }
    }
}

/// The one label of an exemplar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabel {
    trace_id: String,
}

/// Times in buckets, with trace ids for examples.
pub struct Times(HistogramWithExemplars<TraceLabel>);

impl Times {
    /// One more, of this trace unless that is empty.
    pub fn observe(&self, took: std::time::Duration, trace_id: &str) {
        let trace = (!trace_id.is_empty()).then(|| TraceLabel {
            trace_id: trace_id.to_owned(),
        });
        self.0.observe(took.as_secs_f64(), trace, None);
    }
}

/// All instruments of one part of the program.
#[derive(Debug, Default)]
pub struct Registry(registry::Registry);

impl Registry {
    /// Registers a metric under a listed name.
    pub fn add<M: Metric + Clone>(&mut self, name: &str, metric: M) -> M {
        let listed = names::metric_named(name);
        self.0.register(listed.name, listed.help, metric.clone());
        metric
    }

    /// A reading that may be missing.
    pub fn perhaps(&mut self, name: &str) -> Perhaps {
        Perhaps(self.add(name, Family::default()))
    }

    /// A histogram of times.
    pub fn seconds(&mut self, name: &str) -> Histogram {
        self.add(name, Histogram::new(SECONDS))
    }

    /// A histogram of times with exemplars.
    pub fn times(&mut self, name: &str) -> Times {
        let histogram = HistogramWithExemplars::new(SECONDS.into_iter());
        Times(self.add(name, histogram))
    }

    /// A histogram of batch sizes.
    pub fn sizes(&mut self, name: &str) -> Histogram {
        self.add(name, Histogram::new(SIZES))
    }

    /// Notes the version of this program.
    pub fn add_build_info(&mut self) {
        let info: Family<Version, Level> = self.add("sidelock_build_info", Family::default());
        let version = env!("CARGO_PKG_VERSION");
        info.get_or_create(&Version { version }).set(1);
    }

    /// For Prometheus.
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.0).expect("a String takes all that is written");
        out
    }

    /// For OTLP.
    pub fn messages(&self) -> Vec<MetricFamily> {
        prometheus_protobuf::encode(&self.0).expect("messages take all that is written")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: &'static str,
}
