//! Seeds of the whole cell. `make sim` runs many: SIDELOCK_SEED is the first, SIDELOCK_SEEDS how many.

use sidelock_quorum::seen::Seen;
use sidelock_quorum::{fault_names, play_apart};

const SEEDS: u64 = 12;
/// From so many runs on, each fault and each consequence must have been seen.
const RUNS_TO_SEE_ALL: u64 = 100;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn a_cell_under_faults_keeps_every_promise() {
    let (first, seeds) = (number("SIDELOCK_SEED", 0), number("SIDELOCK_SEEDS", SEEDS));
    let mut all = Seen::default();
    let mut idle = 0;
    for seed in first..first + seeds {
        let (seen, _) = play_apart(seed).unwrap_or_else(|broken| {
            panic!("seed {seed}: {broken}\nrun it alone with SIDELOCK_SEED={seed} SIDELOCK_SEEDS=1")
        });
        idle += u64::from(seen.is_idle());
        all.merge(&seen);
    }
    println!("{seeds} seeds from {first}:{all} idle={idle}");
    assert!(
        idle <= seeds / 10 + 1,
        "{idle} of {seeds} runs saw too little"
    );
    if seeds >= RUNS_TO_SEE_ALL {
        let missing = all.missing(seeds - idle, &fault_names());
        assert!(
            missing.is_empty(),
            "never, or hardly ever, seen: {missing:?}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [2, 3] {
        let (_, once) = play_apart(seed).expect("nothing is broken");
        let (_, again) = play_apart(seed).expect("nothing is broken");
        assert!(once.0 > 1_000, "a run with {} frames", once.0);
        assert_eq!(once, again, "seed {seed}");
    }
}
