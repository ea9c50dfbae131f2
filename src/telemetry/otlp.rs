//! Where traces and metrics are sent, as the OpenTelemetry specification has it.
//! In: the standard `OTEL_` environment variables. Out: by which protocol, to where, how often.
//! Never: a name of our own for what has a standard one.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_sdk::Resource;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC, by default to port 4317.
    Grpc,
    /// HTTP with protobuf bodies, by default to port 4318.
    HttpProtobuf,
}

impl Signal {
    /// By which protocol it is sent; `None` if it is not sent anywhere. An error in words for what no
    /// exporter here can do.
    pub fn protocol(self) -> Result<Option<Protocol>, String> {
        self.protocol_by(&|name| std::env::var(name).ok())
    }

    fn protocol_by(
        self,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Protocol>, String> {
        let read = |name: &str| read(name).filter(|text| !text.is_empty());
        let own = |what: &str| read(&format!("OTEL_EXPORTER_OTLP_{}_{what}", self.word()));
        let either = |what: &str| own(what).or_else(|| read(&format!("OTEL_EXPORTER_OTLP_{what}")));
        if read("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let exporter = format!("OTEL_{}_EXPORTER", self.word());
        let asked = match read(&exporter).as_deref() {
            Some("none") => return Ok(None),
            Some("otlp") => true,
            Some(other) => return Err(format!("{exporter}={other}: only otlp and none are known")),
            None => false,
        };
        // Asked for, or told where to: nobody has a collector by accident.
        if !asked && either("ENDPOINT").is_none() {
            return Ok(None);
        }
        match either("PROTOCOL").as_deref() {
            Some("grpc") => Ok(Some(Protocol::Grpc)),
            Some("http/protobuf") | None => Ok(Some(Protocol::HttpProtobuf)),
            Some(other) => Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL={other}: only grpc and http/protobuf are known"
            )),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// Who sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, else by the part that runs.
pub fn resource(part: &str) -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    let mut builder = Resource::builder();
    if !named {
        builder = builder.with_service_name(format!("sidelock-{part}"));
    }
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    builder.with_attribute(version).build()
}

/// How often metrics are sent.
pub fn metrics_every() -> Duration {
    let text = std::env::var("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or_default();
    Duration::from_millis(text.parse().unwrap_or(60_000).max(100))
}

/// The endpoint for metrics, complete.
pub fn metrics_endpoint(protocol: Protocol) -> String {
    let read = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(own) = read("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") {
        return own; // as it is, says the specification
    }
    let base = read("OTEL_EXPORTER_OTLP_ENDPOINT");
    match protocol {
        Protocol::Grpc => base.unwrap_or_else(|| "http://localhost:4317".to_owned()),
        Protocol::HttpProtobuf => {
            let base = base.unwrap_or_else(|| "http://localhost:4318".to_owned());
            format!("{}/v1/metrics", base.trim_end_matches('/'))
        }
    }
}

/// Headers to send along: `key=value,...`, values percent-encoded.
pub fn metrics_headers() -> BTreeMap<String, String> {
    let read = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let text = read("OTEL_EXPORTER_OTLP_METRICS_HEADERS")
        .or_else(|| read("OTEL_EXPORTER_OTLP_HEADERS"))
        .unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim())
            .decode_utf8()
            .ok()?;
        Some((key.trim().to_lowercase(), value.into_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(pairs: &[(&str, &str)]) -> Result<Option<Protocol>, String> {
        let read = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Signal::Traces.protocol_by(&read)
    }

    #[test]
    fn sent_only_where_it_is_told_where_to() {
        assert_eq!(by(&[]), Ok(None));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(by(&[endpoint]), Ok(Some(Protocol::HttpProtobuf)));
        assert_eq!(by(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        assert_eq!(by(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(by(&[endpoint, ("OTEL_SDK_DISABLED", "")]), by(&[endpoint]));
        assert_eq!(
            by(&[("OTEL_TRACES_EXPORTER", "otlp")]),
            Ok(Some(Protocol::HttpProtobuf))
        );
    }

    #[test]
    fn a_signal_s_own_variable_wins() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
        let endpoint = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://collector:4317",
        );
        assert_eq!(by(&[grpc, endpoint]), Ok(Some(Protocol::Grpc)));
        assert_eq!(by(&[grpc, own, endpoint]), Ok(Some(Protocol::HttpProtobuf)));
        assert!(by(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), endpoint]).is_err());
        assert!(by(&[("OTEL_TRACES_EXPORTER", "zipkin")]).is_err());
    }
}
