//! Logs: readable lines on a terminal, JSON elsewhere, always on stderr.
//! In: `SIDELOCK_LOG`, a filter such as `info,sidelock::core=debug`. Out: lines. Never: a secret.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// openraft tells each step at `info`; what an operator needs of it, `core` says in its own words.
const DEFAULT: &str = "info,openraft=warn";

/// Starts logging for the whole process. A wrong filter is told, and the default taken.
pub fn start() {
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
    // A second start (tests that run two parts in one process) keeps the first.
    if registry().with(filter).with(lines).try_init().is_err() {
        tracing::debug!("logging was already started");
    }
    if let Some(error) = wrong {
        tracing::warn!(%error, "SIDELOCK_LOG is not a valid filter; using {DEFAULT}");
    }
}
