//! The page over HTTP: its files, and the stream that keeps it live; the same on a sidecar and on a node.
//! In: a path, or what makes the overview. Out: answers. Never: a file from disk, or a page kept live without its permit.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::StreamExt;
use futures::stream;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval};

use super::files::{HEADERS, file};

/// How often the page hears.
const EVERY: Duration = Duration::from_secs(1);

/// The file of a path under `/ui`, if there is one.
pub fn answer(path: &str) -> Option<Response> {
    let (media_type, bytes) = file(path.strip_prefix("/ui").unwrap_or(path))?;
    let mut response = Response::new(Body::from(Bytes::from_static(bytes)));
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Some(response)
}

/// An event `overview` at once and each second, until the page goes or `closing` is over.
pub fn live<F>(
    permit: OwnedSemaphorePermit,
    closing: impl Future<Output = ()> + Send + 'static,
    overview: impl Fn() -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Value> + Send,
{
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let overviews = stream::unfold(
        (overview, ticks, permit),
        |(overview, mut ticks, permit)| async move {
            ticks.tick().await;
            let event = format!("event: overview\ndata: {}\n\n", overview().await);
            Some((Ok::<_, Infallible>(event), (overview, ticks, permit)))
        },
    );
    let overviews = overviews.take_until(closing);
    let mut response = Response::new(Body::from_stream(overviews));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
