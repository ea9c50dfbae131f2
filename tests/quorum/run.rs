//! Seeds of the whole cell, each in a process of its own, on all processors: only so a seed that fails among
//! many fails alone too. `make sim` runs many: SIDELOCK_SEED is the first, SIDELOCK_SEEDS how many.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sidelock::world::clock::{BootClock, Clock};
use sidelock_quorum::seen::Seen;
use sidelock_quorum::{fault_names, play};

const SEEDS: u64 = 24;
/// From so many runs on, each fault and each consequence must have been seen.
const RUNS_TO_SEE_ALL: u64 = 200;
const PROGRESS_EVERY: u64 = 250;
/// Begins the line that says what a seed has seen.
const LINE: &str = "seen:";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What each process does.
#[test]
fn one_seed() {
    let seed = number("SIDELOCK_SEED", 0);
    let played = std::thread::spawn(move || play(seed)).join();
    let (seen, (frames, digest)) = played.expect("every promise is kept");
    assert!(frames > 1_000, "a run with {frames} frames");
    println!("\n{LINE}{seen} frames={frames} digest:{digest:x}");
}

/// One seed, alone in its process: the line it ends with, or all it said.
fn alone(seed: u64) -> Result<String, String> {
    let this = std::env::current_exe().expect("this program has a path");
    let output = Command::new(this)
        .args(["--exact", "one_seed", "--nocapture"])
        .env("SIDELOCK_SEED", seed.to_string())
        .output()
        .expect("this program can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix(LINE));
    match line {
        Some(line) if output.status.success() => Ok(line.to_owned()),
        Some(_) | None => Err(said + &String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn a_cell_under_faults_keeps_every_promise() {
    let (first, seeds) = (number("SIDELOCK_SEED", 0), number("SIDELOCK_SEEDS", SEEDS));
    let next = AtomicU64::new(first);
    let all = Mutex::new((Seen::default(), 0));
    let failed = Mutex::new(None);
    let started = BootClock.now();
    let work = || {
        while failed.lock().expect("no panic").is_none()
            && let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < first + seeds
        {
            match alone(seed) {
                Ok(line) => {
                    let seen = Seen::parse(&line);
                    let mut all = all.lock().expect("no panic");
                    all.1 += u64::from(seen.is_idle());
                    all.0.merge(&seen);
                    let done = all.0.of("runs");
                    if done.is_multiple_of(PROGRESS_EVERY) {
                        let minutes = BootClock.now().since(started).as_secs_f64() / 60.0;
                        println!(
                            "{done} of {seeds} seeds, {:.0} a minute",
                            done as f64 / minutes
                        );
                    }
                }
                Err(said) => *failed.lock().expect("no panic") = Some((seed, said)),
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(work);
        }
    });
    if let Some((seed, said)) = failed.into_inner().expect("no panic") {
        panic!(
            "seed {seed}: {said}\nreplay: SIDELOCK_SEED={seed} cargo test -p sidelock-quorum one_seed"
        );
    }
    let (seen, idle) = all.into_inner().expect("no panic");
    println!("{seeds} seeds from {first}:{seen} idle={idle}");
    assert!(idle <= seeds / 10, "{idle} of {seeds} runs saw too little");
    if seeds >= RUNS_TO_SEE_ALL {
        let missing = seen.missing(seeds - idle, &fault_names());
        assert!(missing.is_empty(), "hardly ever seen: {missing:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [1, 2, 7] {
        let (once, again) = (alone(seed), alone(seed));
        assert!(once.is_ok(), "{once:?}");
        assert_eq!(once, again, "seed {seed}");
    }
    assert_ne!(alone(1), alone(2));
}
