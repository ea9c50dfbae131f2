//! The operators' page `/ui` on a node, and the stream that keeps it live.
//! In: GETs under `/ui` on `--http`. Out: its files; once a second all that it shows. Never: a part of the overview
//! that could not be had made up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use futures::stream;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::admin::Admin;
use super::admin_views::{Consistency, look};
use super::overview;
use super::problem::{Kind, Problem};
use crate::config::limits;
use crate::table::contention::Window;
use crate::table::survey::Survey;
use crate::ui;

/// How often the page hears.
const EVERY: Duration = Duration::from_secs(1);

type Shared = State<Arc<Admin>>;

/// The routes, to be merged into those of `admin.rs`.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/ui", get(file))
        .route("/ui/", get(file))
        .route("/ui/live", get(live))
        .route("/ui/{*file}", get(file))
}

async fn file(uri: Uri) -> Response {
    let path = uri.path();
    let Some((media_type, bytes)) = ui::file(path.strip_prefix("/ui").unwrap_or(path)) else {
        return Problem::new(Kind::NotFound, "there is no such page")
            .at(&uri)
            .into_response();
    };
    let mut response = Response::new(Body::from(Bytes::from_static(bytes)));
    let headers = response.headers_mut();
    for (name, value) in ui::HEADERS {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// An event `overview` at once and each second, until the page or this process goes.
async fn live(State(admin): Shared, uri: Uri) -> Response {
    let Ok(permit) = Arc::clone(&admin.pages).try_acquire_owned() else {
        let text = "as many pages as are kept live at a time are open";
        return Problem::new(Kind::NotReady, text).at(&uri).into_response();
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let closing = admin.closing.clone();
    let overviews = stream::unfold(
        (admin, ticks, permit),
        |(admin, mut ticks, permit): (Arc<Admin>, Interval, OwnedSemaphorePermit)| async {
            ticks.tick().await;
            let overview = all(&admin).await;
            let event = format!("event: overview\ndata: {overview}\n\n");
            Some((Ok::<_, Infallible>(event), (admin, ticks, permit)))
        },
    );
    let overviews = overviews.take_until(async move { closing.cancelled().await });
    let mut response = Response::new(Body::from_stream(overviews));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// All that the page shows.
async fn all(admin: &Admin) -> Value {
    let mut all = Map::new();
    all.insert("face".to_owned(), "core".into());
    all.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    let members = admin.members.borrow().clone();
    let cluster = overview::cluster(&admin.local, members.as_ref()).await;
    all.insert("cluster".to_owned(), cluster);
    let Ok(look) = look(admin, Consistency::Available).await else {
        return Value::Object(all);
    };
    let limit = limits::CONTENDED_DEFAULT;
    let window = Window::Minute;
    let deadlocks = limits::DEADLOCKS_DEFAULT;
    for (name, ask) in [
        ("contention", Survey::Contention { window, limit }),
        ("deadlocks", Survey::Deadlocks { limit: deadlocks }),
        ("lock_order", Survey::Order),
        ("waits", Survey::Waits),
        ("sessions", Survey::Sessions),
    ] {
        all.insert(name.to_owned(), look.found(&ask));
    }
    Value::Object(all)
}
