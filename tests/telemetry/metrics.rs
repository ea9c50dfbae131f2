//! The metrics of both faces: all that is listed is told, over OTLP the same as to Prometheus.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use sidelock::telemetry::names::{Face, METRICS};

use crate::collector::Collector;
use crate::processes::{Processes, waiting};

/// Told only where there are other members, or certificates.
const NOT_HERE: &[&str] = &[
    "sidelock_raft_replica_lag_entries",
    "sidelock_certificate_valid_seconds",
];

fn told(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_face_tells_what_is_listed_for_it_and_nothing_else() {
    let mut processes = Processes::start(&[]).await;
    let url = processes.sidecar("pod").await;
    processes.claim(&url, "a", waiting("a", 0), "").await;
    let faces = [
        (Face::Sidecar, format!("{url}/metrics")),
        (
            Face::Core,
            format!("http://127.0.0.1:{}/metrics", processes.core_http),
        ),
    ];
    for (face, url) in faces {
        let text = processes.text(&url).await;
        let of_face = METRICS
            .iter()
            .filter(|it| it.face == face || it.face == Face::Both);
        let here = of_face
            .map(|it| it.name)
            .filter(|name| !NOT_HERE.contains(name));
        let listed: BTreeSet<String> = here.map(str::to_owned).collect();
        assert_eq!(told(&text), listed, "{face:?}");
        assert!(!text.contains("\"a\""), "a lock's name is a label: {text}");
        assert!(text.ends_with("# EOF\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_are_counted_with_the_trace_of_an_example() {
    let (collector, at) = Collector::start().await;
    let env = [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", at.grpc.as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
    ];
    let mut processes = Processes::start(&env).await;
    let url = processes.sidecar("pod").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    processes.claim(&url, "holds", waiting("a", 0), "").await;
    let (waiter, _) = tokio::join!(
        processes.claim(&url, "waits", waiting("a", 20_000), trace),
        async {
            loop {
                let lock = processes
                    .get(&format!("{url}/v1/locks/a"))
                    .await
                    .expect("a lock");
                if lock["queue_length"] == 1 {
                    return processes.release(&url, "holds").await;
                }
            }
        }
    );
    assert_eq!(waiter.0, 201);
    let text = processes.text(&format!("{url}/metrics")).await;
    assert!(text.contains("sidelock_wait_seconds_count 1"), "{text}");
    assert!(
        text.contains("# {trace_id=\"0af7651916cd43dd8448eb211c80319c\"}"),
        "{text}"
    );
    let points = collector
        .until("the wait", |collector| {
            let wait = collector.metric("sidelock-sidecar", "sidelock_wait_seconds")?;
            let Some(Data::Histogram(histogram)) = wait.data else {
                panic!("{wait:?}");
            };
            histogram
                .data_points
                .first()
                .filter(|point| point.count == 1)
                .cloned()
        })
        .await;
    assert_eq!(
        points.bucket_counts.iter().sum::<u64>(),
        1,
        "each bucket alone"
    );
    assert_eq!(points.bucket_counts.len(), points.explicit_bounds.len() + 1);
    assert_eq!(points.exemplars.len(), 1);
    assert_eq!(points.exemplars[0].trace_id[..2], [0x0a, 0xf7]);
    let grants = collector
        .metric("sidelock-sidecar", "sidelock_grants")
        .expect("grants");
    let Some(Data::Sum(grants)) = grants.data else {
        panic!("{grants:?}");
    };
    assert!(grants.is_monotonic);
    assert_eq!(grants.data_points[0].value, Some(Value::AsDouble(2.0)));
    collector
        .until("the core's", |collector| {
            collector.metric("sidelock-core", "sidelock_log_syncs")
        })
        .await;
}
