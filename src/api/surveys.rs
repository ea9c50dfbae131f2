//! The routes that show more than single locks: deadlocks, lock order, waits, sessions, and why a lock is as it is.
//! In: requests that matched a path. Out: responses. Never: a read without saying what it is worth.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;

use super::claims::json;
use super::lock_views::worth_of;
use super::locks::{ConsistencyParam, split, worth};
use super::problem::Problem;
use super::query::{self, Asks as _, Query};
use super::router::Face;
use crate::config::limits;
use crate::sidecar::handle::{Consistency, Survey, Window};
use crate::views::contention::ContentionBody;
use crate::views::order::OrderBody;
use crate::views::sessions::SessionList;
use crate::views::survey::SurveyBody;
use crate::views::waits::{DeadlockList, WaitsBody};
use crate::views::why::WhyBody;
use crate::views::worth::Worth;

/// Explain a lock
///
/// One answer that says who holds it, for how long and on which pod, who waits and for whom, and what the
/// last five transitions were.
#[utoipa::path(
    get, path = "/v1/locks/{name}/why", operation_id = "explainLock", tag = "locks",
    params(
        ("name" = String, Path, description = "The lock's name, percent-encoded (`orders%2F42`)",
            min_length = 1, max_length = 512, example = "orders/42"),
        ("consistency" = inline(Option<ConsistencyParam>), Query, description = "Where the answer may come from"),
    ),
    responses((status = 200, description = "Why it is as it is", body = WhyBody)),
)]
pub(super) async fn explain_lock(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let name = query::lock_name(request.uri())?;
    let consistency = Query::read(request.uri(), &["consistency"])?.consistency()?;
    drop(request);
    answer(&face, Survey::Why(name), consistency).await
}

/// List recent deadlocks
///
/// Each with the whole cycle that was found and the claim that had to go.
#[utoipa::path(
    get, path = "/v1/deadlocks", operation_id = "listDeadlocks", tag = "cell",
    params(
        ("limit" = inline(Option<u64>), Query, description = "At most so many; 20 if absent", minimum = 1, maximum = 100),
        ("consistency" = inline(Option<ConsistencyParam>), Query, description = "Where the answer may come from"),
    ),
    responses((status = 200, description = "Newest first", body = DeadlockList)),
)]
pub(super) async fn list_deadlocks(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::read(request.uri(), &["limit", "consistency"])?;
    let limit = query.limit(limits::DEADLOCKS_DEFAULT, limits::DEADLOCKS_MAX)?;
    let consistency = query.consistency()?;
    drop(request);
    answer(&face, Survey::Deadlocks { limit }, consistency).await
}

/// Show the order of lock classes
///
/// Which class of locks (the first path segment of their names) was held by an owner while one of another class
/// was taken, and inversions: orders that contradict each other, before they ever deadlock. With a name prefix
/// of the sidecar, names are shown as the core has them.
#[utoipa::path(
    get, path = "/v1/lock-order", operation_id = "getLockOrder", tag = "cell",
    params(("consistency" = inline(Option<ConsistencyParam>), Query, description = "Where the answer may come from")),
    responses((status = 200, description = "All that was observed", body = OrderBody)),
)]
pub(super) async fn get_lock_order(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    plain(&face, request, Survey::Order).await
}

/// Show who waits for whom
///
/// The wait-for graph at this moment. A waiter has edges to those directly before it.
#[utoipa::path(
    get, path = "/v1/waits", operation_id = "getWaits", tag = "cell",
    params(("consistency" = inline(Option<ConsistencyParam>), Query, description = "Where the answer may come from")),
    responses((status = 200, description = "The graph, at most 1000 edges", body = WaitsBody)),
)]
pub(super) async fn get_waits(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    plain(&face, request, Survey::Waits).await
}

/// List the sidecars of the cell
///
/// Each with its session and with how many locks and claims it has.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "listSessions", tag = "cell",
    params(("consistency" = inline(Option<ConsistencyParam>), Query, description = "Where the answer may come from")),
    responses((status = 200, description = "Their sessions and what they have, at most 1000", body = SessionList)),
)]
pub(super) async fn list_sessions(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    plain(&face, request, Survey::Sessions).await
}

/// Show which locks are contended
///
/// The locks that were waited for most, in the pod of this sidecar or in the whole cell. Names of locks are no
/// labels of metrics: this is where they are. The time of a wait counts from its beginning, in `waits` it counts once it has ended
/// with a grant.
#[utoipa::path(
    get, path = "/v1/contention", operation_id = "getContention", tag = "cell",
    params(
        ("window" = inline(Option<WindowParam>), Query, description = "How far back to look; 1m if absent"),
        ("scope" = inline(Option<ScopeParam>), Query, description = "Whose waits; pod if absent"),
        ("limit" = inline(Option<u64>), Query, description = "At most so many; 20 if absent", minimum = 1, maximum = 100),
    ),
    responses((status = 200, description = "The most waited for first", body = ContentionBody)),
)]
pub(super) async fn get_contention(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::read(request.uri(), &["window", "scope", "limit"])?;
    let limit = query.limit(limits::CONTENDED_DEFAULT, limits::CONTENDED_MAX)?;
    let window = query.word("window", "1m, 10m or 1h", Window::parse)?;
    let window = window.unwrap_or(Window::Minute);
    let of_cell = |word: &str| match word {
        "pod" => Some(false),
        "cell" => Some(true),
        _ => None,
    };
    let of_cell = query.word("scope", "pod or cell", of_cell)?;
    drop(request);
    if of_cell == Some(true) {
        return answer(
            &face,
            Survey::Contention { window, limit },
            Consistency::Available,
        )
        .await;
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let view = face.sidecar.contention(window, most);
    let read = Worth {
        linearizable: true,
        age: Duration::ZERO,
        mode: face.sidecar.current_mode().word(),
    };
    Ok(worth(read, json(&ContentionBody::new(read, "pod", &view))))
}

/// The parameter `window`.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: parameters are read as text"
)]
pub(super) enum WindowParam {
    #[schema(rename = "1m")]
    Minute,
    #[schema(rename = "10m")]
    TenMinutes,
    #[schema(rename = "1h")]
    Hour,
}

/// The parameter `scope`.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(
    dead_code,
    reason = "only its schema is used: parameters are read as text"
)]
pub(super) enum ScopeParam {
    Pod,
    Cell,
}

/// Of those that take nothing but `consistency`.
async fn plain(face: &Face, request: Request, ask: Survey) -> Result<Response, Problem> {
    let consistency = Query::read(request.uri(), &["consistency"])?.consistency()?;
    drop(request);
    answer(face, ask, consistency).await
}

async fn answer(face: &Face, ask: Survey, consistency: Consistency) -> Result<Response, Problem> {
    let (about, found) = split(face.sidecar.survey(ask, consistency).await?);
    let read = worth_of(&about, face.sidecar.current_mode());
    Ok(worth(read, json(&SurveyBody::new(read, &found))))
}
