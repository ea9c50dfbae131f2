//! Claims of all modes, as apps of both simulations ask for them.
//! In: the dice. Out: what a claim asks for. Never: an id or a sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use sidelock::sidecar::handle::ClaimAsk;
use sidelock::table::command::{Mode, Want};
use sidelock::table::id::{LockName, OwnerId};

const LOCKS: [&str; 4] = ["a", "b", "c", "pool"];
/// Of these locks, one is a semaphore: mostly with the first of these limits.
const POOL: &str = "pool";
const LIMITS: [u32; 2] = [3, 5];

fn want(dice: &mut StdRng, name: &str) -> Want {
    Want {
        name: LockName::parse(name).expect("a name"),
        mode: match dice.random_range(0..20) {
            1.. if name == POOL => Mode::Semaphore {
                permits: dice.random_range(1..3),
                limit: LIMITS[usize::from(dice.random_range(0..8) == 0)],
            },
            ..12 => Mode::Exclusive,
            12.. => Mode::Shared,
        },
    }
}

/// One lock or two, waiting or not.
pub fn ask(dice: &mut StdRng) -> ClaimAsk {
    let first = dice.random_range(0..LOCKS.len());
    let mut locks = vec![want(dice, LOCKS[first])];
    if dice.random_range(0..10) == 0 {
        locks.push(want(dice, LOCKS[(first + 1) % LOCKS.len()]));
    }
    let owner = (dice.random_range(0..5) == 0).then(|| {
        let which = dice.random_range(0..2);
        OwnerId::parse(&format!("o{which}")).expect("an owner")
    });
    let wait = [0, 0, 300, 4_000][dice.random_range(0..4)];
    ClaimAsk {
        locks,
        ttl: Duration::from_secs(600),
        wait: Duration::from_millis(wait),
        queue: dice.random_range(0..5) == 0,
        owner,
        metadata: BTreeMap::new(),
        value: (dice.random_range(0..20) == 0).then(|| Arc::from("v")),
        priority: dice.random_range(0..3),
        min_hold: Duration::ZERO,
    }
}
