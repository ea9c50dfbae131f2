//! Surveys: what is asked beyond single locks, and what is answered.
//! In: a `Survey` or `Findings`. Out: the table's own, and the same way back; order edges also for the disk.
//! Never: an age that was not measured.

use std::time::Duration;

use super::error::{
    ConvertError, Converted, Problem, all, claim_id, each, fault, lock_name, owner_id, present,
};
use crate::table::command::Party;
use crate::table::id::{ClaimId, LockName, Revision, SessionId};
use crate::table::order::{LockClass, OrderEdge, OrderSample};
use crate::table::survey::{
    DeadlockView, Findings, HolderWhy, OrderView, SessionTally, SessionsView, Survey, WaiterWhy,
    WaitsView, WhyView,
};
use crate::table::view::{HolderView, LockView, WaiterView};
use crate::wire::v1;

impl From<&Survey> for v1::Survey {
    fn from(ask: &Survey) -> Self {
        use v1::survey::Survey as Wire;
        let survey = match ask {
            Survey::Deadlocks { limit } => Wire::Deadlocks(*limit),
            Survey::Order => Wire::Order(v1::SurveyOrder {}),
            Survey::Waits => Wire::Waits(v1::SurveyWaits {}),
            Survey::Sessions => Wire::Sessions(v1::SurveySessions {}),
            Survey::Why(name) => Wire::Why(name.to_string()),
            Survey::Contention { window, limit } => Wire::Contention(v1::SurveyContention {
                window: window.word().to_owned(),
                limit: *limit,
            }),
        };
        Self {
            survey: Some(survey),
        }
    }
}

impl TryFrom<v1::Survey> for Survey {
    type Error = ConvertError;

    fn try_from(ask: v1::Survey) -> Converted<Self> {
        use v1::survey::Survey as Wire;
        Ok(match present("Survey.survey", ask.survey)? {
            Wire::Deadlocks(limit) => Self::Deadlocks { limit },
            Wire::Order(v1::SurveyOrder {}) => Self::Order,
            Wire::Waits(v1::SurveyWaits {}) => Self::Waits,
            Wire::Sessions(v1::SurveySessions {}) => Self::Sessions,
            Wire::Why(name) => Self::Why(lock_name("Survey.why", &name)?),
            Wire::Contention(ask) => Self::Contention {
                window: super::contention::window(&ask.window)?,
                limit: ask.limit,
            },
        })
    }
}

impl From<&Findings> for v1::Findings {
    fn from(found: &Findings) -> Self {
        use v1::findings::Findings as Wire;
        let findings = match found {
            Findings::Deadlocks(deadlocks) => Wire::Deadlocks(v1::Deadlocks {
                deadlocks: each(deadlocks),
            }),
            Findings::Order(order) => Wire::Order(v1::Order {
                edges: order
                    .edges
                    .iter()
                    .map(|(before, after, edge)| {
                        order_edge((before.as_str(), after.as_str()), edge)
                    })
                    .collect(),
                missed: order.missed,
            }),
            Findings::Waits(waits) => Wire::Waits(v1::Waits {
                edges: each(&waits.edges),
                truncated: waits.truncated,
            }),
            Findings::Sessions(sessions) => Wire::Sessions(v1::Sessions {
                sessions: each(&sessions.sessions),
                truncated: sessions.truncated,
            }),
            Findings::Why(why) => Wire::Why((&**why).into()),
            Findings::Contention(view) => Wire::Contention(view.into()),
        };
        Self {
            findings: Some(findings),
        }
    }
}

impl TryFrom<v1::Findings> for Findings {
    type Error = ConvertError;

    fn try_from(found: v1::Findings) -> Converted<Self> {
        use v1::findings::Findings as Wire;
        Ok(match present("Findings.findings", found.findings)? {
            Wire::Deadlocks(told) => Self::Deadlocks(all(told.deadlocks)?),
            Wire::Order(order) => {
                let edges = order.edges.into_iter().map(|edge| {
                    let before = class("OrderEdge.before", &edge.before)?;
                    let after = class("OrderEdge.after", &edge.after)?;
                    Ok((before, after, edge.try_into()?))
                });
                Self::Order(OrderView {
                    edges: edges.collect::<Converted<_>>()?,
                    missed: order.missed,
                })
            }
            Wire::Waits(waits) => Self::Waits(WaitsView {
                edges: all(waits.edges)?,
                truncated: waits.truncated,
            }),
            Wire::Sessions(told) => {
                let sessions = told.sessions.into_iter().map(SessionTally::from);
                Self::Sessions(SessionsView {
                    sessions: sessions.collect(),
                    truncated: told.truncated,
                })
            }
            Wire::Why(why) => Self::Why(Box::new(why.try_into()?)),
            Wire::Contention(told) => Self::Contention(told.try_into()?),
        })
    }
}

impl From<&DeadlockView> for v1::DeadlockTold {
    fn from(view: &DeadlockView) -> Self {
        Self {
            revision: view.revision.0,
            victim: view.victim.to_string(),
            edges: each(&view.edges),
        }
    }
}

impl TryFrom<v1::DeadlockTold> for DeadlockView {
    type Error = ConvertError;

    fn try_from(told: v1::DeadlockTold) -> Converted<Self> {
        Ok(Self {
            revision: Revision(told.revision),
            victim: claim_id("DeadlockTold.victim", &told.victim)?,
            edges: all(told.edges)?,
        })
    }
}

/// An edge with its classes.
pub(super) fn order_edge((before, after): (&str, &str), edge: &OrderEdge) -> v1::OrderEdge {
    let sample = &edge.sample;
    v1::OrderEdge {
        before: before.to_owned(),
        after: after.to_owned(),
        count: edge.count,
        sample: Some(v1::OrderSample {
            held: sample.held.to_string(),
            taken: sample.taken.to_string(),
            claim_id: sample.claim_id.to_string(),
            owner: sample.owner.to_string(),
            identity: sample.identity.to_string(),
            revision: sample.revision.0,
        }),
        closes: edge.closes.iter().map(LockClass::to_string).collect(),
    }
}

impl TryFrom<v1::OrderEdge> for OrderEdge {
    type Error = ConvertError;

    fn try_from(edge: v1::OrderEdge) -> Converted<Self> {
        let sample = present("OrderEdge.sample", edge.sample)?;
        let closes = edge.closes.iter();
        let closes = closes.map(|name| class("OrderEdge.closes", name));
        Ok(Self {
            count: edge.count,
            sample: OrderSample {
                held: lock_name("OrderSample.held", &sample.held)?,
                taken: lock_name("OrderSample.taken", &sample.taken)?,
                claim_id: claim_id("OrderSample.claim_id", &sample.claim_id)?,
                owner: owner_id("OrderSample.owner", &sample.owner)?,
                identity: sample.identity.into(),
                revision: Revision(sample.revision),
            },
            closes: closes.collect::<Converted<_>>()?,
        })
    }
}

fn class(field: &'static str, text: &str) -> Converted<LockClass> {
    match LockClass::parse(text) {
        Some(class) => Ok(class),
        None => fault(field, Problem::Range),
    }
}

impl From<&SessionTally> for v1::SessionTally {
    fn from(tally: &SessionTally) -> Self {
        Self {
            session: tally.session.0,
            identity: tally.identity.to_string(),
            ttl_ms: tally.ttl_ms,
            claims: tally.claims,
            waiting: tally.waiting,
            delegations: tally.delegations,
        }
    }
}

impl From<v1::SessionTally> for SessionTally {
    fn from(tally: v1::SessionTally) -> Self {
        Self {
            session: SessionId(tally.session),
            identity: tally.identity.into(),
            ttl_ms: tally.ttl_ms,
            claims: tally.claims,
            waiting: tally.waiting,
            delegations: tally.delegations,
        }
    }
}

impl From<&WhyView> for v1::Why {
    fn from(why: &WhyView) -> Self {
        // Holders and waiters as everywhere, in the same order, each with what is told of it besides.
        let lock = v1::Lock::from(&LockView {
            name: why.name.clone(),
            holders: why.holders.iter().map(|it| it.holder.clone()).collect(),
            queue: why.queue.iter().map(|it| it.waiter.clone()).collect(),
            waiters: why.waiters,
            lock_delay_ms: why.lock_delay_ms,
            revision: Revision(0),
        });
        let holders = lock.holders.into_iter().zip(&why.holders);
        let queue = lock.queue.into_iter().zip(&why.queue);
        Self {
            name: lock.name,
            holders: holders
                .map(|(holder, about)| v1::WhyHolder {
                    holder: Some(holder),
                    held_ms: u64::try_from(about.held.as_millis()).unwrap_or(u64::MAX),
                    delegated: about.delegated,
                    user: about.user.as_ref().map(Into::into),
                })
                .collect(),
            queue: queue
                .map(|(waiter, about)| v1::WhyWaiter {
                    waiter: Some(waiter),
                    waits_for: about.waits_for.iter().map(ClaimId::to_string).collect(),
                    behind: about.behind,
                    elsewhere: about.elsewhere.iter().map(LockName::to_string).collect(),
                    trial: about.trial,
                })
                .collect(),
            waiters: lock.waiters,
            lock_delay_ms: lock.lock_delay_ms,
            history: each(&why.history),
        }
    }
}

impl TryFrom<v1::Why> for WhyView {
    type Error = ConvertError;

    fn try_from(why: v1::Why) -> Converted<Self> {
        Ok(Self {
            name: lock_name("Why.name", &why.name)?,
            holders: all(why.holders)?,
            queue: all(why.queue)?,
            waiters: why.waiters,
            lock_delay_ms: why.lock_delay_ms,
            history: all(why.history)?,
        })
    }
}

impl TryFrom<v1::WhyHolder> for HolderWhy {
    type Error = ConvertError;

    fn try_from(why: v1::WhyHolder) -> Converted<Self> {
        Ok(Self {
            holder: HolderView::try_from(present("WhyHolder.holder", why.holder)?)?,
            held: Duration::from_millis(why.held_ms),
            delegated: why.delegated,
            user: why.user.map(Party::try_from).transpose()?,
        })
    }
}

impl TryFrom<v1::WhyWaiter> for WaiterWhy {
    type Error = ConvertError;

    fn try_from(why: v1::WhyWaiter) -> Converted<Self> {
        let waits_for = why.waits_for.iter();
        let waits_for = waits_for.map(|id| claim_id("WhyWaiter.waits_for", id));
        let elsewhere = why.elsewhere.iter();
        let elsewhere = elsewhere.map(|name| lock_name("WhyWaiter.elsewhere", name));
        Ok(Self {
            waiter: WaiterView::try_from(present("WhyWaiter.waiter", why.waiter)?)?,
            waits_for: waits_for.collect::<Converted<_>>()?,
            behind: why.behind,
            elsewhere: elsewhere.collect::<Converted<_>>()?,
            trial: why.trial,
        })
    }
}
