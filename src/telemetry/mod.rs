//! What the running parts tell people: logs, metrics and traces.

pub mod names;

pub mod contention;
pub mod core;
pub mod logs;
pub mod otlp;
pub mod push;
pub mod registry;
pub mod sidecar;
mod throttle;
pub mod traces;
