//! How sidecars of both simulations are set up.
//! In: which one, and how many nodes there are. Out: the desk's rules. Never: a clock.

use std::sync::Arc;
use std::time::Duration;

use sidelock::sidecar::desk::Rules;
use sidelock::sidecar::lease::Caution;

pub const TTL_MS: u64 = 3_000;
/// How far sidecars trust the rates of clocks.
const RHO_PPM: u32 = 100_000;

pub fn rules(pod: usize, nodes: usize, seed: [u8; 32]) -> Rules {
    Rules {
        nodes,
        session_ttl: Duration::from_millis(TTL_MS),
        identity: Arc::from(format!("pod-{pod}")),
        caution: Caution {
            rho_ppm: RHO_PPM,
            margin: Duration::from_millis(20),
        },
        no_quorum_after: Duration::from_millis(1_000),
        prefix: Arc::from(""),
        delegate: true,
        records: true,
        seed,
    }
}
