//! The [`Sidecar`] trait on the driver: each call is one step of the desk, and perhaps a wait.
//! In: checked requests. Out: answers. Never: a decision (those are the desk's).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::codec::POLL_MAX;
use super::desk::{Answer, Now};
use super::driver::{Driver, Inner, Waiting};
use super::frame::{ReadAsk, ReadReply};
use super::handle::{
    BreakAnswer, ClaimAnswer, ClaimAsk, ClaimError, ClaimEvent, ClaimView, Consistency, DrainView,
    Findings, HistoryView, LockQuery, LockView, ModeView, Page, Read, ReleaseAnswer, Sidecar,
    SidecarMode, Standing, StatusView, Survey, Trace, Unavailable, VerifyView,
};
use crate::table::contention::{ContentionView, Window};
use crate::table::id::{ClaimId, LockName, Revision, Token};
use crate::telemetry::sidecar::Instruments;
use crate::world::clock::Instant;

#[async_trait]
impl Sidecar for Driver {
    async fn claim(
        &self,
        id: ClaimId,
        ask: ClaimAsk,
        trace: Trace,
    ) -> Result<ClaimAnswer, ClaimError> {
        let waiting = match self.later(Some(&id), |inner, now| {
            inner.desk.claim(now, id.clone(), ask, trace)
        }) {
            Ok(done) => return done,
            Err(waiting) => waiting,
        };
        match waiting.answer().await {
            // Looked at again by the clock of this moment: between the grant and here time has passed.
            Some(Answer::Claim(Ok(granted))) => {
                self.step(|inner, now| inner.desk.confirm(now, granted))
            }
            Some(Answer::Claim(Err(error))) => Err(error),
            other => Err(stopped(other).into()),
        }
    }

    async fn claim_view(
        &self,
        id: &ClaimId,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<ClaimView, ClaimError> {
        let end = self.clock.now() + wait;
        loop {
            let looked = self.later(Some(id), |inner, now| {
                let view = match inner.desk.view_now(now, id) {
                    Ok(view) => view,
                    Err(error) => return Now::Done(Err(error)),
                };
                if now >= end || after.is_none_or(|after| view.revision > after) {
                    return Now::Done(Ok(view));
                }
                match inner.desk.watch(id) {
                    Some(caller) => Now::Later(caller),
                    None => Now::Done(Ok(view)),
                }
            });
            match looked {
                Ok(done) => return done,
                Err(waiting) => self.wait_until(waiting, end).await,
            }
        }
    }

    async fn renew(
        &self,
        id: &ClaimId,
        ttl: Option<Duration>,
        value: Option<Arc<str>>,
    ) -> Result<ClaimView, ClaimError> {
        let published = self.later(None, |inner, now| inner.desk.renew(now, id, ttl, value));
        let waiting = match published {
            Ok(done) => return done,
            Err(waiting) => waiting,
        };
        match self.within_bound(waiting).await {
            Some(Answer::Renew(view)) => view,
            // The lease is renewed; whether the value is published is not known.
            _silent => Err(self.step(|inner, _| inner.desk.unavailable()).into()),
        }
    }

    async fn release(&self, id: &ClaimId) -> Result<ReleaseAnswer, ClaimError> {
        let waiting = match self.later(None, |inner, now| inner.desk.release(now, id)) {
            Ok(done) => return done,
            Err(waiting) => waiting,
        };
        match self.within_bound(waiting).await {
            Some(Answer::Release(answer)) => answer,
            // It is on its way and stays there until the core has it.
            _silent => Ok(ReleaseAnswer::Accepted),
        }
    }

    fn claims(&self, limit: usize, cursor: Option<&str>) -> Page<ClaimView> {
        self.step(|inner, now| inner.desk.claims(now, limit, cursor))
    }

    async fn claim_events(
        &self,
        id: &ClaimId,
        after: Option<u64>,
    ) -> Result<Vec<ClaimEvent>, ClaimError> {
        loop {
            let looked = self.later(Some(id), |inner, now| {
                let (events, more) = match inner.desk.events(now, id, after) {
                    Ok(found) => found,
                    Err(error) => return Now::Done(Err(error)),
                };
                if !events.is_empty() || !more {
                    return Now::Done(Ok(events));
                }
                match inner.desk.watch(id) {
                    Some(caller) => Now::Later(caller),
                    None => Now::Done(Ok(events)),
                }
            });
            match looked {
                Ok(done) => return done,
                Err(waiting) => {
                    if waiting.answer().await.is_none() {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }

    fn bind(&self, id: &ClaimId) -> Result<(), ClaimError> {
        self.step(|inner, now| inner.desk.bind(now, id))
    }

    fn unbind(&self, id: &ClaimId, closed_by_app: bool) {
        self.step(|inner, now| inner.desk.unbind(now, id, closed_by_app));
    }

    async fn lock(
        &self,
        name: &LockName,
        consistency: Consistency,
        after: Option<Revision>,
        wait: Duration,
    ) -> Result<Read<LockView>, Unavailable> {
        let end = self.clock.now() + wait;
        loop {
            let left = end.since(self.clock.now()).min(POLL_MAX);
            let prefixed = self.prefixed(name)?;
            let ask = ReadAsk::Lock {
                name: prefixed,
                after: after.filter(|_| !left.is_zero()),
                wait: left,
            };
            let read = self.read(ask, consistency).await?;
            let ReadReply::Lock(mut view) = read.value else {
                return Err(Unavailable::Draining);
            };
            view.name = name.clone();
            let changed = after.is_none_or(|after| view.revision > after);
            if changed || self.clock.now() >= end {
                return Ok(Read {
                    value: view,
                    linearizable: read.linearizable,
                    age: read.age,
                });
            }
        }
    }

    async fn locks(&self, query: LockQuery) -> Result<Read<Page<LockView>>, Unavailable> {
        let prefix = self.step(|inner, _| inner.desk.prefix().clone());
        let ask = ReadAsk::Locks {
            prefix: format!("{}{}", prefix.0, query.prefix),
            state: query.state,
            limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
            after: match query.cursor {
                Some(cursor) => format!("{}{cursor}", prefix.0),
                None => String::new(),
            },
        };
        let read = self.read(ask, query.consistency).await?;
        let ReadReply::Locks(mut page) = read.value else {
            return Err(Unavailable::Draining);
        };
        for lock in &mut page.items {
            lock.name = prefix.strip(&lock.name);
        }
        page.next_cursor = page.next_cursor.map(|cursor| {
            let stripped = cursor.strip_prefix(&*prefix.0).map(str::to_owned);
            stripped.unwrap_or(cursor)
        });
        Ok(Read {
            value: page,
            linearizable: read.linearizable,
            age: read.age,
        })
    }

    async fn history(
        &self,
        name: &LockName,
        limit: usize,
        cursor: Option<String>,
    ) -> Result<Read<Page<HistoryView>>, Unavailable> {
        let ask = ReadAsk::History {
            name: self.prefixed(name)?,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            before: cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0),
        };
        let read = self.read(ask, Consistency::Available).await?;
        let ReadReply::History(mut page) = read.value else {
            return Err(Unavailable::Draining);
        };
        let prefix = self.step(|inner, _| inner.desk.prefix().clone());
        prefix.history(&mut page.items);
        Ok(Read {
            value: page,
            linearizable: read.linearizable,
            age: read.age,
        })
    }

    async fn survey(
        &self,
        ask: Survey,
        consistency: Consistency,
    ) -> Result<Read<Findings>, Unavailable> {
        let ask = match ask {
            Survey::Why(name) => Survey::Why(self.prefixed(&name)?),
            ask @ (Survey::Deadlocks { .. }
            | Survey::Order
            | Survey::Waits
            | Survey::Sessions
            | Survey::Contention { .. }) => ask,
        };
        let asked = ReadAsk::Survey(ask.clone());
        let read = self.read(asked, consistency).await?;
        let found = match read.value {
            ReadReply::Found(found) if found.answer(&ask) => found,
            _another => return Err(Unavailable::Draining),
        };
        let prefix = self.step(|inner, _| inner.desk.prefix().clone());
        Ok(Read {
            value: prefix.findings(found),
            linearizable: read.linearizable,
            age: read.age,
        })
    }

    async fn verify(&self, name: &LockName, token: Token) -> Result<VerifyView, Unavailable> {
        let ask = ReadAsk::Verify {
            name: self.prefixed(name)?,
            token,
        };
        match self.read(ask, Consistency::Linearizable).await?.value {
            ReadReply::Verified(view) => Ok(view),
            ReadReply::Lock(_)
            | ReadReply::Locks(_)
            | ReadReply::History(_)
            | ReadReply::Found(_)
            | ReadReply::Broken(_) => Err(Unavailable::Draining),
        }
    }

    async fn break_lock(
        &self,
        name: &LockName,
        reason: Arc<str>,
        force: bool,
    ) -> Result<BreakAnswer, Unavailable> {
        let ask = ReadAsk::Break {
            name: self.prefixed(name)?,
            reason,
            force,
        };
        match self.read(ask, Consistency::Linearizable).await?.value {
            ReadReply::Broken(answer) => Ok(answer),
            ReadReply::Lock(_)
            | ReadReply::Locks(_)
            | ReadReply::History(_)
            | ReadReply::Found(_)
            | ReadReply::Verified(_) => Err(Unavailable::Draining),
        }
    }

    fn mode(&self) -> ModeView {
        self.step(|inner, now| inner.desk.mode_view(now))
    }

    fn current_mode(&self) -> SidecarMode {
        // Each step notes it, and every request takes one before it is answered.
        self.standing.borrow().mode
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    fn is_draining(&self) -> bool {
        self.step(|inner, _| inner.desk.is_draining())
    }

    fn drain(&self) -> DrainView {
        self.begin_drain()
    }

    fn status(&self) -> StatusView {
        let nodes = self.nodes();
        self.step(|inner, now| inner.desk.status_view(now, nodes.addresses()))
    }

    fn contention(&self, window: Window, most: usize) -> ContentionView {
        let now = self.clock.now();
        self.eyes.contention(|seen| seen.report(now, window, most))
    }

    fn instruments(&self) -> &Instruments {
        &self.eyes.instruments
    }
}

impl Driver {
    /// One read, from the question to its answer.
    async fn read(
        &self,
        ask: ReadAsk,
        consistency: Consistency,
    ) -> Result<Read<ReadReply>, Unavailable> {
        let asked = |inner: &mut Inner, now: Instant| inner.desk.read(now, ask, consistency);
        match self.later(None, asked) {
            Ok(done) => done,
            Err(waiting) => match waiting.answer().await {
                Some(Answer::Read(read)) => read,
                other => Err(stopped(other)),
            },
        }
    }

    fn prefixed(&self, name: &LockName) -> Result<LockName, Unavailable> {
        let prefixed = self.step(|inner, _| inner.desk.prefix().add(name));
        // A name that cannot be claimed through this sidecar is not visible through it either.
        prefixed.map_err(|_too_long| Unavailable::Forbidden)
    }

    /// Waits for a change, but not beyond `end`. What it decides is decided by looking again.
    async fn wait_until(&self, waiting: Waiting<'_>, end: Instant) {
        let left = end.since(self.clock.now());
        // Both outcomes lead to another look.
        if tokio::time::timeout(left, waiting.answer()).await.is_err() {
            tracing::trace!("a long-poll is over");
        }
    }

    /// Waits at most for the bound on doubt; `None` if nothing came.
    async fn within_bound(&self, waiting: Waiting<'_>) -> Option<Answer> {
        let bound = self.step(|inner, _| inner.desk.no_quorum_after());
        tokio::time::timeout(bound, waiting.answer())
            .await
            .ok()
            .flatten()
    }
}

/// No answer of the right kind came: this process is stopping (an answer of another kind cannot be).
fn stopped(answer: Option<Answer>) -> Unavailable {
    if let Some(answer) = answer {
        tracing::error!(?answer, "an answer to another question");
    }
    Unavailable::Draining
}
