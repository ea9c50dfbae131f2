//! What the program tells of itself: traces at a real collector, metrics, and their documentation.

mod collector;
mod documented;
mod metrics;
mod processes;
mod traces;
