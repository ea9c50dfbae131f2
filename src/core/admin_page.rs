//! The operators' page `/ui` on a node, and what keeps it live.
//! In: GETs under `/ui` on `--http`. Out: its files; once a second all that it shows. Never: a part of the overview
//! that could not be had made up.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value};

use super::admin::Admin;
use super::admin_views::{Consistency, look};
use super::overview;
use super::problem::{Kind, Problem};
use crate::config::limits;
use crate::ui;
use crate::views::survey;

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
    ui::answer(uri.path()).unwrap_or_else(|| {
        Problem::new(Kind::NotFound, "there is no such page")
            .at(&uri)
            .into_response()
    })
}

async fn live(State(admin): Shared, uri: Uri) -> Response {
    let Ok(permit) = Arc::clone(&admin.pages).try_acquire_owned() else {
        let text = "as many pages as are kept live at a time are open";
        return Problem::new(Kind::NotReady, text).at(&uri).into_response();
    };
    let closing = admin.closing.clone().cancelled_owned();
    ui::live(permit, closing, move || {
        let admin = Arc::clone(&admin);
        async move { all(&admin).await }
    })
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
    let shown = survey::on_the_page(limits::CONTENDED_DEFAULT, limits::DEADLOCKS_DEFAULT);
    for (name, ask) in shown {
        all.insert(name.to_owned(), look.found(&ask));
    }
    Value::Object(all)
}
