//! An OTLP collector: gRPC and HTTP on ports of their own, which keeps all that it is sent.
//! In: exports. Out: spans and metrics by the name of their service. Never: an answer that refuses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// Longest that anything waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clones share what was sent.
#[derive(Clone)]
pub struct Collector(Arc<Inner>);

struct Inner {
    spans: Mutex<Vec<(String, Span)>>,
    metrics: Mutex<Vec<(String, Metric)>>,
    /// Told of each export.
    news: watch::Sender<u64>,
}

/// It runs as long as the test's runtime does.
pub struct Addresses {
    pub grpc: String,
    pub http: String,
}

impl Collector {
    pub async fn start() -> (Self, Addresses) {
        let collector = Self(Arc::new(Inner {
            spans: Mutex::default(),
            metrics: Mutex::default(),
            news: watch::Sender::new(0),
        }));
        let grpc = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let http = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = |listener: &tokio::net::TcpListener| {
            format!("http://{}", listener.local_addr().expect("it is bound"))
        };
        let addresses = Addresses {
            grpc: url(&grpc),
            http: url(&http),
        };
        let (traces, metrics) = (collector.clone(), collector.clone());
        let router = axum::Router::new()
            .route(
                "/v1/traces",
                post(async move |body: Bytes| {
                    traces.take_spans(ExportTraceServiceRequest::decode(body).expect("OTLP"));
                    ExportTraceServiceResponse::default().encode_to_vec()
                }),
            )
            .route(
                "/v1/metrics",
                post(async move |body: Bytes| {
                    metrics.take_metrics(ExportMetricsServiceRequest::decode(body).expect("OTLP"));
                    ExportMetricsServiceResponse::default().encode_to_vec()
                }),
            );
        tokio::spawn(async move { axum::serve(http, router).await });
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(grpc));
        tokio::spawn(serving);
        (collector, addresses)
    }

    /// Waits until what was sent is as wanted.
    pub async fn until<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let mut news = self.0.news.subscribe();
        let waiting = async {
            loop {
                news.borrow_and_update();
                if let Some(found) = found(self) {
                    return found;
                }
                news.changed().await.expect("the collector lives");
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("{what}; there are {:#?}", self.names()))
    }

    /// All spans, with their services.
    pub fn spans(&self) -> Vec<(String, Span)> {
        self.0.spans.lock().expect("nobody panics with it").clone()
    }

    /// The newest of this name.
    pub fn metric(&self, service: &str, name: &str) -> Option<Metric> {
        let metrics = self.0.metrics.lock().expect("nobody panics with it");
        let mut found = metrics.iter().rev();
        let found = found.find(|(of, metric)| of == service && metric.name == name);
        found.map(|(_, metric)| metric.clone())
    }

    fn names(&self) -> Vec<String> {
        let spans = self.spans().into_iter();
        spans
            .map(|(service, span)| format!("{service}: {}", span.name))
            .collect()
    }

    fn take_spans(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.0.spans.lock().expect("nobody panics with it");
        for of in request.resource_spans {
            let service = service(of.resource.as_ref());
            let sent = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(sent.map(|span| (service.clone(), span)));
        }
        drop(spans);
        self.0.news.send_modify(|count| *count += 1);
    }

    fn take_metrics(&self, request: ExportMetricsServiceRequest) {
        let mut metrics = self.0.metrics.lock().expect("nobody panics with it");
        for of in request.resource_metrics {
            let service = service(of.resource.as_ref());
            let sent = of.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            metrics.extend(sent.map(|metric| (service.clone(), metric)));
        }
        drop(metrics);
        self.0.news.send_modify(|count| *count += 1);
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource
        .map(|it| it.attributes.as_slice())
        .unwrap_or_default();
    text(attributes, "service.name").unwrap_or_default()
}

/// The text of an attribute; numbers and flags as they print.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => text.clone(),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => number.to_string(),
        AnyValue {
            value: Some(Value::BoolValue(flag)),
        } => flag.to_string(),
        AnyValue {
            value: Some(Value::DoubleValue(number)),
        } => number.to_string(),
        _other => return None,
    })
}
