//! The sidecar: claims of the local apps, one session with the core, and what may be promised when.

pub mod claim_state;
pub mod handle;

pub mod calls;
pub mod drain;
pub mod driver;
mod seen;

pub mod desk;

pub mod asking;
pub mod ending;
pub mod fate;
pub mod firing;
pub mod granting;
pub mod hearing;
pub mod knowing;
pub mod lending;
pub mod reading;
pub mod returning;
pub mod sending;
pub mod tending;

pub mod keeping;

pub mod graves;
pub mod habit;
pub mod hold;
pub mod lease;
pub mod limit;
pub mod memory;
pub mod mode;
pub mod outbox;
pub mod reads;
pub mod report;
pub mod retry;
pub mod saved;
pub mod session;
pub mod sight;
pub mod spot;
pub mod timers;
pub mod turns;
pub mod view;

pub mod saved_codec;
pub mod state_dir;

pub mod codec;
pub mod frame;
pub mod link;
pub mod nodes;
