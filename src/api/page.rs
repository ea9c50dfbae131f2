//! The operators' page `/ui`, and what keeps it live.
//! In: requests under `/ui`. Out: its files; once a second all that it shows. Never: a part of the overview that
//! could not be had made up.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value};

use super::events;
use super::lock_views::worth_of;
use super::node_views::{ModeBody, StatusBody};
use super::problem::{Code, Problem};
use super::router::Face;
use crate::config::limits;
use crate::sidecar::handle::{Consistency, Unavailable};
use crate::ui;
use crate::views::survey;

/// `/ui` and what it loads.
pub(super) async fn file(request: Request) -> Result<Response, Problem> {
    let found = ui::answer(request.uri().path());
    found.ok_or_else(|| Problem::new(Code::NotFound, "there is no such page"))
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
    let closing = events::line(&request).closing().cancelled_owned();
    drop(request);
    Ok(ui::live(permit, closing, move || {
        let face = Arc::clone(&face);
        async move { overview(&face).await }
    }))
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
    let asks = survey::on_the_page(limits::CONTENDED_DEFAULT, limits::DEADLOCKS_DEFAULT);
    let answers = asks.map(|(name, ask)| async move {
        let found = face.sidecar.survey(ask, Consistency::Available).await;
        (name, found)
    });
    for (name, found) in futures::future::join_all(answers).await {
        if let Ok(found) = found {
            let worth = worth_of(&found.clone().map(drop), face.sidecar.current_mode());
            set(
                name,
                serde_json::to_value(survey::SurveyBody::new(worth, &found.value)),
            );
        }
    }
    Value::Object(all)
}
