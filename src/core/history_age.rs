//! PURE: how old the history is, so that records past their age are dropped.
//! In: now and the table's revision, every so often. Out: the newest revision that is too old.
//! Never: a record dropped early: after a restart, ages are counted anew.

use std::collections::VecDeque;
use std::time::Duration;

use crate::table::id::Revision;
use crate::world::clock::Instant;

/// How long history is kept, in elapsed time.
pub const HISTORY_KEPT: Duration = Duration::from_hours(24);
/// Between two samples; 1440 of them are kept.
const SAMPLE_EVERY: Duration = Duration::from_mins(1);

/// Samples of when which revision was current, oldest first.
#[derive(Debug, Default)]
pub struct HistoryAge {
    samples: VecDeque<(Instant, Revision)>,
}

impl HistoryAge {
    /// Notes the revision. On a node that serves, gives the newest one that has become too old, once.
    /// Other nodes forget it: the leader has dropped the same records.
    pub fn tick(&mut self, now: Instant, revision: Revision, serving: bool) -> Option<Revision> {
        let due = self
            .samples
            .back()
            .is_none_or(|(at, _)| now.since(*at) >= SAMPLE_EVERY);
        if due {
            self.samples.push_back((now, revision));
        }
        let mut old = None;
        while let Some((at, revision)) = self.samples.front()
            && now.since(*at) > HISTORY_KEPT
        {
            old = Some(*revision);
            self.samples.pop_front();
        }
        old.filter(|_| serving)
    }
}
