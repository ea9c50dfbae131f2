//! The pure lock table: `apply(state, index, command) -> (reply, effects)` and nothing else.
//! No clock, no I/O, no randomness, no hash map; it depends on nothing else of ours.

pub mod command;
pub mod id;
pub mod state;

mod apply;
pub mod session;

mod breaking;
mod claim;
mod refusal;

mod deadlock;
mod few;
pub mod holders;
pub mod queue;

pub mod delegation;
pub mod history;
pub mod order;
pub mod policy;
mod returned;
pub mod token;
mod trial;
pub mod verify;

pub mod attachment;
pub mod contention;
pub mod stored;
pub mod survey;
pub mod view;

pub mod laws;

pub use command::{Command, Effect, Reply};
pub use state::Table;
