//! The whole cell on virtual time: three or five real nodes (openraft, the log, the table, timers, streams)
//! and real sidecars, on a played network, played disks and played clocks, all drawn from a seed. The same
//! seed gives the same bytes. In: a seed. Out: what was seen, or the first thing that must not be.
//! Never: a thread, a socket, a real file but for snapshots, or real time.

mod apps;
#[path = "../sim/asks.rs"]
mod asks;
mod disk;
mod entropy;
mod faults;
#[path = "../chaos/guarded.rs"]
mod guarded;
mod healed;
mod laws;
mod mail;
mod node;
mod pod;
#[path = "../sim/rules.rs"]
mod rules;
pub mod seen;
#[path = "../sim/trace.rs"]
mod trace;
mod wires;
mod world;

use rand::Rng;

use faults::FAULTS;
use seen::Seen;
use world::{STEP_US, World};

/// Faults strike for so long, in microseconds; then all heals.
const STORM_US: u64 = 40_000_000;

/// Apps are busy or calm for so long, on average.
const PHASE_US: u64 = 3_000_000;

/// The names of all faults.
pub fn fault_names() -> Vec<&'static str> {
    FAULTS.iter().map(|(name, _)| *name).collect()
}

/// Plays one seed to its end. Panics with the moment and what is broken. It must be the first that its
/// process plays, in a thread of its own (see [`entropy::seed`]). Gives what it saw, and how many frames there were with a digest of all.
pub fn play(seed: u64) -> (Seen, (u64, u64)) {
    entropy::seed(seed);
    let mut world = World::new(seed);
    world.form();
    let end = world.now_us + STORM_US;
    let mut calm = false;
    while world.now_us < end {
        if world.dice.random_range(0..PHASE_US / STEP_US) == 0 {
            calm = world.dice.random_bool(0.5);
        }
        // Mostly much happens; now and then so little that leases run out meanwhile.
        let acts = match calm {
            true => u32::from(world.dice.random_range(0..30) == 0),
            false => world.dice.random_range(0..3),
        };
        for _ in 0..acts {
            world.act();
        }
        // Every 1.5 s or so.
        if world.dice.random_range(0..1_500_000 / STEP_US) == 0 {
            world.strike();
        }
        world.mend();
        world.step();
    }
    world.settle();
    (world.seen(), world.trace.sum())
}
