//! The paths, their handlers and the gate before each.
//! In: a sidecar and how to face the world. Out: a router that needs no socket.
//! Never: a route without a gate.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};
use tokio::sync::Semaphore;

use super::gate::{Gate, Produces};
use super::problem::{Code, Problem};
use super::serve::RefusedHead;
use super::{claims, docs, locks, node, page, surveys};
use crate::config::api_token::ApiToken;
use crate::config::followed::Followed;
use crate::config::limits;
use crate::sidecar::handle::Sidecar;

/// How the face behaves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Serve what changes others' locks (`break`); only for `dev`, or where it is asked for.
    pub operator_routes: bool,
    /// Values of the header `Host` that are allowed besides localhost, 127.0.0.1 and [::1].
    pub hosts: Vec<String>,
    /// What callers must show, if they must.
    pub token: Option<Arc<Followed<ApiToken>>>,
}

/// What all handlers share.
pub(super) struct Face {
    pub(super) sidecar: Arc<dyn Sidecar>,
    pub(super) operator_routes: bool,
    pub(super) hosts: Vec<String>,
    pub(super) token: Option<Arc<Followed<ApiToken>>>,
    /// A permit for each page that is kept live.
    pub(super) pages: Arc<Semaphore>,
}

/// The whole API in front of a sidecar.
pub fn router(sidecar: Arc<dyn Sidecar>, config: Config) -> Router {
    router_and_probes(sidecar, config).0
}

/// The whole API, and what may be asked from outside of the machine, by any name: /livez, /readyz and
/// /metrics, nothing else. Both count into the same metrics.
pub fn router_and_probes(sidecar: Arc<dyn Sidecar>, config: Config) -> (Router, Router) {
    let face = Arc::new(Face {
        sidecar,
        operator_routes: config.operator_routes,
        hosts: config.hosts,
        token: config.token,
        pages: Arc::new(Semaphore::new(limits::PAGES_MAX)),
    });
    let all = assemble(&face, false, routes());
    (all, assemble(&face, true, probes()))
}

fn assemble(face: &Arc<Face>, any_host: bool, routes: Vec<Route>) -> Router {
    let gate = |route, produces| Gate {
        face: face.clone(),
        route,
        produces,
        any_host,
    };
    let mut router = Router::new();
    for (route, produces, methods) in routes {
        let gate = gate(route, produces);
        router = router.route(route, methods.fallback(wrong_method).layer(gate));
    }
    let gate = gate("none", Produces::Anything);
    router
        .fallback_service(any(no_such_path).layer(gate).with_state(face.clone()))
        .with_state(face.clone())
}

type Route = (&'static str, Produces, MethodRouter<Arc<Face>>);

/// What kubelet and Prometheus ask.
fn probes() -> Vec<Route> {
    vec![
        ("/livez", Produces::Anything, get(node::livez)),
        ("/readyz", Produces::Anything, get(node::readyz)),
        ("/metrics", Produces::Anything, get(node::get_metrics)),
    ]
}

/// Every route: its path, what it answers with, its methods.
fn routes() -> Vec<Route> {
    use Produces::{Anything, Events, Json, JsonOrEvents};
    let claim = get(claims::get_claim)
        .put(claims::put_claim)
        .delete(claims::release_claim);
    let mut all = probes();
    all.extend([
        ("/v1/claims/{claim_id}", Json, claim),
        (
            "/v1/claims/{claim_id}/renew",
            Json,
            post(claims::renew_claim),
        ),
        (
            "/v1/claims/{claim_id}/events",
            Events,
            get(claims::stream_claim_events),
        ),
        (
            "/v1/claims",
            JsonOrEvents,
            get(claims::list_claims).post(claims::create_claim),
        ),
        ("/v1/locks", Json, get(locks::list_locks)),
        ("/v1/locks/{name}", Json, get(locks::get_lock)),
        (
            "/v1/locks/{name}/events",
            Events,
            get(locks::stream_lock_events),
        ),
        (
            "/v1/locks/{name}/history",
            Json,
            get(locks::get_lock_history),
        ),
        ("/v1/locks/{name}/why", Json, get(surveys::explain_lock)),
        ("/v1/locks/{name}/verify", Json, post(locks::verify_token)),
        ("/v1/locks/{name}/break", Json, post(locks::break_lock)),
        ("/v1/deadlocks", Json, get(surveys::list_deadlocks)),
        ("/v1/lock-order", Json, get(surveys::get_lock_order)),
        ("/v1/waits", Json, get(surveys::get_waits)),
        ("/v1/sessions", Json, get(surveys::list_sessions)),
        ("/v1/contention", Json, get(surveys::get_contention)),
        ("/v1/drain", Json, post(node::drain)),
        ("/v1/mode", Json, get(node::get_mode)),
        ("/v1/status", Json, get(node::get_status)),
        ("/openapi.json", Anything, get(docs::document)),
        ("/docs", Anything, get(docs::page)),
        ("/ui", Anything, get(page::file)),
        ("/ui/", Anything, get(page::file)),
        ("/ui/live", Events, get(page::live)),
        ("/ui/{*file}", Anything, get(page::file)),
        ("/docs/", Anything, get(docs::page)),
        ("/docs/{*file}", Anything, get(docs::page)),
    ]);
    all
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!(
            "the path has no {}; the header `Allow` lists what it has",
            request.method()
        ),
    )
}

async fn no_such_path(State(_): State<Arc<Face>>, request: Request) -> Result<Response, Problem> {
    if let Some(RefusedHead(status)) = request.extensions().get() {
        return Err(Problem::of_refused_head(*status));
    }
    Err(Problem::new(
        Code::NotFound,
        "there is no such path (a slash in a lock's name is written %2F)",
    ))
}
