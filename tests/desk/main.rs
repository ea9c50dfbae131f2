//! The sidecar's desk under a virtual clock: one test per sentence of design 5 (rules 1, 4, 5), of the
//! claim ids in design 7, and of what the sidecar does when the core is gone.

mod bench;
mod core_gone;
mod delegations;
mod ids;
mod leases;
mod sessions;
mod waits;
mod wheel;
