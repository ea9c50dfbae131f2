//! Hop 1: the HTTP face. JSON and Server-Sent Events in front of one trait, `sidecar::handle::Sidecar`.
//!
//! Reading order: `serve` accepts connections and `line` watches each one; `router` lists the paths and
//! `gate` stands before every route; `claims`, `locks` and `node` handle; `request`, `json`, the bodies
//! and `query` check what comes in; `views`, `events` and `problem` make what goes out; `openapi` describes it.

mod line;
mod serve;

mod gate;
mod router;

mod claims;
mod locks;
mod node;
mod node_views;

mod body;
mod claim_body;
mod json;
mod query;
mod request;

mod events;
mod history_views;
mod lock_views;
mod problem;
mod views;

mod docs;
mod metrics;
mod openapi;

pub use openapi::{openapi, openapi_text};
pub use router::{Config, router, router_and_probes};
pub use serve::{Listener, serve};
