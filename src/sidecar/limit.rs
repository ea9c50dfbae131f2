//! PURE: how many claims may be under way to the core at a time: as many as it answers without delay.
//! In: how long answers took. Out: a bound that grows by addition and shrinks by a factor (AIMD: Chiu and
//! Jain, 1989). Never: less than a few apps need, or a judgement by answers that an outage has delayed.

use std::time::Duration;

use crate::world::clock::Instant;

/// Never fewer: that many are one small frame.
pub const LEAST: usize = 64;
/// Never more: a bound on memory.
pub const MOST: usize = 100_000;
/// To begin with: half a second of what a small cell does.
const FIRST: usize = 4_096;
/// Answers that take longer than this wait in line behind each other: a commit between regions takes less.
const SLOW: Duration = Duration::from_millis(250);
/// What is left of the bound after slow answers, in percent.
const SHRINK_PERCENT: usize = 90;
/// How much the bound grows while as many claims as it allows are answered.
const GROWTH: f64 = 16.0;

/// The bound in force.
#[derive(Debug)]
pub struct Limit {
    bound: f64,
    shrunk: Option<Instant>,
    /// Moving average over some ten answers.
    delay: Duration,
    /// What was sent before has been through an outage.
    calm_since: Option<Instant>,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            bound: FIRST as f64,
            shrunk: None,
            delay: Duration::ZERO,
            calm_since: None,
        }
    }
}

impl Limit {
    /// How many may be under way.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "kept between LEAST and MOST"
    )]
    pub fn get(&self) -> usize {
        self.bound as usize
    }

    /// How long answers take at present.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// An outage is over: what was asked before it was delayed by that.
    pub fn calm(&mut self, now: Instant) {
        self.calm_since = Some(now);
    }

    /// A claim asked for at `since` was answered, with so many under way.
    pub fn answered(&mut self, now: Instant, since: Instant, under_way: usize) {
        if self.calm_since.is_some_and(|calm| since < calm) {
            return;
        }
        let took = now.since(since);
        self.delay = (self.delay * 9 + took) / 10;
        if took > SLOW {
            self.shrink(now, took);
        } else if under_way * 2 >= self.get() {
            self.bound = (self.bound + GROWTH / self.bound).min(MOST as f64);
        }
    }

    /// Once for all answers that were asked for under the same bound.
    fn shrink(&mut self, now: Instant, took: Duration) {
        if self.shrunk.is_some_and(|at| now < at + took) {
            return;
        }
        let left = self.get().saturating_mul(SHRINK_PERCENT) / 100;
        self.bound = left.max(LEAST) as f64;
        self.shrunk = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_boot(Duration::from_millis(ms))
    }

    /// A core that answers `per_s` claims in a second, in order, and apps that always have more.
    fn settles_at(limit: &mut Limit, per_s: u64, from_ms: u64) -> usize {
        let mut asked = std::collections::VecDeque::new();
        let mut now_us = from_ms * 1_000;
        for _ in 0..per_s * 60 {
            let now = Instant::from_boot(Duration::from_micros(now_us));
            while asked.len() < limit.get() {
                asked.push_back(now);
            }
            now_us += 1_000_000 / per_s;
            let now = Instant::from_boot(Duration::from_micros(now_us));
            let since = asked.pop_front().expect("it was filled");
            limit.answered(now, since, asked.len() + 1);
        }
        limit.get()
    }

    #[test]
    fn it_finds_what_a_core_answers_within_the_delay() {
        let mut limit = Limit::default();
        // What a quarter of a second holds, give or take the steps.
        let fast = settles_at(&mut limit, 8_000, 0);
        assert!((1_400..2_600).contains(&fast), "{fast}");
        let slow = settles_at(&mut limit, 800, 100_000);
        assert!((140..300).contains(&slow), "{slow}");
        let fast = settles_at(&mut limit, 8_000, 200_000);
        assert!((1_400..2_600).contains(&fast), "{fast}");
    }

    #[test]
    fn it_stays_where_nobody_asks_for_more() {
        let mut limit = Limit::default();
        let before = limit.get();
        for ms in 0..10_000 {
            limit.answered(at(ms + 2), at(ms), 3);
        }
        assert_eq!(limit.get(), before);
    }

    #[test]
    fn an_outage_is_no_sign_of_overload() {
        let mut limit = Limit::default();
        let before = limit.get();
        limit.calm(at(3_000));
        for ms in 0..1_000 {
            limit.answered(at(3_000 + ms), at(10), before);
        }
        assert_eq!(limit.get(), before);
    }
}
