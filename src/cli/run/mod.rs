//! `sidelock run NAME -- CMD`: hold a lock around a command, as flock(1) and `consul lock` do.
//!
//! Reading order: `args` says what can be asked; `acquire` gets the lock; `hold` starts the command,
//! keeps the lock and ends both; `lease` (pure) says when to renew and when to stop; `child` is the
//! command's process group; `signals` hears what is to be forwarded.

mod acquire;
mod args;
mod child;
mod hold;
mod lease;
mod signals;

pub use args::Args;
pub use hold::run;
