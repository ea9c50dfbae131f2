//! A model of leases, delegation, recall, take-over and fencing with a clock at each end, checked in every
//! state it can reach within its bounds. docs/model.md tells what that proves and what it assumes.
//! In: a configuration. Out: a law that breaks, with the shortest way there; the number of states.
//! Never: code of Sidelock, which the other tests judge; this judges the rules it follows.

mod core;
mod laws;
mod pod;
mod resource;
mod world;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use world::{Mistake, World};

/// Checks everything there is to reach, or until there is something of one of these names.
fn explore(world: World, until: &[&'static str]) -> impl Checker<World> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let until = match until {
        [] => HasDiscoveries::All,
        names => HasDiscoveries::AllOf(BTreeSet::from_iter(names.iter().copied())),
    };
    let builder = world.checker().threads(threads).finish_when(until);
    builder.spawn_bfs().join()
}

/// Every law holds in every state, and what makes that worth something happens in some.
fn holds(world: World) {
    let name = world.name;
    let checked = explore(world, &[]);
    println!(
        "{name}: {} states, {} steps deep",
        checked.unique_state_count(),
        checked.max_depth()
    );
    checked.assert_properties();
}

/// A mistake breaks a law; a model in which none did would prove nothing.
fn breaks(world: World, mistake: Mistake, law: &'static str) {
    let world = World {
        mistake: Some(mistake),
        ..world
    };
    let broken = explore(world, &[law]).discovery(law);
    assert!(broken.is_some(), "{mistake:?} should break: {law}");
}

#[test]
fn by_the_rules_every_law_holds() {
    holds(World::of_the_rules());
}

#[test]
fn with_a_process_that_takes_over_every_law_holds() {
    holds(World::with_a_take_over());
}

#[test]
#[ignore = "slow: half a minute of two cores"]
fn slow_with_an_election_every_law_holds() {
    holds(World::with_an_election());
}

#[test]
#[ignore = "slow: a minute of two cores"]
fn slow_for_longer_every_law_holds() {
    holds(World {
        name: "for longer",
        horizon: 4,
        ..World::of_the_rules()
    });
}

#[test]
fn beyond_the_bound_on_rates_two_may_believe_but_no_update_is_lost() {
    let checked = explore(World::of_any_rate(), &[]);
    assert!(
        checked.discovery(laws::ONE_BELIEVES).is_some(),
        "the bound on rates would be needless"
    );
    assert!(checked.discovery(laws::NO_UPDATE_IS_LOST).is_none());
}

#[test]
fn without_tokens_at_the_resource_updates_are_lost() {
    let world = World {
        fenced: false,
        ..World::of_any_rate()
    };
    let lost = explore(world, &[laws::NO_UPDATE_IS_LOST]).discovery(laws::NO_UPDATE_IS_LOST);
    assert!(lost.is_some(), "the tokens would be needless");
}

#[test]
fn a_deadline_from_the_receipt_of_an_acknowledgement_breaks_exclusion() {
    breaks(
        World::of_the_rules(),
        Mistake::DeadlineFromReceipt,
        laws::ONE_BELIEVES,
    );
}

#[test]
fn a_deadline_without_a_margin_breaks_exclusion() {
    breaks(World::of_the_rules(), Mistake::NoMargin, laws::ONE_BELIEVES);
}

#[test]
fn an_expiry_that_does_not_compare_breaks_exclusion() {
    breaks(
        World::of_the_rules(),
        Mistake::ExpiryDoesNotCompare,
        laws::ONE_BELIEVES,
    );
}

#[test]
fn a_new_leader_that_goes_on_with_old_timers_breaks_exclusion() {
    breaks(
        World::with_an_election(),
        Mistake::LeaderKeepsOldTimers,
        laws::ONE_BELIEVES,
    );
}

#[test]
fn a_return_that_forgets_who_holds_breaks_exclusion() {
    breaks(
        World::of_the_rules(),
        Mistake::ReturnForgetsHolder,
        laws::ONE_BELIEVES,
    );
}

#[test]
fn a_frame_of_a_process_that_is_gone_breaks_exclusion() {
    let world = World::with_a_take_over();
    breaks(world, Mistake::OldGenerationCounts, laws::ONE_BELIEVES);
}

#[test]
fn a_block_of_tokens_begun_again_makes_them_go_back() {
    let world = World::with_a_take_over();
    breaks(world, Mistake::BlockBegunAgain, laws::TOKENS_RISE);
}
