//! PURE: for how long a revision of the table has been, as far as this node has seen it.
//! In: now and the table's revision, with every applied entry. Out: elapsed time, at least or at most.
//! Never: more samples than a bound, whatever the load; an age from before the table was loaded.

use std::collections::VecDeque;
use std::time::Duration;

use crate::table::id::Revision;
use crate::world::clock::Instant;

/// How exact ages are, and up to which age: to a tenth of a second for a minute, to a second for an hour and to
/// a minute for a day. At most two samples for each, some 11,000 in all.
const GRAINS: [(Duration, Duration); 3] = [
    (Duration::from_millis(100), Duration::from_mins(1)),
    (Duration::from_secs(1), Duration::from_hours(1)),
    (Duration::from_mins(1), Duration::from_hours(24)),
];

/// When which revision was current.
#[derive(Debug, Default)]
pub struct Ages {
    /// One for each of [`GRAINS`], oldest sample first.
    samples: [VecDeque<(Instant, Revision)>; GRAINS.len()],
}

impl Ages {
    /// Notes the revision that an entry has led to.
    pub fn note(&mut self, now: Instant, revision: Revision) {
        for (samples, (every, kept)) in self.samples.iter_mut().zip(GRAINS) {
            if samples.back().is_some_and(|(_, last)| revision <= *last) {
                continue;
            }
            // The last one goes on until it is too far from the one before it, so that what comes before a
            // pause and what comes after it both have their moment.
            let before = samples.len().checked_sub(2).and_then(|at| samples.get(at));
            if before.is_some_and(|(at, _)| now.since(*at) < every) {
                samples.pop_back();
            }
            samples.push_back((now, revision));
            // One older than that stays, to tell that all since is known.
            while samples.get(1).is_some_and(|(at, _)| now.since(*at) > kept) {
                samples.pop_front();
            }
        }
    }

    /// For how long at most; none if it came before all that is known here.
    pub fn age_at_most(&self, now: Instant, revision: Revision) -> Option<Duration> {
        let grains = self.samples.iter().zip(GRAINS);
        grains.into_iter().find_map(|(samples, (every, _))| {
            let next = samples.partition_point(|(_, at)| *at < revision);
            let (before, _) = samples.get(next.checked_sub(1)?)?;
            let at = samples.get(next).map_or(now, |(at, _)| *at);
            // One that came so soon after the one before it may stand for several.
            let at = if at.since(*before) < every {
                *before
            } else {
                at
            };
            Some(now.since(at))
        })
    }

    /// For how long at least the table has had this revision.
    pub fn age(&self, now: Instant, revision: Revision) -> Duration {
        let since = |samples: &VecDeque<(Instant, Revision)>| {
            let first = samples.partition_point(|(_, at)| *at < revision);
            // Before the first sample of a fine grain, a coarser one knows more.
            (first > 0).then(|| samples.get(first).map_or(now, |(at, _)| *at))
        };
        let known = self.samples.iter().find_map(since);
        let oldest = self
            .samples
            .iter()
            .rev()
            .find_map(|samples| samples.front());
        let at = known.or_else(|| oldest.map(|(at, _)| *at)).unwrap_or(now);
        now.since(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_boot(Duration::from_millis(ms))
    }

    #[test]
    fn what_comes_before_and_after_a_pause_has_its_very_moment() {
        let mut ages = Ages::default();
        ages.note(at(0), Revision(5)); // as loaded
        ages.note(at(1_000), Revision(7));
        ages.note(at(1_050), Revision(8));
        ages.note(at(1_090), Revision(9)); // in the place of the one before
        ages.note(at(2_000), Revision(9));
        ages.note(at(9_000), Revision(10));
        let age = |revision| ages.age(at(10_000), Revision(revision)).as_millis();
        assert_eq!(age(6), 9_000);
        assert_eq!(age(7), 9_000);
        assert_eq!(age(8), 8_910, "at least since the next sample");
        assert_eq!(age(9), 8_910);
        assert_eq!(age(10), 1_000);
        assert_eq!(age(11), 0, "nothing is known of it yet");
        assert_eq!(age(3), 10_000, "at least since the table was loaded");
        let most = |revision| ages.age_at_most(at(10_000), Revision(revision));
        let most = |revision| most(revision).map(|age| age.as_millis());
        assert_eq!(most(7), Some(9_000));
        assert_eq!(most(8), Some(9_000), "not before the last sample");
        assert_eq!(most(10), Some(1_000));
        assert_eq!(most(3), None, "it was there when the table was loaded");
    }

    #[test]
    fn ages_are_never_too_long_and_grow_coarser() {
        let mut ages = Ages::default();
        ages.note(at(0), Revision(0));
        let day = 24 * 60 * 60 * 1_000;
        for now in (0..=day).step_by(53) {
            ages.note(at(now), Revision(now)); // each is as old as it is small
        }
        for (real, error) in [(30_000, 153), (1_800_000, 1_053), (40_000_000, 60_053)] {
            let told = ages.age(at(day), Revision(day - real)).as_millis();
            let wrong = u128::from(real).checked_sub(told);
            assert!(
                wrong.is_some_and(|wrong| wrong <= error),
                "{told} of {real}"
            );
            let most = ages.age_at_most(at(day), Revision(day - real));
            let most = most.expect("it is known").as_millis();
            let wrong = most.checked_sub(u128::from(real));
            assert!(
                wrong.is_some_and(|wrong| wrong <= error),
                "{most} of {real}"
            );
        }
        let samples: usize = ages.samples.iter().map(VecDeque::len).sum();
        assert!(samples < 11_400, "{samples} samples");
    }
}
