//! The routes about the sidecar itself: mode, status, health and metrics.
//! In: requests that matched a path. Out: responses. Never: "not ready" because of the core, since a
//! lost quorum must not take a fleet out of service.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::body;
use super::claims::json;
use super::metrics;
use super::node_views::{DrainBody, ModeBody, StatusBody};
use super::problem::{self, Problem};
use super::query::Query;
use super::request;
use super::router::Face;
use crate::sidecar::handle::Unavailable;
use crate::telemetry::registry::MEDIA_TYPE;

/// Show what the sidecar can do at the moment
///
/// The mode that every answer has in its header `Sidelock-Mode`, for how long it has been so, and why.
#[utoipa::path(
    get, path = "/v1/mode", operation_id = "getMode", tag = "sidecar",
    responses((status = 200, description = "The mode", body = ModeBody)),
)]
pub(super) async fn get_mode(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    Ok(json(&ModeBody::from(&face.sidecar.mode())))
}

/// Show how the sidecar is doing
///
/// Its mode, how many claims it has, what is under way to the core, and to which core nodes it is connected.
#[utoipa::path(
    get, path = "/v1/status", operation_id = "getStatus", tag = "sidecar",
    responses((status = 200, description = "The status", body = StatusBody)),
)]
pub(super) async fn get_status(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    Ok(json(&StatusBody::from(&face.sidecar.status())))
}

/// That it answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthBody {
    /// Open enum: live, ready.
    #[schema(example = "live")]
    status: &'static str,
}

/// Tell that the process is alive
///
/// 200 as long as it answers at all.
#[utoipa::path(
    get, path = "/livez", operation_id = "getLiveness", tag = "sidecar",
    responses((status = 200, description = "It is", body = HealthBody)),
)]
pub(super) async fn livez() -> Response {
    json(&HealthBody { status: "live" })
}

/// Tell whether the sidecar takes requests
///
/// 200 while its listeners are up, whatever the core does; 503 `draining` while it stops.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "sidecar",
    responses(
        (status = 200, description = "It does", body = HealthBody),
        (status = 503, description = "draining"),
    ),
)]
pub(super) async fn readyz(State(face): State<Arc<Face>>) -> Result<Response, Problem> {
    if face.sidecar.is_draining() {
        return Err(Problem::from(Unavailable::Draining));
    }
    Ok(json(&HealthBody { status: "ready" }))
}

/// Stop in order
///
/// From now on new claims get 503 `draining`, and those that wait are told so. Holders may renew and
/// release; once none is left, or after the bound on draining, the process exits. Repeats tell how far
/// it is.
#[utoipa::path(
    post, path = "/v1/drain", operation_id = "drain", tag = "sidecar",
    responses((status = 202, description = "It stops", body = DrainBody)),
)]
pub(super) async fn drain(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    body::nothing(&request::optional_json(request).await?)?;
    let body = json(&DrainBody::from(face.sidecar.drain()));
    Ok((problem::ACCEPTED, body).into_response())
}

/// Metrics for Prometheus
///
/// Those listed in `docs/telemetry.md`, as OpenMetrics text.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "sidecar",
    responses((status = 200, description = "OpenMetrics text",
        content_type = "application/openmetrics-text", body = String)),
)]
pub(super) async fn get_metrics(State(face): State<Arc<Face>>) -> Response {
    let text = metrics::measured(&*face.sidecar).text();
    let mut response = text.into_response();
    let media_type = HeaderValue::from_static(MEDIA_TYPE);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}
