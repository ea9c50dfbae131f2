//! What goes between processes and onto the disk: protobuf, and its conversions to the table's types.

pub mod convert;

/// Most bytes of one frame between sidecar and core. Only `Attached` of a session with many claims comes
/// near: some 80 bytes for each, so this is room for three million.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

/// Between processes, generated from `sidelock.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("sidelock.v1");
}

/// On disk, generated from `log.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod disk {
    tonic::include_proto!("sidelock.disk");
}

/// In a sidecar's state directory, generated from `state.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod state {
    tonic::include_proto!("sidelock.state");
}
