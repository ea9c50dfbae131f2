//! Real core processes: forming, failing over, losing a disk, changing the membership.
//! In: the binary. Out: what its operators' HTTP and its gRPC say. Never: a fixed pause for a result.

mod cell;
mod forming;
mod membership;
mod rolling;
mod routes;
mod snapshot;
