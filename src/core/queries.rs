//! Answers the queries of a sidecar's stream.
//! In: a `Query` as it came. Out: its `QueryReply`, always exactly one. Never: a change of the table,
//! but for a break where this node allows it to sidecars.

use std::sync::Arc;
use std::time::Duration;

use super::access::Rights;
use super::group::{ProposeError, ReadError};
use super::proposer::Proposer;
use super::reads::Reads;
use super::rules::Right;
use crate::table::command::{Break, Command, Reply as TableReply};
use crate::table::id::{LockName, Revision, Token};
use crate::table::survey::Survey;
use crate::wire::convert;
use crate::wire::v1;
use crate::wire::v1::query::Query;
use crate::wire::v1::query_reply::Reply;

/// Most records of one page.
const PAGE_MAX: u32 = 1_000;

/// What queries are answered from.
#[derive(Clone)]
pub struct Queries {
    /// The table as applied here.
    pub reads: Reads,
    /// For breaks.
    pub proposer: Proposer,
    /// Whether sidecars may break locks through this node, as in `sidelock dev`.
    pub breaks_allowed: bool,
}

impl Queries {
    /// The answer, as far as these rights go. `by` names the sidecar, for history.
    pub async fn answer(self, query: v1::Query, rights: Rights, by: Arc<str>) -> v1::QueryReply {
        // Whether a token still holds is only worth knowing for now.
        let linearizable = query.linearizable
            || matches!(query.query, Some(Query::Verify(_) | Query::BreakLock(_)));
        let reply = match query.query {
            Some(asked) if allowed(&asked, &rights) => self.reply(asked, linearizable, by).await,
            Some(_) => Err(v1::QueryError::Forbidden),
            None => Err(v1::QueryError::Invalid),
        };
        v1::QueryReply {
            id: query.id,
            linearizable,
            age_ms: match &reply {
                _ if linearizable => 0,
                Ok(Reply::Lock(lock)) => self.age_ms_of(std::slice::from_ref(lock)),
                Ok(Reply::Locks(page)) => self.age_ms_of(&page.locks),
                _ => self.reads.age_ms(),
            },
            reply: Some(reply.unwrap_or_else(|error| Reply::Error(error.into()))),
        }
    }

    fn age_ms_of(&self, locks: &[v1::Lock]) -> u32 {
        let names = locks.iter().filter_map(|lock| lock_name(&lock.name).ok());
        let names: Vec<LockName> = names.collect();
        self.reads.age_ms_of(&names)
    }

    async fn reply(
        &self,
        query: Query,
        linearizable: bool,
        by: Arc<str>,
    ) -> Result<Reply, v1::QueryError> {
        if let Query::BreakLock(ask) = query {
            return self.break_lock(ask, by).await;
        }
        if linearizable {
            self.reads.confirm().await.map_err(unconfirmed)?;
        }
        match query {
            Query::GetLock(get) => {
                let name = lock_name(&get.name)?;
                if linearizable {
                    self.uncover(&name).await?;
                }
                let view = match get.wait_ms {
                    0 => self.reads.lock(&name),
                    ms => {
                        let wait = Duration::from_millis(ms.into());
                        let after = Revision(get.after_revision);
                        self.reads.lock_after(&name, after, wait).await
                    }
                };
                Ok(Reply::Lock((&view).into()))
            }
            Query::ListLocks(list) => {
                let query = convert::list_query(list).map_err(|_| v1::QueryError::Invalid)?;
                let (mut locks, mut next) = self.reads.locks(&query);
                if linearizable {
                    let names: Vec<LockName> = locks.into_iter().map(|lock| lock.name).collect();
                    let uncovered = self.reads.uncover_all(&names).await;
                    uncovered.map_err(|_covered| v1::QueryError::Delegate)?;
                    (locks, next) = self.reads.locks(&query);
                }
                Ok(Reply::Locks(v1::Locks {
                    locks: locks.iter().map(Into::into).collect(),
                    next_after: next.map(|name| name.to_string()).unwrap_or_default(),
                }))
            }
            Query::GetHistory(get) => {
                let name = lock_name(&get.name)?;
                if linearizable {
                    self.uncover(&name).await?;
                }
                let before = (get.before > 0).then_some(Revision(get.before));
                let limit = get.limit.clamp(1, PAGE_MAX) as usize;
                let (records, next) = self.reads.history(&name, before, limit);
                Ok(Reply::History(v1::History {
                    records: records.iter().map(Into::into).collect(),
                    next_before: next.map_or(0, |revision| revision.0),
                }))
            }
            Query::Verify(verify) => {
                let name = lock_name(&verify.name)?;
                let token = Token::new(verify.token).ok_or(v1::QueryError::Invalid)?;
                self.uncover(&name).await?;
                Ok(Reply::Verified((&self.reads.verify(&name, token)).into()))
            }
            Query::Survey(ask) => self.survey(ask, linearizable).await,
            Query::BreakLock(_) => Err(v1::QueryError::Invalid),
        }
    }

    async fn survey(&self, ask: v1::Survey, linearizable: bool) -> Result<Reply, v1::QueryError> {
        let ask = Survey::try_from(ask).map_err(|_| v1::QueryError::Invalid)?;
        if let Survey::Why(name) = &ask
            && linearizable
        {
            self.uncover(name).await?;
        }
        Ok(Reply::Findings((&self.reads.survey(&ask)).into()))
    }

    async fn uncover(&self, name: &LockName) -> Result<(), v1::QueryError> {
        let uncovered = self.reads.uncover(name).await;
        uncovered.map_err(|_covered| v1::QueryError::Delegate)
    }

    async fn break_lock(&self, ask: v1::BreakLock, by: Arc<str>) -> Result<Reply, v1::QueryError> {
        if !self.breaks_allowed {
            return Err(v1::QueryError::Forbidden);
        }
        let command = Command::Break(Break {
            lock: lock_name(&ask.name)?,
            reason: ask.reason.into(),
            force: ask.force,
            by,
        });
        match self.proposer.ask(command).await {
            Ok(TableReply::Broken(reply)) => Ok(Reply::Broken((&reply).into())),
            Ok(other) => unreachable!("a break was answered {other:?}"),
            Err(ProposeError::NotLeader) => Err(v1::QueryError::NotLeader),
            Err(ProposeError::Unknown | ProposeError::Stopped(_)) => Err(v1::QueryError::NoQuorum),
        }
    }
}

/// What is told of the whole cell wants the right to see all of it.
fn allowed(query: &Query, rights: &Rights) -> bool {
    match query {
        Query::GetLock(get) => rights.allow(Right::Read, &get.name),
        Query::ListLocks(list) => rights.allow(Right::Read, &list.prefix),
        Query::GetHistory(get) => rights.allow(Right::Read, &get.name),
        // A resource asks whether to take a token: it needs no more than whoever has one.
        Query::Verify(verify) => {
            rights.allow(Right::Read, &verify.name) || rights.allow(Right::Claim, &verify.name)
        }
        Query::BreakLock(ask) => rights.allow(Right::Break, &ask.name),
        Query::Survey(ask) => rights.allow(Right::Read, surveyed(ask)),
    }
}

/// The lock that a survey is about, or the beginning of all names.
fn surveyed(ask: &v1::Survey) -> &str {
    match &ask.survey {
        Some(v1::survey::Survey::Why(name)) => name,
        _ => "",
    }
}

fn lock_name(text: &str) -> Result<LockName, v1::QueryError> {
    LockName::parse(text).map_err(|_| v1::QueryError::Invalid)
}

fn unconfirmed(error: ReadError) -> v1::QueryError {
    match error {
        ReadError::NotLeader => v1::QueryError::NotLeader,
        ReadError::NoQuorum | ReadError::Stopped(_) => v1::QueryError::NoQuorum,
    }
}
