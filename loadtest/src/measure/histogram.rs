//! Latencies as HDR histograms, and their form in raw data (V2, deflated, base64).
//! In: durations. Out: percentiles in milliseconds, text. Never: a bucket wider than 0.1 %.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Latencies of one kind in one run, in units of 100 ns.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// Nanoseconds in a unit: finer than any clock reading here, and a tenth of the buckets.
const UNIT_NS: u128 = 100;

impl Default for Latencies {
    fn default() -> Self {
        let mut histogram = Histogram::new(3).expect("three digits are allowed");
        histogram.auto(true);
        Self(histogram)
    }
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        let units = u64::try_from(latency.as_nanos() / UNIT_NS).unwrap_or(u64::MAX);
        // `saturating_record` would clamp to what the histogram spans now instead of growing it.
        self.0
            .record(units)
            .expect("a histogram that grows by itself takes all values");
    }

    pub fn merge(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("a histogram that grows by itself takes all values");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// In milliseconds; nothing without values.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| millis(self.0.value_at_percentile(percent)))
    }

    /// In milliseconds; nothing without values.
    pub fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean() / units_per_ms())
    }

    /// As raw data has it.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .expect("a Vec takes all that is written");
        STANDARD.encode(bytes)
    }

    /// Back from raw data.
    pub fn decode(text: &str) -> anyhow::Result<Self> {
        let bytes = STANDARD.decode(text)?;
        let histogram = Deserializer::new().deserialize(&mut bytes.as_slice());
        let mut histogram = histogram.ok().context("not a V2 histogram")?;
        histogram.auto(true);
        Ok(Self(histogram))
    }
}

#[expect(clippy::cast_precision_loss, reason = "hours in units are below 2^52")]
fn millis(units: u64) -> f64 {
    units as f64 / units_per_ms()
}

fn units_per_ms() -> f64 {
    1e6 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_data_gives_the_same_percentiles_back() {
        let mut latencies = Latencies::default();
        for ms in 1..=1000 {
            latencies.record(Duration::from_millis(ms));
        }
        let again = Latencies::decode(&latencies.encode()).expect("what was just encoded");
        assert_eq!(again.count(), 1000);
        for percent in [50.0, 99.0, 99.9, 100.0] {
            assert_eq!(again.percentile(percent), latencies.percentile(percent));
        }
        let p50 = again.percentile(50.0).expect("there are values");
        assert!((p50 - 500.0).abs() < 1.0, "{p50}");
        let mut slower = Latencies::default();
        slower.record(Duration::from_secs(100));
        let mut all = again;
        all.merge(&slower);
        assert_eq!(all.count(), 1001);
    }

    #[test]
    fn nothing_measured_has_no_percentile() {
        assert_eq!(Latencies::default().percentile(50.0), None);
        assert!(Latencies::decode("bm9uc2Vuc2U=").is_err());
    }
}
