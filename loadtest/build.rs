//! Compiles the few messages of etcd that are spoken here, with protox: no `protoc` binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/etcd.proto");
    println!("cargo:rerun-if-changed=proto/lock.proto");
    let files = protox::compile(["etcd.proto", "lock.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(files)?;
    Ok(())
}
