//! Options: flag over environment over file, and what is refused.

use std::process::Output;

use crate::played::sidelock;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn definition_is_sound_and_no_flag_ends_in_port() {
    let command = sidelock::cli::command();
    command.clone().debug_assert();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        for argument in command.get_arguments() {
            for name in argument.get_long_and_visible_aliases().unwrap_or_default() {
                assert!(!name.ends_with("port"), "Kubernetes would set --{name}");
            }
        }
        left.extend(command.get_subcommands().cloned());
    }
}

#[test]
fn flag_beats_environment_beats_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("run.yaml");
    // Nothing listens on these ports of 127.0.0.0/8; the message names the one that was tried.
    std::fs::write(&file, "url: http://127.0.0.3:1\n").expect("a file");
    let tried = |environment: Option<&str>, flag: Option<&str>| {
        let mut command = sidelock();
        command.arg("run").arg("--config").arg(&file);
        if let Some(url) = environment {
            command.env("SIDELOCK_URL", url);
        }
        if let Some(url) = flag {
            command.args(["--url", url]);
        }
        let output = command.args(["x", "true"]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(69), "{}", text(&output));
        text(&output)
    };
    assert!(tried(None, None).contains("127.0.0.3"));
    assert!(tried(Some("http://127.0.0.4:1"), None).contains("127.0.0.4"));
    let flag = tried(Some("http://127.0.0.4:1"), Some("http://127.0.0.5:1"));
    assert!(flag.contains("127.0.0.5"), "{flag}");
}

#[test]
fn a_file_supplies_required_options_lists_and_switches() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("core.yaml");
    let refused = |text_of_file: &str| {
        std::fs::write(&file, text_of_file).expect("a file");
        let output = sidelock()
            .arg("core")
            .arg("--config")
            .arg(&file)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{}", text(&output));
        text(&output)
    };
    // The checks of the flags are those of the file.
    assert!(refused("node-id: 0\ndata-dir: d\n").contains("1 to 65535"));
    assert!(refused("node_id: 1\ndata-dir: d\npeers: [1=a:1, 2=b]\n").contains("NUMBER=HOST:PORT"));
    let unknown = refused("node-id: 1\nnode: 2\n");
    assert!(
        unknown.contains("`node`") && unknown.contains("data-dir"),
        "{unknown}"
    );
    assert!(refused("node-id: {a: 1}\n").contains("node-id"));
    assert!(refused("- 1\n").contains("core.yaml"));
    assert!(refused("# nothing\n").contains("--data-dir"));
}

#[test]
fn wrong_usage_exits_with_64_and_help_with_0() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["run"],
        &["run", "x"],
        &["run", "-w", "-1", "x", "true"],
        &["run", "-n", "-w", "1", "x", "true"],
        &["run", "-p", "3/2", "x", "true"],
        &["run", "-p", "1/2", "-s", "x", "true"],
        &["run", "--ttl", "499ms", "x", "true"],
        &["run", "--url", "ftp://x", "x", "true"],
        &["sidecar"],
        &["sidecar", "--core", "nowhere"],
        &["dev", "--http", "5625"],
        &["cluster", "add", "one"],
    ] {
        let output = sidelock().args(arguments).output().expect("it runs");
        assert_eq!(
            output.status.code(),
            Some(64),
            "{arguments:?}: {}",
            text(&output)
        );
    }
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["--version"],
        &["version"],
    ] {
        let output = sidelock().args(arguments).output().expect("it runs");
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            text(&output)
        );
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn completion_names_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = sidelock()
            .args(["completion", shell])
            .output()
            .expect("it runs");
        let script = String::from_utf8_lossy(&output.stdout);
        for name in [
            "dev", "core", "sidecar", "run", "locks", "claims", "cluster",
        ] {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
}
