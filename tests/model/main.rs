//! Random schedules against a slow, obvious model of the table, with every law after every step.
//! `SIDELOCK_SCHEDULES` says how many (2,000 unless told; CI runs 10,000), `SIDELOCK_SEED` where to start.
//! A failure prints its seed and the shortest schedule found that still fails.

mod deadlock;
mod heard;
mod order;
mod regress;
mod run;
mod schedule;
mod slow;
mod witness;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sidelock::table::Command;

use run::{Seen, run};
use schedule::{Profile, schedule, shrink};

const SCHEDULES: u64 = 2_000;

/// Outcomes that the schedules must bring about, else they prove less than they claim.
const OUTCOMES: &[&str] = &[
    "session opened",
    "renewed",
    "renewed: unknown",
    "renewed: superseded",
    "expired",
    "not expired",
    "session ended",
    "closed",
    "forgotten",
    "gap",
    "unknown session",
    "superseded",
    "granted at once",
    "granted after a wait",
    "queued",
    "ended",
    "value set",
    "value not set",
    "refused: held",
    "refused: lock-delay",
    "refused: deadlock",
    "another was the victim",
    "refused: semaphore-limit",
    "refused: queue full",
    "refused: invalid",
    "closed for a delay",
    "reopened",
    "not reopened",
    "broken: not held",
    "broken: freed",
    "broken: asked",
    "asked to let go",
    "broken by force",
    "promoted",
    "history trimmed",
    "orders inverted",
];

#[test]
fn the_table_does_what_the_slow_model_does() {
    let (first, count) = (
        number("SIDELOCK_SEED", 0),
        number("SIDELOCK_SCHEDULES", SCHEDULES),
    );
    let mut seen = Seen::new();
    for seed in first..first + count {
        let (profile, steps) = schedule(seed);
        match catch_unwind(|| run(&profile, &steps, None)) {
            Ok(saw) => {
                for (what, times) in saw {
                    *seen.entry(what).or_default() += times;
                }
            }
            Err(_) => fail(seed, &profile, steps),
        }
    }
    println!("{count} schedules: {seen:#?}");
    if count >= SCHEDULES {
        for outcome in OUTCOMES {
            assert!(seen.contains_key(outcome), "no schedule led to: {outcome}");
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
        Err(_) => default,
    }
}

/// Shrinks a failing schedule, tells it, and fails for the same reason.
fn fail(seed: u64, profile: &Profile, steps: Vec<u64>) {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let short = shrink(steps, |steps| {
        catch_unwind(|| run(profile, steps, None)).is_err()
    });
    let mut trace: Vec<Command> = Vec::new();
    let failure = catch_unwind(AssertUnwindSafe(|| run(profile, &short, Some(&mut trace))));
    std::panic::set_hook(loud);
    println!(
        "seed {seed} fails; {} of its commands are enough:",
        trace.len()
    );
    for command in &trace {
        println!("  {command:?}");
    }
    if let Err(why) = failure {
        let text = why.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or(why.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a text");
        panic!("seed {seed}: {text}");
    }
    panic!("seed {seed} failed, and does not when run again: something is not deterministic");
}
