//! docs/telemetry.md lists exactly what `telemetry/names.rs` lists.
//! In: the list, the page. Out: a difference; `REWRITE=1` writes the tables anew. Never: a name that only one has.

use std::fmt::Write as _;
use std::path::Path;

use sidelock::telemetry::names::{ATTRIBUTES, Face, Kind, METRICS};

#[test]
fn the_page_lists_what_the_code_lists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/telemetry.md");
    let page = std::fs::read_to_string(&path).expect("the page is in the repository");
    let now = between(&page, "metrics", &metrics());
    let now = between(&now, "attributes", &attributes());
    if now == page {
        return;
    }
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, now).expect("a writable page");
        return;
    }
    panic!("docs/telemetry.md is not what names.rs says; REWRITE=1 writes it");
}

/// The page with this table between its markers.
fn between(page: &str, name: &str, table: &str) -> String {
    let (start, end) = (
        format!("<!-- {name}:start -->\n"),
        format!("<!-- {name}:end -->"),
    );
    let (before, rest) = page.split_once(&start).expect("the page has the marker");
    let (_, after) = rest.split_once(&end).expect("the page has the marker");
    format!("{before}{start}{table}{end}{after}")
}

fn metrics() -> String {
    let mut table = "| metric | kind | of | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let (suffix, kind) = match metric.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
            Kind::HistogramWithExemplars => ("", "histogram with exemplars"),
        };
        let face = match metric.face {
            Face::Sidecar => "sidecar",
            Face::Core => "core",
            Face::Both => "both",
        };
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        writeln!(
            table,
            "| `{}{suffix}` | {kind} | {face} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        )
        .expect("a string takes all");
    }
    table
}

fn attributes() -> String {
    let mut table = "| attribute | type | spans | meaning |\n|---|---|---|---|\n".to_owned();
    for it in ATTRIBUTES {
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            it.name, it.kind, it.spans, it.help
        )
        .expect("a string takes all");
    }
    table
}
