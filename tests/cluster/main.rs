//! Real core processes: forming, failing over, losing a disk, changing the membership.
//! In: the binary. Out: what its operators' HTTP and its gRPC say. Never: a fixed pause for a result.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod cell;
mod forming;
mod membership;
mod rolling;
mod routes;
mod snapshot;
