//! Hop 1: the HTTP face. JSON and Server-Sent Events in front of one trait, `sidecar::handle::Sidecar`.
//!
//! Reading order: `serve` accepts connections and `line` watches each one; `router` lists the paths and
//! `gate` stands before every route; `claims`, `locks`, `surveys` and `node` handle; `request`, `json`, the bodies
//! and `query` check what comes in; `views` (and `crate::views`), `events` and `problem` make what goes out; `openapi` describes it, with `examples`.

mod line;
mod serve;

mod gate;
mod headers;
mod router;

mod claims;
mod locks;
mod node;
mod node_views;
mod surveys;

mod body;
mod claim_body;
mod json;
mod query;
mod request;
mod spans;

mod events;
mod lock_views;
mod problem;
mod views;

mod docs;
mod examples;
mod metrics;
mod openapi;
mod page;

pub use metrics::measured;
pub use openapi::{openapi, openapi_text};
pub use router::{Config, router, router_and_probes};
pub use serve::{Listener, serve};
