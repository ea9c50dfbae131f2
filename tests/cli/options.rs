//! Options: flag over environment over file, and what is refused.

use std::process::Output;

use crate::played::sidelock;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Where somebody gives this answer, once.
fn played(head: &'static str, body: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        assert_ne!(stream.read(&mut [0; 4096]).expect("a request"), 0);
        let rest = format!("connection: close\r\ncontent-length: {}", body.len());
        write!(stream, "HTTP/1.1 {head}\r\n{rest}\r\n\r\n{body}").expect("it reads");
        // Open until the other side closes.
        stream.read_to_end(&mut Vec::new()).ok();
    });
    url
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
fn peers_differ_in_place_and_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    for (peers, word) in [
        ("1=a:1,1=b:1", "node 1 is named twice"),
        ("1=a:1,2=a:1", "nodes 1 and 2 have the same address"),
    ] {
        let mut command = sidelock();
        let command = command.args(["core", "--node-id", "1", "--peers", peers]);
        let output = command.arg("--data-dir").arg(&data).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{}", text(&output));
        assert!(text(&output).contains(word), "{}", text(&output));
        assert!(!data.exists(), "nothing was opened");
    }
}

#[test]
fn the_file_of_the_environment_is_that_of_a_server_and_of_the_tools_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("sidecar.yaml");
    let run = |text_of_file: &str, flag: bool| {
        std::fs::write(&file, text_of_file).expect("a file");
        let mut command = sidelock();
        match flag {
            true => command.arg("--config").arg(&file),
            false => command.env("SIDELOCK_CONFIG", &file),
        };
        let command = command.args(["run", "x", "true"]);
        let output = command.output().expect("it runs");
        (output.status.code(), text(&output))
    };
    // `run` takes the url, which is its own, and lets the rest be.
    let (code, said) = run("core: [a:1]\nurl: http://127.0.0.3:1\n", false);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("127.0.0.3"), "{said}");
    let (code, said) = run("core: [a:1]\n", true);
    assert_eq!(
        code,
        Some(64),
        "given by a flag it is this command's: {said}"
    );
    let (code, said) = run("cores: [a:1]\n", false);
    assert_eq!(code, Some(64), "a key of no command: {said}");
    assert!(said.contains("`cores`"), "{said}");
}

#[test]
fn a_switch_of_the_environment_is_a_yes_or_a_no() {
    let directory = tempfile::tempdir().expect("a directory");
    let started = |switch: &str| {
        let output = sidelock()
            .args(["core", "--node-id", "1", "--data-dir"])
            .arg(directory.path().join("data"))
            .args(["--tls-cert", "none.pem", "--tls-key", "none.pem"])
            .args(["--tls-ca", "none.pem"])
            .env("SIDELOCK_INSECURE_PLAINTEXT", switch)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{}", text(&output));
        text(&output)
    };
    for switch in ["false", "0", "no", "true", "1", "yes"] {
        assert!(started(switch).contains("none.pem"), "{switch}");
    }
    assert!(started("perhaps").contains("not a boolean"));
}

#[test]
fn certificates_are_made_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("tls");
    let made = |more: &[&str]| {
        let mut command = sidelock();
        let command = command.args(["certs", "--out"]).arg(&out).args(more);
        command.output().expect("it runs").status.code()
    };
    let authority = || std::fs::read(out.join("ca.pem")).expect("it is there");
    assert_eq!(made(&["--if-absent"]), Some(0));
    let first = authority();
    assert_eq!(made(&["--if-absent"]), Some(0));
    assert_eq!(made(&[]), Some(1), "nothing is written over");
    assert_eq!(
        made(&["--if-absent", "--sidecar", "sidecar,another"]),
        Some(1),
        "some are there: they are of another authority than a new one"
    );
    assert_eq!(authority(), first);
}

#[test]
fn certificates_with_one_name_are_refused_before_any_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("tls");
    for clash in ["core", "ca", "core-key", "a/till,b/till", "a,a", "a/"] {
        let mut command = sidelock();
        let command = command
            .args(["certs", "--sidecar", clash, "--out"])
            .arg(&out);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{clash}: {}", text(&output));
        assert!(!out.exists(), "{clash}");
    }
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
        &["cluster", "add", "0"],
        &["locks", "list", "--limit", "0"],
        &["claims", "list", "--limit", "0"],
        &["cluster", "transfer", "0"],
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
fn a_redirect_to_nobody_names_nobody_and_who_sent_there() {
    let url = played(
        "307 X\r\nlocation: http://127.0.0.3:1/v1/cluster/transfer",
        "",
    );
    let output = sidelock()
        .args(["cluster", "transfer", "--core-url", &url])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    let said = format!("the core at http://127.0.0.3:1, to which {url} redirected: ");
    assert!(text(&output).contains(&said), "{}", text(&output));
}

#[test]
fn a_list_that_is_not_current_says_so() {
    let head = "200 OK\r\nsidelock-consistency: cached\r\nage: 3";
    let url = played(head, "{\"items\":[]}");
    let output = sidelock().args(["locks", "list", "--url", &url]).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = "this answer is cached, at most 3.0 s old";
    assert!(text(&output).contains(said), "{}", text(&output));
}

#[test]
fn who_cannot_be_asked_is_told_as_it_was_given() {
    for (arguments, code, word) in [
        (
            &["cluster", "status", "--core-url", "https://a:1"][..],
            64,
            "--tls-ca",
        ),
        (&["healthcheck", "https://127.0.0.1:1"], 64, "--tls-ca"),
        (
            &["claims", "list", "--url", "https://a:1"],
            64,
            "plain HTTP",
        ),
        (
            &["claims", "list", "--url", "unix:/nowhere/socket"],
            69,
            "unix:/nowhere/socket",
        ),
    ] {
        let output = sidelock().args(arguments).output().expect("it runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
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

#[test]
fn a_reader_that_has_gone_is_no_error() {
    for arguments in [&["completion", "bash"][..], &["version"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = sidelock().args(arguments).stdout(writer).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert_eq!(text(&output), "");
    }
}
