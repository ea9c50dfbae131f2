//! One request of an app is one trace, through sidecar and core, with links between who waits and who holds.

use opentelemetry_proto::tonic::trace::v1::Span;
use sidelock::telemetry::names;

use crate::collector::{Collector, text};
use crate::processes::{Processes, waiting};

const HOLDER: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-1111111111111111-01";
const WAITER: &str = "00-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-2222222222222222-01";
const UNSAMPLED: &str = "00-cccccccccccccccccccccccccccccccc-3333333333333333-00";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans of one trace, by service and name.
struct Trace(Vec<(String, Span)>);

impl Trace {
    fn of(collector: &Collector, traceparent: &str) -> Self {
        let id = &traceparent[3..35];
        let spans = collector.spans().into_iter();
        Self(
            spans
                .filter(|(_, span)| hex(&span.trace_id) == id)
                .collect(),
        )
    }

    fn find(&self, service: &str, name: &str) -> Option<&Span> {
        let found = self
            .0
            .iter()
            .find(|(of, span)| of == service && span.name == name);
        found.map(|(_, span)| span)
    }

    /// Every span but the first is below another one of the trace, or of the app.
    fn is_connected(&self, app: &str) -> bool {
        let known: Vec<&[u8]> = self
            .0
            .iter()
            .map(|(_, span)| span.span_id.as_slice())
            .collect();
        self.0.iter().all(|(_, span)| {
            hex(&span.parent_span_id) == app || known.contains(&span.parent_span_id.as_slice())
        })
    }
}

fn links_to(from: &Span, to: &Span) -> bool {
    let mut links = from.links.iter();
    links.any(|link| link.span_id == to.span_id && link.trace_id == to.trace_id)
}

async fn contended(protocol: &str) {
    let (collector, at) = Collector::start().await;
    let endpoint = if protocol == "grpc" {
        &at.grpc
    } else {
        &at.http
    };
    let mut processes = Processes::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ])
    .await;
    let (one, two) = (
        processes.sidecar("pod-1").await,
        processes.sidecar("pod-2").await,
    );
    let (status, _) = processes
        .claim(&one, "holds", waiting("orders/42", 0), HOLDER)
        .await;
    assert_eq!(status, 201);
    let (waiter, release) = tokio::join!(
        processes.claim(&two, "waits", waiting("orders/42", 20_000), WAITER),
        async {
            // Released once the core has the other in its queue.
            loop {
                let lock = processes
                    .get(&format!("{one}/v1/locks/orders%2F42"))
                    .await
                    .expect("a lock");
                if lock["queue_length"] == 1 {
                    return processes.release(&one, "holds").await;
                }
            }
        }
    );
    assert_eq!((waiter.0, release), (201, 204));
    processes
        .claim(&two, "silent", waiting("silent", 0), UNSAMPLED)
        .await;
    assert_eq!(processes.release(&two, "silent").await, 204);
    assert_eq!(processes.release(&two, "waits").await, 204);
    processes.finish();
    let (holder, waiter) = collector
        .until("both traces are whole", |collector| {
            let holder = Trace::of(collector, HOLDER);
            let waiter = Trace::of(collector, WAITER);
            let whole = holder.find("sidelock-sidecar", "lock.hold").is_some()
                && waiter.find("sidelock-sidecar", "lock.hold").is_some()
                && waiter.find("sidelock-core", "lock.wait").is_some();
            whole.then_some((holder, waiter))
        })
        .await;
    judge(&holder, &waiter);
    assert!(
        Trace::of(&collector, UNSAMPLED).0.is_empty(),
        "the app did not want it sampled"
    );
    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|(_, span)| span.name.as_str()).collect();
    let entry = spans.iter().find(|(_, span)| span.name == "raft.entry");
    let (_, entry) = entry.unwrap_or_else(|| panic!("an entry has a trace of its own: {names:?}"));
    let operation = |trace: &Trace| trace.find("sidelock-core", "lock.operation").cloned();
    let operations = [operation(&holder), operation(&waiter)];
    assert!(spans.iter().any(|(_, span)| {
        span.name == "raft.entry"
            && operations
                .iter()
                .flatten()
                .any(|operation| links_to(span, operation))
    }));
    for name in ["raft.commit", "lock.apply"] {
        assert!(
            spans.iter().any(|(_, span)| span.name == name),
            "no span {name}"
        );
    }
    assert!(text(&entry.attributes, names::LOCK_ENTRY_COMMANDS).is_some());
}

fn judge(holder: &Trace, waiter: &Trace) {
    assert!(waiter.is_connected(&WAITER[36..52]), "{:#?}", waiter.0);
    assert!(holder.is_connected(&HOLDER[36..52]), "{:#?}", holder.0);
    let request = waiter
        .find("sidelock-sidecar", "PUT /v1/claims/{claim_id}")
        .expect("a request");
    assert_eq!(
        hex(&request.parent_span_id),
        WAITER[36..52],
        "below the app's span"
    );
    let acquire = waiter
        .find("sidelock-sidecar", "lock.acquire")
        .expect("a claim");
    let hold = holder
        .find("sidelock-sidecar", "lock.hold")
        .expect("a hold");
    assert!(
        links_to(acquire, hold),
        "who waits links to who holds: {acquire:#?} {hold:#?}"
    );
    let wait = waiter
        .find("sidelock-core", "lock.wait")
        .expect("a wait in the core");
    assert!(links_to(wait, hold));
    let said = |span: &Span, name: &str| text(&span.attributes, name).unwrap_or_default();
    assert_eq!(said(acquire, names::LOCK_NAME), "orders/42");
    assert_eq!(said(acquire, names::LOCK_MODE), "exclusive");
    assert_eq!(said(acquire, names::LOCK_OUTCOME), "granted");
    assert_eq!(said(acquire, names::LOCK_CONTENDED), "true");
    assert_eq!(said(acquire, names::LOCK_CACHED), "false");
    assert_eq!(said(acquire, names::LOCK_QUEUE_POSITION), "0");
    assert_eq!(said(acquire, names::LOCK_HOLDER_CLAIM_ID), "holds");
    assert_eq!(said(acquire, names::LOCK_HOLDER_IDENTITY), "pod-1");
    assert_ne!(said(acquire, names::LOCK_TOKEN), "");
    assert_eq!(said(hold, names::LOCK_END_STATE), "released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contended_claim_is_one_trace_over_grpc() {
    contended("grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contended_claim_is_one_trace_over_http() {
    contended("http/protobuf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_asked_for_its_lock_links_to_who_asks() {
    let (collector, at) = Collector::start().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", at.http.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let mut processes = Processes::start(&env).await;
    let (one, two) = (
        processes.sidecar("pod-1").await,
        processes.sidecar("pod-2").await,
    );
    // Used before: so the sidecar keeps it, and the core must ask for it.
    for turn in 0..3 {
        processes
            .claim(&one, &format!("warm-{turn}"), waiting("kept", 0), UNSAMPLED)
            .await;
        processes.release(&one, &format!("warm-{turn}")).await;
    }
    let (_, claim) = processes
        .claim(&one, "holds", waiting("kept", 0), HOLDER)
        .await;
    assert_eq!(claim["local"], true, "{claim}");
    let (waiter, _) = tokio::join!(
        processes.claim(&two, "waits", waiting("kept", 20_000), WAITER),
        async {
            loop {
                let claim = processes
                    .get(&format!("{one}/v1/claims/holds"))
                    .await
                    .expect("a claim");
                // `recall-requested` is a change of the claim.
                if claim["revision"].as_u64() > Some(2) {
                    return processes.release(&one, "holds").await;
                }
            }
        }
    );
    assert_eq!(waiter.0, 201);
    processes.release(&two, "waits").await;
    processes.finish();
    let (hold, acquire) = collector
        .until("the hold and the claim", |collector| {
            let (holder, waiter) = (Trace::of(collector, HOLDER), Trace::of(collector, WAITER));
            let hold = holder.find("sidelock-sidecar", "lock.hold")?.clone();
            let acquire = waiter.find("sidelock-sidecar", "lock.acquire")?.clone();
            Some((hold, acquire))
        })
        .await;
    assert_eq!(
        text(&hold.attributes, names::LOCK_RECALL).as_deref(),
        Some("true")
    );
    assert!(links_to(&hold, &acquire), "{hold:#?} {acquire:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sampler_of_the_environment_decides_where_the_app_does_not() {
    let (collector, at) = Collector::start().await;
    let mut processes = Processes::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", at.http.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ])
    .await;
    let url = processes.sidecar("pod").await;
    for turn in 0..20 {
        processes
            .get(&format!("{url}/v1/locks/{turn}"))
            .await
            .expect("a lock");
    }
    processes
        .claim(&url, "sampled", waiting("a", 0), HOLDER)
        .await;
    processes.release(&url, "sampled").await;
    processes.finish();
    collector
        .until("the sampled claim", |collector| {
            Trace::of(collector, HOLDER)
                .find("sidelock-sidecar", "lock.hold")
                .map(drop)
        })
        .await;
    let locks = |span: &Span| span.name == "GET /v1/locks/{name}";
    assert!(!collector.spans().iter().any(|(_, span)| locks(span)));
}
