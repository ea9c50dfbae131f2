//! The wire and the leader's side of a shard: conversions, timers, and sidecars' streams over real gRPC.

mod client;
mod convert;
mod expiry;
mod sessions;
