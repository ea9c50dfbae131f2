//! The whole cell on virtual time: three or five real nodes (openraft, the log, the table, timers, streams)
//! and real sidecars, on a played network, played disks and played clocks, all drawn from a seed. The same
//! seed gives the same bytes. In: a seed. Out: what was seen, or the first thing that must not be.
//! Never: a thread, a socket, a real file but for snapshots, or real time.

mod apps;
mod disk;
pub mod entropy;
mod faults;
#[path = "../chaos/guarded.rs"]
mod guarded;
mod healed;
pub mod laws;
mod mail;
mod node;
mod pod;
pub mod seen;
#[path = "../sim/trace.rs"]
mod trace;
mod wires;
mod world;

use rand::Rng;

pub use faults::FAULTS;
use seen::Seen;
use world::{STEP_US, World};

/// Faults strike for so long, in microseconds; then all heals.
const STORM_US: u64 = 40_000_000;

/// The names of all faults.
pub fn fault_names() -> Vec<&'static str> {
    FAULTS.iter().map(|(name, _)| *name).collect()
}

/// Plays one seed to its end. Panics with the moment and what is broken. It must run in a thread of its
/// own (see [`entropy::seed`]): what it saw, and how many frames there were with a digest of all.
pub fn play(seed: u64) -> (Seen, (u64, u64)) {
    entropy::seed(seed);
    let mut world = World::new(seed);
    world.form();
    let end = world.now_us + STORM_US;
    while world.now_us < end {
        for _ in 0..world.dice.random_range(0..3) {
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

/// As [`play`], in a thread of its own.
///
/// # Errors
/// What is broken.
pub fn play_apart(seed: u64) -> Result<(Seen, (u64, u64)), String> {
    let thread = std::thread::spawn(move || play(seed));
    thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    })
}
