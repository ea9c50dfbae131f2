//! What must hold in every state, and what must happen in some, so that the rest was not idle.
//! In: a state. Out: yes or no. Never: a law that a single process could check.

use stateright::Property;

use crate::world::{State, World};

pub const ONE_BELIEVES: &str = "at most one app is told that it holds the lock";
pub const TOKENS_RISE: &str = "each grant has a greater token than all before it";
pub const NO_UPDATE_IS_LOST: &str = "no update of the guarded resource is lost";

pub fn all(world: &World) -> Vec<Property<World>> {
    let mut all = vec![
        Property::always(ONE_BELIEVES, |_, state: &State| {
            state.pods.iter().filter(|pod| pod.believes()).count() <= 1
        }),
        Property::always(TOKENS_RISE, |_, state: &State| !state.resource.went_back),
        Property::always(NO_UPDATE_IS_LOST, |_, state: &State| !state.resource.lost),
        Property::sometimes("a lock that was called back goes on", |_, state: &State| {
            let goes_on = state.core.holder.is_some_and(|holder| holder.pod == 1);
            goes_on && state.core.sessions[0].alive && state.core.sessions[0].seq > 1
        }),
    ];
    if world.renewing == 2 {
        all.push(Property::sometimes(
            "a dead session's lock goes on",
            |_, state: &State| !state.core.sessions[0].alive && state.pods[1].believes(),
        ));
    }
    if world.writes {
        all.push(Property::sometimes(
            "a write of one that lost the lock is refused",
            |_, state: &State| state.resource.refused,
        ));
    }
    if world.take_overs > 0 {
        all.push(Property::sometimes(
            "a claim goes on in another process",
            |_, state: &State| state.pods[0].generation > 0 && state.pods[0].believes(),
        ));
    }
    all
}
