//! Metrics to a collector, over OTLP, from the very instruments that Prometheus reads.
//! In: instruments, the `OTEL_` variables. Out: one request every interval. Never: a second set of numbers, or
//! more than one request under way.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarNumber;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as prom;
use prost::Message;

use super::otlp::{self, Protocol, Signal};
use crate::world::clock::unix_nanos;

/// How long a collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the instruments at this moment.
pub type Read = Arc<dyn Fn() -> Vec<prom::MetricFamily> + Send + Sync>;

/// Sends the metrics of `part` as long as it is polled; at once done if the environment names no collector.
pub async fn run(part: &'static str, read: Read) {
    let protocol = match Signal::Metrics.protocol() {
        Ok(Some(protocol)) => protocol,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!("metrics are not sent: {error}");
            return;
        }
    };
    let mut sender = Sender::new(protocol);
    let resource = resource(part);
    let start = unix_nanos();
    let mut ticks = tokio::time::interval(otlp::metrics_every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await; // the first is at once
    loop {
        ticks.tick().await;
        let request = request(&resource, &read(), start, unix_nanos());
        let sent = tokio::time::timeout(TIMEOUT, sender.send(request)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error, "the collector did not take the metrics"),
            Err(_elapsed) => tracing::warn!("the collector did not answer in time"),
        }
    }
}

struct Sender {
    protocol: Protocol,
    endpoint: String,
    headers: std::collections::BTreeMap<String, String>,
    http: reqwest::Client,
    channel: Option<MetricsServiceClient<tonic::transport::Channel>>,
}

impl Sender {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            endpoint: otlp::metrics_endpoint(protocol),
            headers: otlp::metrics_headers(),
            http: reqwest::Client::new(),
            channel: None,
        }
    }

    async fn send(&mut self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        match self.protocol {
            Protocol::Grpc => self.send_grpc(request).await,
            Protocol::HttpProtobuf => self.send_http(&request).await,
        }
    }

    async fn send_http(&self, request: &ExportMetricsServiceRequest) -> Result<(), String> {
        let mut post = self.http.post(&self.endpoint);
        for (key, value) in &self.headers {
            post = post.header(key, value);
        }
        let post = post.header("content-type", "application/x-protobuf");
        let answer = post.body(request.encode_to_vec()).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        answer
            .error_for_status()
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn send_grpc(&mut self, message: ExportMetricsServiceRequest) -> Result<(), String> {
        if self.channel.is_none() {
            let client = MetricsServiceClient::connect(self.endpoint.clone()).await;
            self.channel = Some(client.map_err(|error| error.to_string())?);
        }
        let mut request = tonic::Request::new(message);
        for (key, value) in &self.headers {
            let key = key.parse::<tonic::metadata::MetadataKey<tonic::metadata::Ascii>>();
            if let (Ok(key), Ok(value)) = (key, value.parse()) {
                request.metadata_mut().insert(key, value);
            }
        }
        let client = self.channel.as_mut().expect("just connected");
        client
            .export(request)
            .await
            .map_err(|status| status.to_string())?;
        Ok(())
    }
}

fn resource(part: &str) -> Resource {
    let attributes = otlp::resource(part);
    let attributes = attributes
        .iter()
        .map(|(key, value)| text(key.as_str(), &value.to_string()));
    Resource {
        attributes: attributes.collect(),
        ..Resource::default()
    }
}

/// What OpenMetrics says, as OTLP says it: counters are monotonic sums since the start.
fn request(
    resource: &Resource,
    metrics: &[prom::MetricFamily],
    start: u64,
    now: u64,
) -> ExportMetricsServiceRequest {
    let metrics = metrics
        .iter()
        .filter_map(|family| metric(family, start, now));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "sidelock".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: metrics.collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(family: &prom::MetricFamily, start: u64, now: u64) -> Option<Metric> {
    let points = |value: fn(&prom::Metric) -> Option<f64>| {
        let all = family.metric.iter();
        let all = all.filter_map(|it| Some(number(labels(it), value(it)?, start, now)));
        all.collect()
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match prom::MetricType::try_from(family.r#type).ok()? {
        prom::MetricType::Counter => Data::Sum(Sum {
            data_points: points(|it| Some(it.counter.as_ref()?.value)),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        prom::MetricType::Histogram => Data::Histogram(Histogram {
            data_points: family
                .metric
                .iter()
                .filter_map(|it| Some(histogram(labels(it), it.histogram.as_ref()?, start, now)))
                .collect(),
            aggregation_temporality: cumulative,
        }),
        prom::MetricType::Gauge => Data::Gauge(Gauge {
            data_points: points(|it| Some(it.gauge.as_ref()?.value)),
        }),
        prom::MetricType::Summary
        | prom::MetricType::Untyped
        | prom::MetricType::GaugeHistogram => {
            return None; // there are none of ours
        }
    };
    let name = family.name.as_str();
    Some(Metric {
        // Prometheus wants the suffix, OpenTelemetry does not.
        name: name.strip_suffix("_total").unwrap_or(name).to_owned(),
        description: family.help.clone(),
        data: Some(data),
        ..Metric::default()
    })
}

fn labels(metric: &prom::Metric) -> Vec<KeyValue> {
    let labels = metric.label.iter();
    labels
        .map(|label| text(&label.name, &label.value))
        .collect()
}

fn number(attributes: Vec<KeyValue>, value: f64, start: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(Number::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(
    attributes: Vec<KeyValue>,
    histogram: &prom::Histogram,
    start: u64,
    now: u64,
) -> HistogramDataPoint {
    let bounds = histogram.bucket.iter().map(|bucket| bucket.upper_bound);
    // Prometheus counts from below up to each bound, OTLP between two.
    let mut below = 0;
    let counts = histogram.bucket.iter().map(|bucket| {
        let own = bucket.cumulative_count - below;
        below = bucket.cumulative_count;
        own
    });
    let exemplars = histogram.bucket.iter().filter_map(|bucket| {
        let exemplar = bucket.exemplar.as_ref()?;
        let trace = exemplar
            .label
            .iter()
            .find(|label| label.name == "trace_id")?;
        Some(Exemplar {
            time_unix_nano: now,
            trace_id: hex(&trace.value)?,
            value: Some(ExemplarNumber::AsDouble(exemplar.value)),
            ..Exemplar::default()
        })
    });
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: histogram.sample_count,
        sum: Some(histogram.sample_sum),
        explicit_bounds: bounds.filter(|bound| bound.is_finite()).collect(),
        bucket_counts: counts.collect(),
        exemplars: exemplars.collect(),
        ..HistogramDataPoint::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}
