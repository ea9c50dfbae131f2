//! What the path says, and those parameters of the query string that several routes take.
//! In: a request's URI. Out: names, ids and parameters. Never: a name that is decoded twice or not at all.

use std::time::Duration;

use axum::http::Uri;

use super::problem::Problem;
use crate::config::limits;
use crate::sidecar::handle::{Consistency, LockQuery, LockStateFilter};
use crate::table::id::{ClaimId, LOCK_NAME_BYTES_MAX, LockName};
pub(super) use crate::views::query::Query;
use crate::views::query::{QueryError, decode};

/// Which part of `/v1/claims/{claim_id}/...` and `/v1/locks/{name}/...` names the thing.
const NAME_SEGMENT: usize = 3;

/// The claim that the path names.
pub(super) fn claim_id(uri: &Uri) -> Result<ClaimId, Problem> {
    let text = decode(segment(uri), false)?;
    ClaimId::parse(&text).map_err(|error| Problem::invalid(format!("the claim id {error}")))
}

/// The lock that the path names.
pub(super) fn lock_name(uri: &Uri) -> Result<LockName, Problem> {
    let text = decode(segment(uri), false)?;
    LockName::parse(&text).map_err(|error| Problem::invalid(format!("the lock name {error}")))
}

/// The raw segment: the router has matched it, still encoded, so `%2F` in it is part of the name.
fn segment(uri: &Uri) -> &str {
    uri.path().split('/').nth(NAME_SEGMENT).unwrap_or("")
}

/// What several routes ask.
pub(super) trait Asks {
    /// `limit` and `cursor`; cursors of ours pass `ours`.
    fn page(&self, ours: impl Fn(&str) -> bool) -> Result<(usize, Option<String>), Problem>;

    /// `wait_revision` and `wait_ms`.
    fn poll(&self) -> Result<Poll, Problem>;

    /// `consistency`.
    fn consistency(&self) -> Result<Consistency, Problem>;

    /// All that a list of locks takes.
    fn locks(&self) -> Result<LockQuery, Problem>;
}

impl Asks for Query<'_> {
    fn page(&self, ours: impl Fn(&str) -> bool) -> Result<(usize, Option<String>), Problem> {
        let limit = self.number("limit", 1, limits::PAGE_MAX)?;
        let limit = usize::try_from(limit.unwrap_or(limits::PAGE_DEFAULT))
            .expect("checked to be at most 1000");
        match self.text("cursor") {
            Some(cursor) if !ours(cursor) => {
                Err(Problem::invalid("the parameter `cursor` is none of ours"))
            }
            cursor => Ok((limit, cursor.map(str::to_owned))),
        }
    }

    fn poll(&self) -> Result<Poll, Problem> {
        // Revisions are below 2^63, so that clients with signed integers can name each.
        let after = self.number("wait_revision", 0, i64::MAX as u64)?;
        let wait = self.number("wait_ms", 0, limits::WAIT_MS_MAX)?;
        let default = after.map_or(0, |_| limits::LONG_POLL_MS_DEFAULT);
        Ok(Poll {
            after,
            wait: Duration::from_millis(wait.unwrap_or(default)),
        })
    }

    fn consistency(&self) -> Result<Consistency, Problem> {
        let word = |text: &str| match text {
            "available" => Some(Consistency::Available),
            "linearizable" => Some(Consistency::Linearizable),
            "cached" => Some(Consistency::Cached),
            _ => None,
        };
        let asked = self.word("consistency", "available, linearizable or cached", word)?;
        Ok(asked.unwrap_or(Consistency::Available))
    }

    fn locks(&self) -> Result<LockQuery, Problem> {
        let word = |text: &str| match text {
            "held" => Some(LockStateFilter::Held),
            "contended" => Some(LockStateFilter::Contended),
            "closed" => Some(LockStateFilter::Closed),
            _ => None,
        };
        let words = "held, contended or closed (there is no end to the free locks)";
        let state = self.word("state", words, word)?;
        let (limit, cursor) = self.page(|cursor| LockName::parse(cursor).is_ok())?;
        let prefix = self.text("prefix").unwrap_or("");
        if prefix.len() > LOCK_NAME_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "the parameter `prefix` must have at most {LOCK_NAME_BYTES_MAX} bytes"
            )));
        }
        Ok(LockQuery {
            prefix: prefix.to_owned(),
            state,
            limit,
            cursor,
            consistency: self.consistency()?,
        })
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let problem = Self::invalid(error.to_string());
        match error {
            QueryError::Malformed(_) => problem,
            QueryError::Unknown(names) => problem.with("unknown_parameters", names),
        }
    }
}

/// A long-poll: what revision the caller has seen, and how long it will wait for a later one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Poll {
    /// `None`: whatever it is now.
    pub(super) after: Option<u64>,
    /// Zero answers at once.
    pub(super) wait: Duration,
}
