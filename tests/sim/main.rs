//! Several sidecars and one lock table on virtual time: what each believes never contradicts the others.
//! In: a seed. Out: the first moment at which two incompatible claims could both believe that they hold,
//! or a token that goes back. Real desks, the real table, the real timers and the real wire format; only
//! the network, the clocks and the log are played. `make sim SEEDS=n` runs many.

mod apps;
mod asks;
#[path = "../quorum/laws/belief.rs"]
mod belief;
mod core;
mod healed;
mod judging;
mod network;
mod rules;
mod trace;
mod world;

use rand::Rng;
use sidelock::table::command::EndCause;
use sidelock::table::state::HistoryEvent;

use rules::TTL_MS;
use world::{PODS, STEP_MS, Seen, World};

/// Things that apps do, or that happen to them, in one run.
const ACTIONS: u32 = 600;
const SEEDS: u64 = 40;

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for pod in 0..PODS {
        world.connect(pod);
    }
    for _ in 0..ACTIONS {
        world.act();
        world.check();
        // Mostly much happens at once; now and then so little that leases run out meanwhile.
        let steps = match world.rng.random_range(0..40) {
            0 => world.rng.random_range(0..2 * TTL_MS / STEP_MS / 3),
            _ => world.rng.random_range(0..4),
        };
        for _ in 0..steps {
            world.step();
        }
    }
    world.settle();
    let expired = |event: &HistoryEvent| matches!(event, HistoryEvent::Ended { cause, .. } if *cause == EndCause::SessionExpired);
    let lost = world.table.history().filter(|(_, it)| expired(&it.event));
    world.seen.lost += lost.count() as u64;
    world
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn what_sidecars_believe_never_contradicts_and_everyone_is_served() {
    let (first, seeds) = (number("SIDELOCK_SEED", 0), number("SIDELOCK_SEEDS", SEEDS));
    let mut all = Seen::default();
    for seed in first..first + seeds {
        let world = std::panic::catch_unwind(|| run(seed));
        let world = world.unwrap_or_else(|_| {
            panic!("seed {seed}: run it alone with SIDELOCK_SEED={seed} SIDELOCK_SEEDS=1")
        });
        all.add(&world.seen);
    }
    println!("{seeds} seeds from {first}: {all}");
    // It proves something only if all of this happened.
    let rare = all
        .lost
        .min(all.inherited)
        .min(all.elections)
        .min(all.permits);
    let rare = rare
        .min(all.cuts)
        .min(all.pauses)
        .min(all.stalls)
        .min(all.slow);
    assert!(
        all.local > seeds && all.recalls > seeds && rare >= seeds / 4,
        "{all}"
    );
}

#[test]
fn the_same_seed_gives_the_same_frames() {
    for seed in 0..3 {
        let (once, again) = (run(seed).trace.sum(), run(seed).trace.sum());
        assert!(once.0 > 100, "a run with {} frames", once.0);
        assert_eq!(once, again, "seed {seed}");
    }
    assert_ne!(run(0).trace.sum(), run(1).trace.sum());
}
