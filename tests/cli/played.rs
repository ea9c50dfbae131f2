//! A played sidecar: answers claims as told, and writes down what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What the sidecar does when asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// Grants and renews.
    Good,
    /// Refuses every claim with this status and code.
    Refuse(u16, &'static str),
    /// Grants; once [`Sidecar::revoke`] was called, says that the claim was revoked.
    Revoke,
    /// Grants; from then on takes requests and answers nothing.
    Silent,
}

/// A running one.
pub struct Sidecar {
    pub url: String,
    asked: Arc<Asked>,
}

#[derive(Default)]
struct Asked {
    lines: Mutex<Vec<(String, Value)>>,
    more: Condvar,
    revoked: Mutex<bool>,
    changed: Condvar,
}

/// The token of every grant.
pub const TOKEN: u64 = 42;

impl Sidecar {
    /// Serves on an ephemeral port until the test's process ends. `lease_ms` is both figures of a grant.
    pub fn start(play: Play, lease_ms: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Asked::default());
        let shared = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                let stream = stream.expect("a connection");
                std::thread::spawn(move || serve(stream, play, lease_ms, &shared));
            }
        });
        Self {
            url: format!("http://{address}"),
            asked,
        }
    }

    /// `sidelock run` against it; the caller adds the rest.
    pub fn run(&self) -> Command {
        let mut command = sidelock();
        command.args(["run", "--url", &self.url]);
        command
    }

    /// From now on the claim is revoked; whoever waits for a change hears of it.
    pub fn revoke(&self) {
        *self.asked.revoked.lock().expect("no panic under it") = true;
        self.asked.changed.notify_all();
    }

    /// Method and path of every request so far, and its body.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lines.lock().expect("no panic under it").clone()
    }

    /// Waits until a request like this has come.
    pub fn wait_for(&self, start: &str) {
        let lines = self.asked.lines.lock().expect("no panic under it");
        let missing = |lines: &mut Vec<(String, Value)>| {
            !lines.iter().any(|(line, _)| line.starts_with(start))
        };
        let bound = Duration::from_secs(20);
        let (_lines, waited) = self
            .asked
            .more
            .wait_timeout_while(lines, bound, missing)
            .expect("no panic under it");
        assert!(!waited.timed_out(), "no {start} within {bound:?}");
    }
}

/// The binary, with none of our environment's settings.
pub fn sidelock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SIDELOCK_")) {
        command.env_remove(key);
    }
    command
}

fn serve(stream: TcpStream, play: Play, lease_ms: u64, asked: &Asked) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut first = String::new();
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    while reader.read_line(&mut line).unwrap_or(0) > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the whole body");
    let mut words = first.split(' ');
    let method = words.next().expect("a method").to_owned();
    let path = words.next().expect("a path").to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    asked
        .lines
        .lock()
        .expect("no panic under it")
        .push((format!("{method} {path}"), body));
    asked.more.notify_all();

    // A long-poll waits for the change; all else sees things as they are.
    let mut revoked = asked.revoked.lock().expect("no panic under it");
    while play == Play::Revoke && method == "GET" && !*revoked {
        revoked = asked.changed.wait(revoked).expect("no panic under it");
    }
    let now = if play == Play::Revoke && !*revoked {
        Play::Good
    } else {
        play
    };
    drop(revoked);
    let (status, answer) = answer(now, lease_ms, &method, &path);
    if status == 0 {
        // Says nothing until the other side gives up.
        reader.read_to_end(&mut Vec::new()).ok();
        return;
    }
    let text = if answer.is_null() {
        String::new()
    } else {
        answer.to_string()
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}",
        text.len()
    );
    write!(&stream, "{head}\r\n\r\n{text}").ok();
}

/// Status and body; status 0 is silence.
fn answer(play: Play, lease_ms: u64, method: &str, path: &str) -> (u16, Value) {
    let claim = |state: &str| {
        json!({"claim_id": "c", "state": state, "token": TOKEN, "locks": [], "revision": 1,
               "waited_ms": 0, "expires_in_ms": lease_ms, "safe_for_ms": lease_ms})
    };
    let problem = |status: u16, code: &str| {
        (
            status,
            json!({"code": code, "detail": "as played", "status": status}),
        )
    };
    match (method, play) {
        ("PUT", Play::Refuse(status, code)) => problem(status, code),
        ("PUT", Play::Good | Play::Revoke | Play::Silent) => (201, claim("granted")),
        ("DELETE", Play::Good | Play::Refuse(..)) => (204, Value::Null),
        ("DELETE", Play::Revoke) => problem(410, "claim-lost"),
        // The first long-poll shows the state, the next ones wait for a change that never comes.
        ("GET", Play::Good) if path.contains("wait_revision=0") => (200, claim("granted")),
        ("GET", Play::Revoke) => (200, claim("revoked")),
        ("GET", _) | (_, Play::Silent) => (0, Value::Null),
        (_, Play::Revoke | Play::Refuse(..)) => problem(410, "claim-lost"),
        (_, Play::Good) => (200, claim("granted")),
    }
}
