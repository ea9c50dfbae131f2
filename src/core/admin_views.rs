//! What operators can see through a node, in the shapes of the sidecars' API: locks, their history, surveys.
//! In: GETs on `--http`. Out: the same JSON as a sidecar's, and what it is worth.
//! Never: a change; a stale answer that does not say so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use percent_encoding::percent_decode_str;
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
            prefix: query.text("prefix").to_owned(),
            state: query.state()?,
            limit: query.limit(limits::PAGE_DEFAULT, limits::PAGE_MAX)?,
            after: match query.text("cursor") {
                "" => None,
                cursor => Some(lock_name(cursor)?),
            },
        };
        let look = look(&admin, query.consistency()?).await?;
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
        let look = look(&admin, query.consistency()?).await?;
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
        let limit = query.limit(limits::PAGE_DEFAULT, limits::PAGE_MAX)?;
        let before = query.number("cursor", 1, u64::MAX)?.map(Revision);
        let look = look(&admin, query.consistency()?).await?;
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
        let look = look(&admin, query.consistency()?).await?;
        let look = look.at(std::slice::from_ref(&name)).await?;
        Ok(look.survey(&Survey::Why(name)))
    };
    explained.await.map_err(|problem: Problem| problem.at(&uri))
}

async fn deadlocks(State(admin): Shared, uri: Uri) -> Result<Response, Problem> {
    let listed = async {
        let query = Query::read(&uri, &["limit", "consistency"])?;
        let (default, max) = (limits::DEADLOCKS_DEFAULT, limits::DEADLOCKS_MAX);
        let limit = query.number("limit", 1, max.into())?;
        let limit = limit.map_or(default, |limit| u32::try_from(limit).unwrap_or(max));
        let look = look(&admin, query.consistency()?).await?;
        Ok(look.survey(&Survey::Deadlocks { limit }))
    };
    listed.await.map_err(|problem: Problem| problem.at(&uri))
}

/// Of the cell, as this node has seen it while it led.
async fn contention(State(admin): Shared, uri: Uri) -> Result<Response, Problem> {
    let listed = async {
        let query = Query::read(&uri, &["window", "scope", "limit"])?;
        let window = match query.text("window") {
            "" => Window::Minute,
            word => Window::parse(word)
                .ok_or_else(|| invalid("the parameter `window` must be 1m, 10m or 1h"))?,
        };
        if !["", "cell"].contains(&query.text("scope")) {
            return Err(invalid("a core node only knows the `scope` cell"));
        }
        let (default, max) = (limits::CONTENDED_DEFAULT, limits::CONTENDED_MAX);
        let limit = query.number("limit", 1, max.into())?;
        let limit = limit.map_or(default, |limit| u32::try_from(limit).unwrap_or(max));
        let look = look(&admin, Consistency::Available).await?;
        Ok(look.survey(&Survey::Contention { window, limit }))
    };
    listed.await.map_err(|problem: Problem| problem.at(&uri))
}

async fn survey(State(admin): Shared, uri: Uri, ask: Survey) -> Result<Response, Problem> {
    let found = async {
        let query = Query::read(&uri, &["consistency"])?;
        Ok(look(&admin, query.consistency()?).await?.survey(&ask))
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
            age: std::time::Duration::ZERO,
            mode,
        },
    };
    if confirmed.is_err() {
        look.stale();
    }
    Ok(look)
}

impl Look {
    /// For these locks: what sidecars have to themselves is told to the table first.
    async fn at(mut self, locks: &[LockName]) -> Result<Self, Problem> {
        if !self.worth.linearizable || self.reads.uncover_all(locks).await.is_ok() {
            return Ok(self);
        }
        if self.consistency == Consistency::Linearizable {
            let text = "the sidecar that has the lock to itself does not answer";
            return Err(Problem::new(Kind::NotReady, text));
        }
        self.stale();
        Ok(self)
    }

    fn stale(&mut self) {
        self.worth.linearizable = false;
        self.worth.age = std::time::Duration::from_millis(self.reads.age_ms().into());
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

/// The parameters of a query string.
struct Query<'a>(BTreeMap<&'static str, Cow<'a, str>>);

impl<'a> Query<'a> {
    /// Refuses all parameters but these.
    fn read(uri: &'a Uri, known: &[&'static str]) -> Result<Self, Problem> {
        let mut found = BTreeMap::new();
        let pairs = uri.query().unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = known.iter().find(|known| **known == name) else {
                return Err(invalid(format!("unknown parameter: {name}")));
            };
            let text = percent_decode_str(text).decode_utf8();
            let text = text.map_err(|_| invalid(format!("`{name}` must be UTF-8")))?;
            if found.insert(*name, text).is_some() {
                return Err(invalid(format!("`{name}` is given more than once")));
            }
        }
        Ok(Self(found))
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text)
    }

    fn number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, Problem> {
        match self.text(name) {
            "" => Ok(None),
            text => match text.parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
                _ => Err(invalid(format!(
                    "the parameter `{name}` must be a whole number between {min} and {max}"
                ))),
            },
        }
    }

    fn limit(&self, default: u64, max: u64) -> Result<usize, Problem> {
        let limit = self.number("limit", 1, max)?.unwrap_or(default);
        Ok(usize::try_from(limit).expect("checked to be at most 1000"))
    }

    fn consistency(&self) -> Result<Consistency, Problem> {
        match self.text("consistency") {
            "" | "available" => Ok(Consistency::Available),
            "linearizable" => Ok(Consistency::Linearizable),
            "cached" => Ok(Consistency::Cached),
            _ => Err(invalid(
                "`consistency` must be available, linearizable or cached",
            )),
        }
    }

    fn state(&self) -> Result<Option<LockStateFilter>, Problem> {
        match self.text("state") {
            "" => Ok(None),
            "held" => Ok(Some(LockStateFilter::Held)),
            "contended" => Ok(Some(LockStateFilter::Contended)),
            "closed" => Ok(Some(LockStateFilter::Closed)),
            _ => Err(invalid("`state` must be held, contended or closed")),
        }
    }
}

fn lock_name(text: &str) -> Result<LockName, Problem> {
    LockName::parse(text).map_err(|error| invalid(format!("the name {error}")))
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidRequest, text)
}
