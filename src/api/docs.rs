//! The OpenAPI document, and pages to browse it, from what is built into the program.
//! In: requests under `/docs` and for `/openapi.json`. Out: files. Never: anything from the internet.

use std::sync::{Arc, LazyLock};

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use super::openapi::openapi;
use super::problem::{Code, Problem};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    serde_json::to_vec(&openapi())
        .expect("text and numbers always become JSON")
        .into()
});

static UI: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    Arc::new(
        Config::new(["/openapi.json"])
            .validator_url("none")
            .try_it_out_enabled(true),
    )
});

/// The OpenAPI document
///
/// What this sidecar serves, as `openapi/sidelock.json` has it of its version.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenapi", tag = "sidecar",
    responses((status = 200, description = "This document", body = serde_json::Value)),
)]
pub(super) async fn document() -> Response {
    file(DOCUMENT.clone(), "application/json")
}

/// The pages: `/docs` and what it loads.
pub(super) async fn page(request: Request) -> Result<Response, Problem> {
    let path = request.uri().path();
    let path = path
        .strip_prefix("/docs")
        .unwrap_or(path)
        .trim_start_matches('/');
    let found = utoipa_swagger_ui::serve(path, UI.clone());
    let Ok(Some(found)) = found else {
        return Err(Problem::new(Code::NotFound, "there is no such page"));
    };
    if !path.is_empty() {
        return Ok(file(found.bytes.into_owned().into(), &found.content_type));
    }
    // Served as `/docs` too, where a relative link would miss the folder.
    let html = String::from_utf8_lossy(&found.bytes);
    let html = html
        .replace("=\"./", "=\"/docs/")
        .replace("=\"index.css", "=\"/docs/index.css");
    let mut response = file(html.into_bytes().into(), &found.content_type);
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
        ),
    );
    Ok(response)
}

fn file(bytes: Bytes, media_type: &str) -> Response {
    let mut response = bytes.into_response();
    let media_type = HeaderValue::from_str(media_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}
