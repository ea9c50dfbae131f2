//! What operators can see through a node, in the shapes of the sidecars' API: locks, their history, surveys.
//! In: GETs on `--http`. Out: the same JSON as a sidecar's, and what it is worth.
//! Never: a change; a stale answer that does not say so.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::admin::{Admin, leader_http, no_cell};
use super::group::ReadError;
use super::problem::{Kind, Problem};
use super::reads::Reads;
use super::service::Shard;
use crate::config::limits;
use crate::table::contention::Window;
use crate::table::id::{LockName, Revision, ShardId};
use crate::table::survey::Survey;
use crate::table::view::{ListQuery, LockStateFilter};
use crate::views::history::HistoryList;
use crate::views::locks::{LockBody, LockList};
use crate::views::query::{Query, QueryError};
use crate::views::survey::SurveyBody;
use crate::views::worth::Worth;

const SIDELOCK_CONSISTENCY: HeaderName = HeaderName::from_static("sidelock-consistency");

type Shared = State<Arc<Admin>>;

/// The routes, to be merged into those of `admin.rs`.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/v1/locks", get(list_locks))
        .route("/v1/locks/{name}", get(get_lock))
        .route("/v1/locks/{name}/history", get(get_history))
        .route("/v1/locks/{name}/why", get(why))
        .route("/v1/deadlocks", get(deadlocks))
        .route("/v1/contention", get(contention))
        .route(
            "/v1/lock-order",
            get(async |admin: Shared, uri: Uri| survey(admin, uri, Survey::Order).await),
        )
        .route(
            "/v1/waits",
            get(async |admin: Shared, uri: Uri| survey(admin, uri, Survey::Waits).await),
        )
        .route(
            "/v1/sessions",
            get(async |admin: Shared, uri: Uri| survey(admin, uri, Survey::Sessions).await),
        )
}

async fn list_locks(State(admin): Shared, uri: Uri) -> Result<Response, Problem> {
    let listed = async {
        let query = Query::read(&uri, &["prefix", "state", "limit", "cursor", "consistency"])?;
        let list = ListQuery {
            prefix: query.text("prefix").unwrap_or_default().to_owned(),
            state: state(&query)?,
            limit: page(&query)?,
            after: query.text("cursor").map(lock_name).transpose()?,
        };
        let look = look(&admin, consistency(&query)?).await?;
        let names = look.reads.locks(&list).0.into_iter().map(|lock| lock.name);
        let look = look.at(&names.collect::<Vec<_>>()).await?;
        let (locks, next) = look.reads.locks(&list);
        let next = next.as_ref().map(LockName::as_str);
        Ok(look.answer(&LockList::new(look.worth, &locks, next)))
    };
    listed.await.map_err(|problem: Problem| problem.at(&uri))
}

async fn get_lock(
    State(admin): Shared,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let shown = async {
        let name = lock_name(&name)?;
        let query = Query::read(&uri, &["consistency"])?;
        let look = look(&admin, consistency(&query)?).await?;
        let look = look.at(std::slice::from_ref(&name)).await?;
        Ok(look.answer(&LockBody::new(look.worth, &look.reads.lock(&name))))
    };
    shown.await.map_err(|problem: Problem| problem.at(&uri))
}

async fn get_history(
    State(admin): Shared,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let told = async {
        let name = lock_name(&name)?;
        let query = Query::read(&uri, &["limit", "cursor", "consistency"])?;
        let limit = page(&query)?;
        let before = query.number("cursor", 1, u64::MAX)?.map(Revision);
        let look = look(&admin, consistency(&query)?).await?;
        let look = look.at(std::slice::from_ref(&name)).await?;
        let (records, next) = look.reads.history(&name, before, limit);
        let next = next.map(|revision| revision.to_string());
        Ok(look.answer(&HistoryList::new(&records, next.as_deref())))
    };
    told.await.map_err(|problem: Problem| problem.at(&uri))
}

async fn why(
    State(admin): Shared,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let explained = async {
        let name = lock_name(&name)?;
        let query = Query::read(&uri, &["consistency"])?;
        let look = look(&admin, consistency(&query)?).await?;
        let look = look.at(std::slice::from_ref(&name)).await?;
        Ok(look.survey(&Survey::Why(name)))
    };
    explained.await.map_err(|problem: Problem| problem.at(&uri))
}

async fn deadlocks(State(admin): Shared, uri: Uri) -> Result<Response, Problem> {
    let listed = async {
        let query = Query::read(&uri, &["limit", "consistency"])?;
        let limit = query.limit(limits::DEADLOCKS_DEFAULT, limits::DEADLOCKS_MAX)?;
        let look = look(&admin, consistency(&query)?).await?;
        Ok(look.survey(&Survey::Deadlocks { limit }))
    };
    listed.await.map_err(|problem: Problem| problem.at(&uri))
}

/// Of the cell, as this node has seen it while it led.
async fn contention(State(admin): Shared, uri: Uri) -> Result<Response, Problem> {
    let listed = async {
        let query = Query::read(&uri, &["window", "scope", "limit"])?;
        let window = query.word("window", "1m, 10m or 1h", Window::parse)?;
        let window = window.unwrap_or(Window::Minute);
        let cell = |scope: &str| (scope == "cell").then_some(());
        query.word("scope", "cell: a core node knows no other", cell)?;
        let limit = query.limit(limits::CONTENDED_DEFAULT, limits::CONTENDED_MAX)?;
        let look = look(&admin, Consistency::Available).await?;
        Ok(look.survey(&Survey::Contention { window, limit }))
    };
    listed.await.map_err(|problem: Problem| problem.at(&uri))
}

async fn survey(State(admin): Shared, uri: Uri, ask: Survey) -> Result<Response, Problem> {
    let found = async {
        let query = Query::read(&uri, &["consistency"])?;
        Ok(look(&admin, consistency(&query)?).await?.survey(&ask))
    };
    found.await.map_err(|problem: Problem| problem.at(&uri))
}

/// Where an answer may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    /// Current if possible.
    Available,
    /// Refused rather than stale.
    Linearizable,
    /// As applied here.
    Cached,
}

/// A look at the table as applied here, and what it is worth.
pub(super) struct Look {
    reads: Reads,
    consistency: Consistency,
    worth: Worth,
}

/// Confirms that this node leads, if that is wanted and can be had.
pub(super) async fn look(admin: &Admin, consistency: Consistency) -> Result<Look, Problem> {
    let shard: Shard = admin.shards.get(ShardId(0)).ok_or_else(no_cell)?;
    let reads = shard.reads().clone();
    let confirmed = match consistency {
        Consistency::Cached => Err(ReadError::NotLeader),
        Consistency::Available | Consistency::Linearizable => reads.confirm().await,
    };
    if let (Consistency::Linearizable, Err(error)) = (consistency, &confirmed) {
        return Err(Problem::of_read(error, leader_http(shard.group())));
    }
    let led = shard.group().leadership().borrow().leader.is_some();
    let mode = if led { "normal" } else { "read-only" };
    let mut look = Look {
        reads,
        consistency,
        worth: Worth {
            linearizable: true,
            age: Duration::ZERO,
            mode,
        },
    };
    if confirmed.is_err() {
        look.stale(&[]);
    }
    Ok(look)
}

impl Look {
    /// For these locks: what sidecars have to themselves is told to the table first.
    async fn at(mut self, locks: &[LockName]) -> Result<Self, Problem> {
        if self.worth.linearizable {
            if self.reads.uncover_all(locks).await.is_ok() {
                return Ok(self);
            }
            if self.consistency == Consistency::Linearizable {
                let text = "the sidecar that has the lock to itself does not answer";
                return Err(Problem::new(Kind::NotReady, text));
            }
        }
        self.stale(locks);
        Ok(self)
    }

    fn stale(&mut self, locks: &[LockName]) {
        self.worth.linearizable = false;
        self.worth.age = Duration::from_millis(self.reads.age_ms_of(locks).into());
    }

    fn survey(&self, ask: &Survey) -> Response {
        let found = self.reads.survey(ask);
        self.answer(&SurveyBody::new(self.worth, &found))
    }

    /// The same as a part of something larger.
    pub(super) fn found(&self, ask: &Survey) -> serde_json::Value {
        let found = self.reads.survey(ask);
        let body = serde_json::to_value(SurveyBody::new(self.worth, &found));
        body.expect("text and numbers always become JSON")
    }

    fn answer(&self, body: &impl Serialize) -> Response {
        let mut response = axum::Json(body).into_response();
        let headers = response.headers_mut();
        let word = HeaderValue::from_static(self.worth.consistency());
        headers.insert(SIDELOCK_CONSISTENCY, word);
        headers.insert(header::AGE, HeaderValue::from(self.worth.age_seconds()));
        response
    }
}

fn consistency(query: &Query<'_>) -> Result<Consistency, Problem> {
    let word = |text: &str| match text {
        "available" => Some(Consistency::Available),
        "linearizable" => Some(Consistency::Linearizable),
        "cached" => Some(Consistency::Cached),
        _ => None,
    };
    let asked = query.word("consistency", "available, linearizable or cached", word)?;
    Ok(asked.unwrap_or(Consistency::Available))
}

fn state(query: &Query<'_>) -> Result<Option<LockStateFilter>, Problem> {
    let word = |text: &str| match text {
        "held" => Some(LockStateFilter::Held),
        "contended" => Some(LockStateFilter::Contended),
        "closed" => Some(LockStateFilter::Closed),
        _ => None,
    };
    Ok(query.word("state", "held, contended or closed", word)?)
}

fn page(query: &Query<'_>) -> Result<usize, Problem> {
    let limit = query.number("limit", 1, limits::PAGE_MAX)?;
    let limit = limit.unwrap_or(limits::PAGE_DEFAULT);
    Ok(usize::try_from(limit).expect("checked to be at most 1000"))
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        invalid(error.to_string())
    }
}

fn lock_name(text: &str) -> Result<LockName, Problem> {
    LockName::parse(text).map_err(|error| invalid(format!("the name {error}")))
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidRequest, text)
}
