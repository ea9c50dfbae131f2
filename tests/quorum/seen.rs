//! What a run has seen: coverage, so that a run in which nothing happened does not count.
//! In: counts by name. Out: their sum over runs, and what is missing. Never: a judgement of the software.

use std::collections::BTreeMap;
use std::fmt;

/// What every thousand runs must have seen, each at least so often as there were runs, but for the rare.
const NEEDED: &[&str] = &[
    "grants",
    "local",
    "leaders",
    "crashes",
    "writes_lost",
    "messages_lost",
    "messages_doubled",
    "updates",
];
const NEEDED_NOW_AND_THEN: &[&str] = &[
    "disks_died",
    "inherited",
    "snapshots_sent",
    "updates_refused",
    "lost_without_tokens",
    "sessions_expired",
    "jeopardy_steps",
    "read_only_steps",
];

/// Of so many runs: few have clocks beyond the bound, and few of those a clash, but then hundreds of steps of it.
const NEEDED_SELDOM: (u64, &[&str]) = (1_000, &["clashes"]);

#[derive(Debug, Default, Clone)]
pub struct Seen(BTreeMap<String, u64>);

impl Seen {
    pub fn add(&mut self, name: &str, count: u64) {
        if count > 0 {
            *self.0.entry(name.to_owned()).or_default() += count;
        }
    }

    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// What [`fmt::Display`] has written.
    pub fn parse(line: &str) -> Self {
        let pairs = line.split_whitespace().filter_map(|word| {
            let (name, count) = word.split_once('=')?;
            Some((name.to_owned(), count.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// All of both.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add(name, *count);
        }
    }

    /// Too little happened in this one run for it to say anything.
    pub fn is_idle(&self) -> bool {
        self.of("grants") < 20 || self.of("leaders") == 0 || self.of("faults") < 3
    }

    /// What these many runs ought to have seen and have not.
    pub fn missing(&self, runs: u64, faults: &[&'static str]) -> Vec<&'static str> {
        let often = NEEDED.iter().filter(|name| self.of(name) < runs);
        let (of_runs, seldom) = NEEDED_SELDOM;
        let seldom = seldom.iter().filter(|_| runs >= of_runs);
        let rare = NEEDED_NOW_AND_THEN.iter().chain(faults).chain(seldom);
        let rare = rare.filter(|name| self.of(name) == 0);
        often.chain(rare).copied().collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.0 {
            write!(f, " {name}={count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_seen_is_missed() {
        let mut seen = Seen::default();
        assert!(seen.is_idle());
        for name in NEEDED.iter().chain(NEEDED_NOW_AND_THEN) {
            seen.add(name, 30);
        }
        assert_eq!(seen.missing(30, &[]), Vec::<&str>::new());
        assert_eq!(Seen::parse(&seen.to_string()).0, seen.0);
        assert_eq!(seen.missing(31, &["ring"]).len(), NEEDED.len() + 1);
        assert!(seen.missing(1_000, &[]).contains(&"clashes"));
    }
}
