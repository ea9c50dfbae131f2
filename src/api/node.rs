//! The routes about the sidecar itself: mode, status, health and metrics.
//! In: requests that matched a path. Out: responses. Never: "not ready" because of the core, since a
//! lost quorum must not take a fleet out of service.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::claims::json;
use super::metrics;
use super::problem::Problem;
use super::query::Query;
use super::router::Face;
use super::views::{ModeBody, StatusBody};

/// Show what the sidecar can do at the moment
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
#[utoipa::path(
    get, path = "/livez", operation_id = "getLiveness", tag = "sidecar",
    responses((status = 200, description = "It is", body = HealthBody)),
)]
pub(super) async fn livez() -> Response {
    json(&HealthBody { status: "live" })
}

/// Tell whether the sidecar takes requests
///
/// 200 while its listeners are up, whatever the core does.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "sidecar",
    responses((status = 200, description = "It does", body = HealthBody)),
)]
pub(super) async fn readyz() -> Response {
    json(&HealthBody { status: "ready" })
}

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "sidecar",
    responses((status = 200, description = "OpenMetrics text",
        content_type = "application/openmetrics-text", body = String)),
)]
pub(super) async fn get_metrics(State(face): State<Arc<Face>>) -> Response {
    let text = face.metrics.render(&face.sidecar.status());
    let mut response = text.into_response();
    let media_type = HeaderValue::from_static(metrics::MEDIA_TYPE);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}
