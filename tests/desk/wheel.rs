//! The timer wheel: against an obvious model, and with a million timers.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sidelock::sidecar::timers::Wheel;
use sidelock::world::clock::Instant;

use crate::bench::{Bench, ask};

fn at(ms: u64) -> Instant {
    Instant::from_boot(Duration::from_millis(ms))
}

#[test]
fn behaves_like_a_sorted_map() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut now = rng.random_range(0..1 << 40);
        let mut wheel = Wheel::new(at(now));
        let mut model = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for name in 0..500_u64 {
            match rng.random_range(0..10) {
                0..6 => {
                    let span = 1_u64 << rng.random_range(0..38);
                    let due = now + rng.random_range(0..span);
                    ids.insert(name, wheel.set(at(due), name));
                    model.insert((due, name), ());
                }
                6..8 => {
                    let Some((victim, id)) = ids.pop_first() else {
                        continue;
                    };
                    let known = model.keys().find(|(_, name)| *name == victim).copied();
                    assert_eq!(wheel.cancel(id).is_some(), known.is_some());
                    known.and_then(|key| model.remove(&key));
                }
                _advance => {
                    let next = wheel.next();
                    if let Some(((first, _), ())) = model.first_key_value() {
                        assert!(next.is_some_and(|next| next <= at(*first)), "seed {seed}");
                    }
                    let span = 1_u64 << rng.random_range(0..38);
                    now += rng.random_range(0..span);
                    let mut fired = Vec::new();
                    while let Some(name) = wheel.pop(at(now)) {
                        fired.push(name);
                    }
                    let later = model.split_off(&(now + 1, 0));
                    let mut due: Vec<u64> = model.into_keys().map(|(_, name)| name).collect();
                    model = later;
                    due.sort_unstable();
                    fired.sort_unstable();
                    assert_eq!(fired, due, "seed {seed}");
                }
            }
            assert_eq!(wheel.len(), model.len());
        }
    }
}

#[test]
fn never_fires_early_within_a_tick() {
    let mut wheel = Wheel::new(at(10));
    let due = Instant::from_boot(Duration::from_micros(20_500));
    wheel.set(due, ());
    assert_eq!(wheel.pop(at(20)), None);
    assert_eq!(wheel.pop(at(21)), Some(()));
}

#[test]
fn a_stale_name_cancels_nothing() {
    let mut wheel = Wheel::new(at(0));
    let first = wheel.set(at(5), 1);
    assert_eq!(wheel.cancel(first), Some(1));
    let second = wheel.set(at(5), 2);
    assert_eq!(wheel.cancel(first), None);
    assert_eq!(wheel.cancel(second), Some(2));
    assert!(wheel.is_empty());
}

#[test]
fn a_timer_beyond_the_horizon_still_fires_on_time() {
    let mut wheel = Wheel::new(at(123_456_789));
    let due = 123_456_789 + 5 * (1_u64 << 36) + 17;
    wheel.set(at(due), ());
    assert_eq!(wheel.pop(at(due - 1)), None);
    assert_eq!(wheel.pop(at(due)), Some(()));
}

/// A million live claims, renewed at random, then each once more and left to expire: every one is held until its
/// time and none a tick longer.
#[test]
fn a_million_live_claims() {
    const CLAIMS: u64 = 1_000_000;
    const BATCH: u64 = 4_000;
    let mut bench = Bench::open();
    for batch in 0..CLAIMS / BATCH {
        for n in 0..BATCH {
            let name = format!("c{}", batch * BATCH + n);
            let mut wanted = ask("a");
            wanted.ttl = Duration::from_millis(86_400_000);
            bench.claim_later(&name, wanted);
        }
        bench.send();
        for (seq, _) in std::mem::take(&mut bench.operations) {
            bench.revision += 1;
            let claim = sidelock::table::id::ClaimRef {
                session: bench.session,
                seq,
            };
            let grant = sidelock::table::command::Grant {
                claim,
                revision: sidelock::table::id::Revision(bench.revision),
                tokens: vec![crate::bench::token(seq.0)],
            };
            bench.reply(
                seq,
                sidelock::table::command::OperationReply::Granted(grant),
            );
        }
        bench.answers.clear();
    }
    assert_eq!(bench.desk.live(), CLAIMS);
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..CLAIMS / 5 {
        let name = format!("c{}", rng.random_range(0..CLAIMS));
        let claim = crate::bench::id(&name);
        let ttl = Duration::from_millis(rng.random_range(5_000..3_600_000));
        bench.step(|desk, now| desk.renew(now, &claim, Some(ttl), None));
    }
    assert_eq!(bench.desk.live(), CLAIMS);
    for n in 0..CLAIMS {
        let claim = crate::bench::id(&format!("c{n}"));
        let ttl = Duration::from_millis(5_000 + n % 4_000);
        bench.step(|desk, now| desk.renew(now, &claim, Some(ttl), None));
    }
    bench.pass(4_999);
    assert_eq!(bench.desk.live(), CLAIMS);
    bench.pass(2_000);
    assert_eq!(bench.desk.live(), CLAIMS / 2);
    bench.pass(2_000);
    assert_eq!(bench.desk.live(), 0);
}
