//! Sidecars as real processes, as they stand beside apps: stopping, restarting, cut off, paused.

#[path = "../cluster/cell.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod cell;

mod cached;
mod cuts;
mod drain;
mod members;
mod net;
mod pod;
mod restart;
