//! The operators' HTTP of a node: how it is, what the cell looks like, and what changes them.
//! In: HTTP on `--http`. Out: JSON, Prometheus text, problems.
//! Never: a change for a caller that `admin_gate.rs` does not let through.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use serde::Deserialize;
use serde_json::json;

use super::access::Access;
use super::admin_gate::{gate, operator};
use super::admin_page;
use super::admin_views;
use super::formation::Local;
use super::group::Group;
use super::membership::Members;
use super::metrics::Measured;
use super::overview::{self, READY_LAG_MAX};
use super::problem::{ACCEPTED, Kind, Problem};
use super::raft_service::Groups;
use super::rules::Right;
use super::service::Shards;
use crate::table::command::{Break, BreakReply, Command, Reply};
use crate::table::id::{LockName, ShardId};
use crate::telemetry::registry::MEDIA_TYPE;
use crate::tls::caller::Caller;
use tokio_util::sync::CancellationToken;

/// Longest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest reason of a break, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// What the handlers share.
#[derive(Clone)]
pub struct Admin {
    /// The groups of this node; none before it belongs to a cell.
    pub groups: Groups,
    /// The same as served; see [`Self::groups`].
    pub shards: Shards,
    /// Who may do what.
    pub access: Access,
    /// Who this node is.
    pub local: Local,
    /// Changes the membership, once there is a cell.
    pub members: tokio::sync::watch::Receiver<Option<Members>>,
    /// What is measured.
    pub measured: Measured,
    /// Cancelled when the node stops: streams end then.
    pub closing: CancellationToken,
    /// A permit for each page that is kept live.
    pub pages: Arc<tokio::sync::Semaphore>,
}

/// All routes.
pub fn router(admin: Admin) -> Router {
    let admin = Arc::new(admin);
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route("/v1/cluster", get(cluster))
        .route("/v1/cluster/{verb}", post(change))
        .route("/v1/locks/{name}/break", post(break_lock))
        .merge(admin_views::routes())
        .merge(admin_page::routes())
        .fallback(async |uri: Uri| Problem::new(Kind::NotFound, "there is no such route").at(&uri))
        .method_not_allowed_fallback(async |uri: Uri| {
            Problem::new(Kind::MethodNotAllowed, "the route has other methods").at(&uri)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), gate))
        .with_state(admin)
}

type Shared = State<Arc<Admin>>;

async fn livez() -> Response {
    axum::Json(json!({ "status": "live" })).into_response()
}

/// Ready while a leader is known and this node is not far behind it.
async fn readyz(State(admin): Shared, uri: Uri) -> Response {
    let not_ready = |why: &str| Problem::new(Kind::NotReady, why).at(&uri).into_response();
    let Some(group) = admin.groups.get(ShardId(0)) else {
        return not_ready("this node belongs to no cell yet");
    };
    let now = overview::progress(&group);
    if group.leadership().borrow().leader.is_none() {
        return not_ready("no leader is known");
    }
    if now.lag() > READY_LAG_MAX {
        return not_ready("this node is far behind the leader");
    }
    axum::Json(json!({ "status": "ready" })).into_response()
}

async fn scrape(State(admin): Shared) -> Response {
    let text = admin.measured.now().text();
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response()
}

async fn cluster(State(admin): Shared) -> Response {
    let members = admin.members.borrow().clone();
    axum::Json(overview::cluster(&admin.local, members.as_ref()).await).into_response()
}

/// Which node a change is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// Its place; only `transfer` does without.
    node: Option<u16>,
}

async fn change(
    State(admin): Shared,
    caller: Option<Extension<Caller>>,
    Path(verb): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let change = async {
        let caller = caller.as_deref();
        let body = body.map_err(|refused| Problem::of_body(&refused, BODY_BYTES_MAX))?;
        let body: ChangeBody = operator(&admin, caller, (Right::Admin, ""), &headers, &body)?;
        let members = admin.members.borrow().clone();
        let members = members.ok_or_else(no_cell)?;
        let place = body.node.filter(|place| *place != 0);
        let node = || {
            place.ok_or_else(|| {
                Problem::new(
                    Kind::InvalidRequest,
                    "`node` must be a node id from 1 to 65535",
                )
            })
        };
        match verb.as_str() {
            "add" => members.add(node()?).await?,
            "promote" => members.promote(node()?).await?,
            "remove" => members.remove(node()?).await?,
            "replace" => members.replace(node()?).await?,
            "transfer" => members.transfer(place).await?,
            other => {
                let text = format!("`{other}` is none of add, promote, remove, replace, transfer");
                return Err(Problem::new(Kind::NotFound, text));
            }
        }
        Ok(overview::cluster(&admin.local, Some(&members)).await)
    };
    let done = change.await.map_err(|problem: Problem| problem.at(&uri))?;
    Ok(axum::Json(done).into_response())
}

/// How a lock is to be broken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakBody {
    reason: String,
    #[serde(default)]
    force: bool,
}

async fn break_lock(
    State(admin): Shared,
    caller: Option<Extension<Caller>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let broken = async {
        let caller = caller.as_deref();
        let breaks = (Right::Break, name.as_str());
        let body = body.map_err(|refused| Problem::of_body(&refused, BODY_BYTES_MAX))?;
        let body: BreakBody = operator(&admin, caller, breaks, &headers, &body)?;
        let name = LockName::parse(&name)
            .map_err(|error| Problem::new(Kind::InvalidRequest, format!("the name {error}")))?;
        if body.reason.is_empty() || body.reason.len() > REASON_BYTES_MAX {
            let text = format!("`reason` must have 1 to {REASON_BYTES_MAX} bytes");
            return Err(Problem::new(Kind::InvalidRequest, text));
        }
        let group = admin.groups.get(ShardId(0)).ok_or_else(no_cell)?;
        let command = Command::Break(Break {
            lock: name.clone(),
            reason: body.reason.into(),
            force: body.force,
            by: operator_of(caller).into(),
        });
        let replies = group.propose(vec![command]).await;
        let replies = replies.map_err(|error| Problem::of_proposal(&error, leader_http(&group)))?;
        match replies.first() {
            Some(Reply::Broken(reply)) => Ok((*reply, name, body.force)),
            other => unreachable!("a break is answered as one, not with {other:?}"),
        }
    };
    let (reply, name, force) = broken.await.map_err(|problem| problem.at(&uri))?;
    Ok(broken_answer(reply, &name, force))
}

/// Who, for history.
fn operator_of(caller: Option<&Caller>) -> String {
    match caller {
        Some(Caller {
            identity: Some(identity),
            ..
        }) => identity.to_string(),
        Some(caller) => format!("operator at {}", caller.peer.ip()),
        None => "operator".to_owned(),
    }
}

fn broken_answer(reply: BreakReply, name: &LockName, force: bool) -> Response {
    let answer = |outcome: &str, may_act: bool, detail: &str| {
        axum::Json(json!({
            "name": name.as_str(),
            "outcome": outcome,
            "old_holder_may_still_act": may_act,
            "detail": detail,
        }))
    };
    match reply {
        BreakReply::NotHeld => answer("not-held", false, "nobody held the lock").into_response(),
        BreakReply::Freed if force => answer(
            "freed",
            true,
            "the lock is free, but its old holder may still act: it may not have heard yet",
        )
        .into_response(),
        BreakReply::Freed => answer("freed", false, "the lock is free").into_response(),
        BreakReply::Asked => {
            let text = "its holder's sidecar was asked; free when that has answered or is gone";
            (ACCEPTED, answer("asked", true, text)).into_response()
        }
    }
}

pub(super) fn no_cell() -> Problem {
    Problem::new(Kind::NoQuorum, "this node belongs to no cell yet")
}

/// Where operators reach the leader, if another node leads.
pub(super) fn leader_http(group: &Group) -> Option<String> {
    let leader = group.leadership().borrow().leader.clone();
    leader
        .filter(|(id, _)| *id != group.id())
        .map(|(_, member)| member.http)
}
