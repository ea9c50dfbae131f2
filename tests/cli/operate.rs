//! `dev` and the operator commands, against the real thing.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::played::sidelock;

/// A running `sidelock dev`.
struct Dev {
    process: Child,
    url: String,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        let mut process = sidelock()
            .args(["dev", "--http", "localhost:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let line = lines.next().expect("it greets").expect("text");
        let url = line
            .split(' ')
            .find(|word| word.starts_with("http://127.0.0.1:"));
        let url = url.expect("the greeting names its address").to_owned();
        // Somebody has to read the rest, or it would block.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let asked = sidelock()
            .args(arguments)
            .env("SIDELOCK_URL", &self.url)
            .output();
        asked.expect("it runs")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ask(arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    /// A held lock: `run` around a command that waits for the end of its input.
    fn hold(&self, name: &str) -> Child {
        let mut run = sidelock()
            .args([
                "run",
                name,
                "--",
                "sh",
                "-c",
                "echo $SIDELOCK_CLAIM; read line; exit 0",
            ])
            .env("SIDELOCK_URL", &self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = run.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert!(line.starts_with("run-"), "{line}");
        run
    }

    fn stop(mut self, signal: Signal) -> Option<i32> {
        let id = Pid::from_raw(self.process.id().cast_signed()).expect("not zero");
        kill_process(id, signal).expect("it lives");
        self.process.wait().expect("it ends").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Already gone after `stop`.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn operators_list_get_verify_and_break() {
    let dev = Dev::start(&[]);
    let mut run = dev.hold("orders/42");
    // `wait` would close it, and the command would end by itself.
    let _stdin = run.stdin.take();

    let list = dev.json(&["locks", "list", "--json", "--prefix", "orders/"]);
    let lock = &list["items"][0];
    assert_eq!(
        (&lock["name"], &lock["state"]),
        (&json!("orders/42"), &json!("held"))
    );
    let token = lock["holders"][0]["token"].to_string();
    for (arguments, word) in [
        (&["locks", "list"][..], "orders/42"),
        (&["locks", "get", "orders/42"], "holds"),
        (&["locks", "why", "orders/42"], "orders/42: held by run-"),
        (&["locks", "why", "nobody"], "nobody: free"),
        (&["claims", "list"], "granted"),
        (&["locks", "verify", "orders/42", &token], "current, held"),
    ] {
        let output = dev.ask(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(
            text(&output.stdout).contains(word),
            "{arguments:?}: {output:?}"
        );
    }

    let all = dev.ask(&["locks", "list"]);
    assert_eq!(text(&all.stderr), "", "current, and all of them");

    for json in [&["-o", "json"][..], &["--json"]] {
        let why = dev.json(&[&["locks", "why", "orders/42"], json].concat());
        assert_eq!(why["holders"][0]["token"].to_string(), token);
        assert_eq!(why["history"][0]["event"], "granted", "{why}");
    }

    let broken = dev.ask(&["locks", "break", "orders/42", "--reason", "a test"]);
    assert_eq!(broken.status.code(), Some(0), "{broken:?}");
    // `run` hears of it, ends its command and says so.
    assert_eq!(run.wait().expect("it ends").code(), Some(75));
    let list = dev.json(&["locks", "list", "--json"]);
    assert_eq!(list["items"], json!([]));
}

#[test]
fn an_outdated_token_exits_with_1_and_a_bad_name_with_64() {
    let dev = Dev::start(&[]);
    let first = dev.ask(&["run", "a", "--", "sh", "-c", "echo $SIDELOCK_FENCING_TOKEN"]);
    let token = text(&first.stdout).trim().to_owned();
    assert_eq!(dev.ask(&["run", "a", "true"]).status.code(), Some(0));
    let verified = dev.ask(&["locks", "verify", "a", &token]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(
        text(&verified.stdout).contains("outdated, not held"),
        "{verified:?}"
    );
    let bad = dev.ask(&["locks", "get", &"x".repeat(513)]);
    assert_eq!(bad.status.code(), Some(64), "{bad:?}");
    let held = dev.hold("a");
    let conflict = dev.ask(&["run", "-n", "-E", "9", "a", "true"]);
    assert_eq!(conflict.status.code(), Some(9));
    drop(held);
}

#[test]
fn a_silent_sidecar_is_survived_by_nobody_who_holds() {
    let mut dev = Dev::start(&[]);
    let mut run = sidelock()
        .args([
            "run",
            "--ttl",
            "2s",
            "a",
            "--",
            "sh",
            "-c",
            "echo ready; read line",
        ])
        .env("SIDELOCK_URL", &dev.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let stdout = run.stdout.as_mut().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    // `wait` would close it, and the command would end by itself.
    let _stdin = run.stdin.take();
    let id = Pid::from_raw(dev.process.id().cast_signed()).expect("not zero");
    kill_process(id, Signal::STOP).expect("it lives");
    let ended = run.wait().expect("it ends").code();
    kill_process(id, Signal::CONT).expect("it lives");
    assert_eq!(ended, Some(75));
    assert!(dev.process.try_wait().expect("it can be asked").is_none());
}

#[test]
fn data_is_kept_where_asked_and_tokens_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let socket: PathBuf = directory.path().join("sidelock.sock");
    let start = || {
        let (data, socket) = (path(&data), path(&socket));
        Dev::start(&["--data-dir", data, "--socket", socket])
    };
    let token = |dev: &Dev| -> u64 {
        let url = format!("unix:{}", socket.display());
        let output = sidelock()
            .args([
                "run",
                "--url",
                &url,
                "a",
                "--",
                "sh",
                "-c",
                "echo $SIDELOCK_FENCING_TOKEN",
            ])
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", dev.url);
        text(&output.stdout).trim().parse().expect("a token")
    };
    let dev = start();
    let first = token(&dev);
    assert_eq!(dev.stop(Signal::TERM), Some(0), "a graceful stop");
    // The socket file of a kill -9 is taken over.
    let dev = start();
    let second = token(&dev);
    assert_eq!(dev.stop(Signal::KILL), None);
    let third = token(&start());
    assert!(first < second && second < third, "{first} {second} {third}");
}

#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    for command in [
        &["dev", "--http", &address][..],
        &["sidecar", "--core", "127.0.0.1:1", "--http", &address],
    ] {
        let output = sidelock().args(command).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(&address), "{output:?}");
    }
}

#[test]
fn the_admin_address_serves_probes_only_and_for_any_host() {
    let admin = free_address();
    let mut command: Command = sidelock();
    command.args([
        "sidecar",
        "--core",
        "127.0.0.1:1",
        "--http",
        "127.0.0.1:0",
        "--admin",
        &admin,
    ]);
    let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
    let up = lines.any(|line| line.is_ok_and(|line| line.contains("probes")));
    assert!(up, "it ended");
    // Though no core can be reached: lost quorum must not take a fleet out of service.
    for (target, status) in [
        ("/livez", "200"),
        ("/readyz", "200"),
        ("/metrics", "200"),
        ("/v1/mode", "404"),
        ("/v1/claims", "404"),
    ] {
        assert_eq!(get_status(&admin, target), status, "{target}");
    }
    process.kill().expect("it lives");
    process.wait().expect("it ends");
}

#[test]
fn the_socket_has_the_rights_that_were_asked_for_from_the_start() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("sidelock.sock");
    let own = std::fs::metadata(directory.path()).expect("it is there");
    let owner = format!("{}:{}", own.uid(), own.gid());
    let mut command: Command = sidelock();
    command
        .args(["sidecar", "--core", "127.0.0.1:1", "--http", "127.0.0.1:0"])
        .args(["--socket", path(&socket), "--socket-mode", "0620"])
        .args(["--socket-owner", &owner]);
    let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
    let up = lines.any(|line| line.is_ok_and(|line| line.contains("listening")));
    assert!(up, "it ended");
    let found = std::fs::metadata(&socket).expect("a socket");
    assert_eq!(found.permissions().mode() & 0o777, 0o620);
    let here = std::fs::read_dir(directory.path())
        .expect("it is there")
        .count();
    assert_eq!(here, 1, "nothing else is left there");
    process.kill().expect("it lives");
    process.wait().expect("it ends");
    // Half of it makes no sense.
    let output = sidelock()
        .args(["sidecar", "--core", "127.0.0.1:1", "--socket-mode", "0660"])
        .output();
    assert_eq!(output.expect("it runs").status.code(), Some(64));
}

#[test]
fn a_sidecar_may_serve_its_socket_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("sidelock.sock");
    let sidecar = ["sidecar", "--core", "127.0.0.1:1", "--http", "none"];
    let mut command: Command = sidelock();
    command.args(sidecar).args(["--socket", path(&socket)]);
    let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
    let up = lines.any(|line| line.is_ok_and(|line| line.contains("listening on unix:")));
    assert!(up, "it ended");
    let healthy = sidelock()
        .args(["healthcheck", &format!("unix:{}", path(&socket))])
        .status();
    assert!(healthy.expect("it runs").success());
    assert_eq!(listening(process.id()), 0, "TCP ports");
    process.kill().expect("it lives");
    process.wait().expect("it ends");
    let nobody = sidelock().args(sidecar).status();
    assert_eq!(
        nobody.expect("it runs").code(),
        Some(64),
        "nobody could ask"
    );
}

/// How many TCP ports a process listens on.
fn listening(process: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it lives");
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let sockets: Vec<String> = links
        .filter_map(|link| {
            let name = link.to_str()?.strip_prefix("socket:[")?;
            Some(name.trim_end_matches(']').to_owned())
        })
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| {
        std::fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default()
    });
    let lines = tables.iter().flat_map(|table| table.lines());
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listens = |fields: &Vec<&str>| {
        fields.get(3) == Some(&"0A") && sockets.iter().any(|it| fields.get(9) == Some(&it.as_str()))
    };
    fields.filter(listens).count()
}

/// The status of a GET under a foreign name.
fn get_status(address: &str, target: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request = format!("GET {target} HTTP/1.1\r\nHost: pod-1:9\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn free_address() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("it is bound").to_string()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
