//! Contention as one node tells it to a sidecar.
//! In: a `ContentionView`. Out: the same on the other side. Never: a time but as a span in microseconds.

use std::time::Duration;

use super::error::{ConvertError, Converted, Problem, all, each, fault, lock_name, present};
use crate::table::contention::{ContendedLock, ContentionView, Totals, WaitSample, Window};
use crate::wire::v1;

pub(super) fn window(word: &str) -> Converted<Window> {
    match Window::parse(word) {
        Some(window) => Ok(window),
        None => fault("Contention.window", Problem::Missing),
    }
}

impl From<&ContentionView> for v1::Contention {
    fn from(view: &ContentionView) -> Self {
        Self {
            window: view.window.word().to_owned(),
            total: Some(v1::ContentionTotals {
                waited_us: us(view.total.waited),
                waits: view.total.waits,
                holds: view.total.holds,
                recalls: view.total.recalls,
            }),
            locks: each(&view.locks),
        }
    }
}

impl TryFrom<v1::Contention> for ContentionView {
    type Error = ConvertError;

    fn try_from(told: v1::Contention) -> Converted<Self> {
        let total = present("Contention.total", told.total)?;
        Ok(Self {
            window: window(&told.window)?,
            total: Totals {
                waited: Duration::from_micros(total.waited_us),
                waits: total.waits,
                holds: total.holds,
                recalls: total.recalls,
            },
            locks: all(told.locks)?,
        })
    }
}

impl From<&ContendedLock> for v1::ContendedLock {
    fn from(lock: &ContendedLock) -> Self {
        Self {
            name: lock.name.to_string(),
            waited_us: us(lock.waited),
            overcount_us: us(lock.overcount),
            waits: lock.waits,
            longest_us: us(lock.longest),
            waiters: lock.waiters,
            waiters_max: lock.waiters_max,
            holds: lock.holds,
            held_us: us(lock.held),
            recalls: lock.recalls,
            samples: each(&lock.samples),
        }
    }
}

impl TryFrom<v1::ContendedLock> for ContendedLock {
    type Error = ConvertError;

    fn try_from(lock: v1::ContendedLock) -> Converted<Self> {
        Ok(Self {
            name: lock_name("ContendedLock.name", &lock.name)?,
            waited: Duration::from_micros(lock.waited_us),
            overcount: Duration::from_micros(lock.overcount_us),
            waits: lock.waits,
            longest: Duration::from_micros(lock.longest_us),
            waiters: lock.waiters,
            waiters_max: lock.waiters_max,
            holds: lock.holds,
            held: Duration::from_micros(lock.held_us),
            recalls: lock.recalls,
            samples: lock.samples.into_iter().map(WaitSample::from).collect(),
        })
    }
}

impl From<&WaitSample> for v1::WaitSample {
    fn from(sample: &WaitSample) -> Self {
        Self {
            claim_id: sample.claim_id.to_string(),
            owner: sample.owner.to_string(),
            identity: sample.identity.to_string(),
            waited_us: us(sample.waited),
            behind: sample.behind.as_deref().map(str::to_owned),
            trace_id: sample.trace_id.to_string(),
            ago_us: us(sample.ago),
        }
    }
}

impl From<v1::WaitSample> for WaitSample {
    fn from(sample: v1::WaitSample) -> Self {
        Self {
            claim_id: sample.claim_id.into(),
            owner: sample.owner.into(),
            identity: sample.identity.into(),
            waited: Duration::from_micros(sample.waited_us),
            behind: sample.behind.map(Into::into),
            trace_id: sample.trace_id.into(),
            ago: Duration::from_micros(sample.ago_us),
        }
    }
}

fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
