//! Beyond this machine nobody is served without certificates, unless that was asked for.

use std::process::{Command, Output};

fn core(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args([
            "core",
            "--node-id",
            "1",
            "--peers",
            "1=192.0.2.1:5626",
            "--data-dir",
        ])
        .arg(dir.path().join("data"))
        .args(args)
        .output()
        .expect("it runs")
}

#[test]
fn a_node_does_not_listen_beyond_loopback_without_certificates() {
    for args in [
        ["--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0"],
        ["--grpc", "127.0.0.1:0", "--http", "[::]:0"],
        ["--grpc", "192.0.2.1:0", "--http", "127.0.0.1:0"],
    ] {
        let output = core(&args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(
            said.contains("--insecure-plaintext") && said.contains("sidelock certs"),
            "{said}"
        );
    }
    // Told to, it tries: this address is nobody's.
    let output = core(&[
        "--grpc",
        "192.0.2.1:5626",
        "--http",
        "127.0.0.1:0",
        "--insecure-plaintext",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn half_of_what_tls_needs_is_a_usage_error() {
    for args in [
        vec!["--tls-cert", "a"],
        vec!["--tls-cert", "a", "--tls-key", "b"],
        vec!["--tls-ca", "a"],
        vec!["--rules", "a"],
        vec![
            "--tls-cert",
            "/nowhere",
            "--tls-key",
            "/nowhere",
            "--tls-ca",
            "/nowhere",
        ],
    ] {
        let output = core(&args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
    }
}

#[test]
fn certs_for_a_try_out_are_written_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let certs = || {
        Command::new(env!("CARGO_BIN_EXE_sidelock"))
            .args([
                "certs",
                "--sidecar",
                "spiffe://example.org/ns/shop/sa/till,ops",
                "--out",
            ])
            .arg(dir.path())
            .output()
            .expect("it runs")
    };
    assert!(certs().status.success());
    let mut files: Vec<String> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    let expected = [
        "ca-key.pem",
        "ca.pem",
        "core-key.pem",
        "core.pem",
        "ops-key.pem",
        "ops.pem",
        "till-key.pem",
        "till.pem",
    ];
    assert_eq!(files, expected);
    use std::os::unix::fs::PermissionsExt;
    let key = std::fs::metadata(dir.path().join("core-key.pem")).expect("a file");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let again = certs();
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}
