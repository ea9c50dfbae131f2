//! Compiles the protobuf schemas with protox, so that no `protoc` binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["sidelock.proto", "log.proto", "state.proto"], ["src/wire"])?;
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/wire/sidelock.proto");
    println!("cargo:rerun-if-changed=src/wire/log.proto");
    println!("cargo:rerun-if-changed=src/wire/state.proto");
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".sidelock.v1.AppendRequest.entries")
        .bytes(".sidelock.disk.Entry.normal")
        .bytes(".sidelock.v1.SnapshotChunk.data")
        .bytes(".sidelock.v1.CoreFrame.trust_bundle")
        .compile_fds(files)?;
    Ok(())
}
