//! Spans: which requests have them, how they hang together, and where they are sent (OTLP).
//! In: the standard `OTEL_` environment variables, W3C trace contexts. Out: spans of sampled requests.
//! Never: the cost of a span for a request that is not sampled, or one kept back for a collector that is gone.
//!
//! Whether a request is traced is decided once, when it comes in, by the sampler that the environment names;
//! all its later spans follow. What waits and what holds have span ids that are computed from the trace id
//! and the claim id: so each side of a contention can name the other's span without being told of it.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    TracerProvider,
};
use opentelemetry::{Context, Key, Value};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    Config, IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, SdkTracerProvider,
    ShouldSample,
};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::otlp::{Protocol, Signal};

/// Of all our spans, and of nothing else: by it the layer that exports them tells them from the rest.
const TARGET: &str = "sidelock::trace";

/// Set once, where traces are sent somewhere.
static TRACING: OnceLock<Tracing> = OnceLock::new();

struct Tracing {
    provider: SdkTracerProvider,
    sampler: Box<dyn ShouldSample>,
    propagator: TraceContextPropagator,
}

/// Makes the layer that turns our spans into exported ones, if the environment says where to; an error in
/// words if it says so wrongly. To be called within a tokio runtime.
pub(super) fn layer<S>(
    resource: &Resource,
) -> Result<Option<impl Layer<S> + Send + Sync + 'static>, String>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let Some(protocol) = Signal::Traces.protocol()? else {
        return Ok(None);
    };
    let exporter = match protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().build(),
        Protocol::HttpProtobuf => SpanExporter::builder().with_http().build(),
    };
    let exporter = exporter.map_err(|error| error.to_string())?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(Ids::default())
        // Whatever has a span is sampled: that was decided before it was made.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.clone())
        .build();
    let tracer = provider.tracer("sidelock");
    let tracing = Tracing {
        provider,
        // As the environment says.
        sampler: Config::default().sampler,
        propagator: TraceContextPropagator::new(),
    };
    if TRACING.set(tracing).is_err() {
        return Ok(None); // a second part in one process uses the first's
    }
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
    Ok(Some(layer))
}

/// Whether any request may be traced.
pub fn is_on() -> bool {
    TRACING.get().is_some()
}

/// Sends what is left. Blocks for at most the export timeout.
pub(super) fn finish() {
    if let Some(tracing) = TRACING.get()
        && let Err(error) = tracing.provider.shutdown()
    {
        tracing::warn!(%error, "some spans were not sent");
    }
}

/// What the spans of one request hang on; off for requests that are not sampled, and then free.
#[derive(Debug, Clone)]
pub struct Trail(Span);

impl Default for Trail {
    fn default() -> Self {
        Self(Span::none())
    }
}

impl Trail {
    /// The span of a request that came in on this route, below that of whoever sent it, if it is sampled.
    /// Without a sender's context it begins a trace.
    pub fn incoming(method: &str, route: &str, carrier: &dyn Extractor) -> Self {
        let Some(tracing) = TRACING.get() else {
            return Self::default();
        };
        // Most requests come without one, and most are not sampled: those cost a random number.
        let parent = carrier.get("traceparent").map(|_| {
            let nothing = Context::new();
            tracing.propagator.extract_with_context(&nothing, carrier)
        });
        let given = parent
            .as_ref()
            .map(|parent| parent.span().span_context().clone());
        let trace = match given.filter(SpanContext::is_valid) {
            Some(given) => given.trace_id(),
            None => RandomIdGenerator::default().new_trace_id(),
        };
        let kind = SpanKind::Server;
        let sampled = tracing
            .sampler
            .should_sample(parent.as_ref(), trace, route, &kind, &[], &[]);
        if sampled.decision != SamplingDecision::RecordAndSample {
            return Self::default();
        }
        let parent = parent.unwrap_or_default();
        let preset = Preset {
            trace: Some(trace),
            span: None,
        };
        Self::start(&format!("{method} {route}"), "server", &parent, preset)
    }

    /// A span below one of another process, which says in its `traceparent` that it is sampled.
    pub fn below(name: &str, traceparent: Option<&str>, id: Option<SpanId>) -> Self {
        let Some(parent) = traceparent
            .filter(|_| TRACING.get().is_some())
            .and_then(context)
        else {
            return Self::default();
        };
        let parent = Context::new().with_remote_span_context(parent);
        Self::start(
            name,
            "internal",
            &parent,
            Preset {
                trace: None,
                span: id,
            },
        )
    }

    /// A span below this one.
    pub fn child(&self, name: &str, id: Option<SpanId>) -> Self {
        if !self.is_on() {
            return Self::default();
        }
        Self::start(
            name,
            "internal",
            &self.0.context(),
            Preset {
                trace: None,
                span: id,
            },
        )
    }

    /// A span of a trace of its own, which links to all these.
    pub fn linked<'a>(name: &str, to: impl Iterator<Item = &'a Self>) -> Self {
        let links: Vec<SpanContext> = to.filter_map(Self::span_context).collect();
        if links.is_empty() {
            return Self::default();
        }
        let trail = Self::start(name, "internal", &Context::new(), Preset::default());
        for link in links {
            trail.0.add_link(link);
        }
        trail
    }

    fn start(name: &str, kind: &str, parent: &Context, preset: Preset) -> Self {
        let span = tracing::info_span!(
            target: "sidelock::trace",
            parent: None,
            "span",
            otel.name = name,
            otel.kind = kind
        );
        if span.set_parent(parent.clone()).is_err() {
            return Self::default(); // the layer is not there
        }
        PRESET.set(preset);
        // Asking for it starts it, here and now, with the preset ids.
        drop(span.context());
        PRESET.set(Preset::default());
        Self(span)
    }

    /// Whether there is a span.
    pub fn is_on(&self) -> bool {
        !self.0.is_none()
    }

    /// Notes something of it; see `names.rs`.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if self.is_on() {
            self.0.set_attribute(Key::from_static_str(key), value);
        }
    }

    /// Notes a number of it; one beyond OTLP's integers is told as the greatest of them.
    pub fn set_number(&self, key: &'static str, number: impl TryInto<i64>) {
        self.set(key, number.try_into().unwrap_or(i64::MAX));
    }

    /// Notes in whose way it is, and links it to the span of that hold.
    pub fn set_behind(&self, claim_id: &str, identity: &str, trace_id: &str) {
        if self.is_on() {
            self.set(super::names::LOCK_HOLDER_CLAIM_ID, claim_id.to_owned());
            self.set(super::names::LOCK_HOLDER_IDENTITY, identity.to_owned());
            self.link(hold_span(trace_id, claim_id));
        }
    }

    /// Links it to another span.
    pub fn link(&self, to: Option<SpanContext>) {
        if let Some(to) = to.filter(|_| self.is_on()) {
            self.0.add_link(to);
        }
    }

    /// Links it to the span of another trail.
    pub fn link_to(&self, other: &Self) {
        self.link(other.span_context());
    }

    /// It did not do what was asked of it, through no choice of the asker.
    pub fn fail(&self, why: impl Into<String>) {
        if self.is_on() {
            self.0.set_status(Status::error(why.into()));
        }
    }

    /// For spans of other processes below this one.
    pub fn traceparent(&self) -> Option<Arc<str>> {
        let of = self.span_context()?;
        Some(format!("00-{}-{}-01", of.trace_id(), of.span_id()).into())
    }

    /// The trace it belongs to.
    pub fn trace_id(&self) -> Option<String> {
        Some(self.span_context()?.trace_id().to_string())
    }

    fn span_context(&self) -> Option<SpanContext> {
        self.is_on()
            .then(|| self.0.context().span().span_context().clone())
    }
}

/// The span of a claim that waits or is asked for: computed, so that others may link to it.
pub fn acquire_span(trace_id: &str, claim_id: &str) -> Option<SpanContext> {
    span_of("acquire", trace_id, claim_id)
}

/// The span of a claim that holds: computed, so that others may link to it.
pub fn hold_span(trace_id: &str, claim_id: &str) -> Option<SpanContext> {
    span_of("hold", trace_id, claim_id)
}

fn span_of(what: &str, trace_id: &str, claim_id: &str) -> Option<SpanContext> {
    let trace = TraceId::from_hex(trace_id)
        .ok()
        .filter(|id| *id != TraceId::INVALID)?;
    // FNV-1a (RFC 9923): spreads well, needs no key, and is the same in every version of ours.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in [what, trace_id, claim_id] {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let span = SpanId::from(hash.max(1));
    Some(SpanContext::new(
        trace,
        span,
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

/// A sampled context of W3C Trace Context, version 00 or later.
fn context(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (_version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let context = SpanContext::new(
        trace,
        span,
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    Some(context).filter(|context| sampled && context.is_valid())
}

thread_local! {
    /// For the span that is started next on this thread.
    static PRESET: Cell<Preset> = const { Cell::new(Preset { trace: None, span: None }) };
}

#[derive(Debug, Clone, Copy, Default)]
struct Preset {
    trace: Option<TraceId>,
    span: Option<SpanId>,
}

/// Random ids, where none is preset: the SDK's spans take no id from outside otherwise.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        PRESET.get().trace.unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        PRESET.get().span.unwrap_or_else(|| self.0.new_span_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn only_sampled_contexts_count() {
        let of = |text: &str| context(text).is_some();
        assert!(of(&format!("00-{TRACE}-b7ad6b7169203331-01")));
        assert!(!of(&format!("00-{TRACE}-b7ad6b7169203331-00")));
        assert!(!of(&format!("00-{TRACE}-0000000000000000-01")));
        assert!(!of("00-0-0-01"));
        assert!(!of(""));
    }

    #[test]
    fn both_sides_compute_the_same_span() {
        let one = hold_span(TRACE, "c1").expect("a trace id");
        assert_eq!(hold_span(TRACE, "c1"), Some(one.clone()));
        assert_ne!(acquire_span(TRACE, "c1"), Some(one.clone()));
        assert_ne!(hold_span(TRACE, "c2"), Some(one));
        assert_eq!(hold_span("", "c1"), None);
    }

    #[test]
    fn without_an_exporter_nothing_is_on() {
        let trail = Trail::below("x", Some(&format!("00-{TRACE}-b7ad6b7169203331-01")), None);
        assert!(!trail.is_on() && !trail.child("y", None).is_on());
        assert_eq!(trail.traceparent(), None);
    }
}
