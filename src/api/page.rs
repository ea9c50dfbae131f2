//! The operators' page `/ui`, and the stream that keeps it live.
//! In: requests under `/ui`. Out: its files; once a second all that it shows. Never: a file from disk, or a part of
//! the overview that could not be had made up.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::events;
use super::lock_views::worth_of;
use super::node_views::{ModeBody, StatusBody};
use super::problem::{Code, Problem};
use super::router::Face;
use crate::config::limits;
use crate::sidecar::handle::{Consistency, Survey, Unavailable, Window};
use crate::ui;
use crate::views::survey::SurveyBody;

/// How often the page hears.
const EVERY: Duration = Duration::from_secs(1);

/// `/ui` and what it loads.
pub(super) async fn file(request: Request) -> Result<Response, Problem> {
    let path = request.uri().path();
    let found = ui::file(path.strip_prefix("/ui").unwrap_or(path));
    let (media_type, bytes) =
        found.ok_or_else(|| Problem::new(Code::NotFound, "there is no such page"))?;
    let mut response = Response::new(Body::from(Bytes::from_static(bytes)));
    let headers = response.headers_mut();
    for (name, value) in ui::HEADERS {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}

/// `/ui/live`: an event `overview` at once and each second, until the page or this process goes.
pub(super) async fn live(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let Ok(permit) = Arc::clone(&face.pages).try_acquire_owned() else {
        let retry_after = Duration::from_secs(10);
        return Err(Unavailable::Overloaded { retry_after }.into());
    };
    let closing = events::line(&request).closing();
    drop(request);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let overviews = stream::unfold(
        (face, ticks, permit),
        |(face, mut ticks, permit): (Arc<Face>, Interval, OwnedSemaphorePermit)| async {
            ticks.tick().await;
            let overview = overview(&face).await;
            let event = format!("event: overview\ndata: {overview}\n\n");
            Some((
                Ok::<_, std::convert::Infallible>(event),
                (face, ticks, permit),
            ))
        },
    );
    let overviews = overviews.take_until(async move { closing.cancelled().await });
    let mut response = Response::new(Body::from_stream(overviews));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(events::MEDIA_TYPE),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// All that the page shows. What the core does not tell now is left out.
async fn overview(face: &Face) -> Value {
    let mut all = Map::new();
    let mut set = |name: &str, value: Result<Value, serde_json::Error>| {
        let value = value.expect("text and numbers always become JSON");
        all.insert(name.to_owned(), value);
    };
    set("face", Ok("sidecar".into()));
    set("version", Ok(env!("CARGO_PKG_VERSION").into()));
    set(
        "mode",
        serde_json::to_value(ModeBody::from(&face.sidecar.mode())),
    );
    let status = face.sidecar.status();
    set("status", serde_json::to_value(StatusBody::from(&status)));
    let asks = [
        (
            "contention",
            Survey::Contention {
                window: Window::Minute,
                limit: limits::CONTENDED_DEFAULT,
            },
        ),
        (
            "deadlocks",
            Survey::Deadlocks {
                limit: limits::DEADLOCKS_DEFAULT,
            },
        ),
        ("lock_order", Survey::Order),
        ("waits", Survey::Waits),
        ("sessions", Survey::Sessions),
    ];
    let answers = asks.map(|(name, ask)| async move {
        let found = face.sidecar.survey(ask, Consistency::Available).await;
        (name, found)
    });
    for (name, found) in futures::future::join_all(answers).await {
        if let Ok(found) = found {
            let worth = worth_of(&found.clone().map(drop), face.sidecar.current_mode());
            set(
                name,
                serde_json::to_value(SurveyBody::new(worth, &found.value)),
            );
        }
    }
    Value::Object(all)
}
