//! Logs: readable lines on a terminal, JSON elsewhere, always on stderr; beside them the layer that sends spans.
//! In: `SIDELOCK_LOG`, a filter such as `info,sidelock::core=debug`. Out: lines. Never: a secret, or a flood.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use super::throttle::Throttle;
use super::{otlp, traces};
use crate::world::clock::BootClock;

/// openraft tells each step at `info`; what an operator needs of it, `core` says in its own words. Of what
/// happens inside the exporters only what goes wrong is told.
const DEFAULT: &str =
    "info,openraft=warn,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry-otlp=warn";

/// Starts logging and tracing for the whole process, which runs this part. A wrong filter or exporter is told,
/// and the default taken.
pub fn start(part: &str) {
    let asked = std::env::var("SIDELOCK_LOG").unwrap_or_default();
    let asked = asked.trim();
    let (filter, wrong) = match EnvFilter::try_new(if asked.is_empty() { DEFAULT } else { asked }) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
    };
    let terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if terminal {
        lines.compact().with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    let lines = lines
        .with_filter(Throttle::new(Arc::new(BootClock)))
        .with_filter(filter);
    let (spans, unsent) = match traces::layer(&otlp::resource(part)) {
        Ok(layer) => (layer, None),
        Err(error) => (None, Some(error)),
    };
    // A second start (tests that run two parts in one process) keeps the first.
    if registry().with(lines).with(spans).try_init().is_err() {
        tracing::debug!("logging was already started");
    }
    if let Some(error) = wrong {
        tracing::warn!(%error, "SIDELOCK_LOG is not a valid filter; using {DEFAULT}");
    }
    if let Some(error) = unsent {
        tracing::warn!(error, "spans are not sent");
    }
}

/// Sends what is left, before the process ends.
pub fn finish() {
    traces::finish();
}
