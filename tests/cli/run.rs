//! `sidelock run`: exit codes, environment, signals, and the end of the command when the lock is lost.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sidelock::world::clock::{BootClock, Clock};

use crate::played::{Play, Sidecar, TOKEN, sidelock};

const LEASE_MS: u64 = 10_000;

fn output(command: &mut Command) -> Output {
    command.output().expect("it runs")
}

/// The pid that a script printed as its first line.
fn first_line(child: &mut Child) -> String {
    let stdout = child.stdout.as_mut().expect("it is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().expect("a number")).expect("not zero")
}

#[test]
fn the_command_sees_name_token_and_claim_and_its_code_is_ours() {
    let sidecar = Sidecar::start(Play::Good, LEASE_MS);
    let script = "echo $SIDELOCK_NAME $SIDELOCK_FENCING_TOKEN $SIDELOCK_CLAIM; exit 7";
    let output = output(sidecar.run().args(["a job/1", "--", "sh", "-c", script]));
    assert_eq!(output.status.code(), Some(7));
    let asked = sidecar.asked();
    let (put, body) = &asked[0];
    let id = put
        .strip_prefix("PUT /v1/claims/")
        .expect("the claim comes first");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(printed.trim(), format!("a job/1 {TOKEN} {id}"));
    assert_eq!(body["lock"], "a job/1");
    assert_eq!(body["ttl_ms"], 10_000);
    assert_eq!(
        asked.last().expect("asked").0,
        format!("DELETE /v1/claims/{id}")
    );
}

#[test]
fn letters_of_flock_say_what_is_claimed() {
    let body = |arguments: &[&str]| {
        let sidecar = Sidecar::start(Play::Good, LEASE_MS);
        let output = output(sidecar.run().args(arguments).args(["x", "true"]));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        sidecar.asked()[0].1.clone()
    };
    assert_eq!(body(&["-n"])["wait_ms"], 0);
    assert_eq!(body(&["-w", "2.5"])["wait_ms"], 2_500);
    assert_eq!(body(&[])["wait_ms"], 3_600_000);
    assert_eq!(body(&["-s"])["mode"], "shared");
    assert_eq!(body(&["--ttl", "30s"])["ttl_ms"], 30_000);
    assert_eq!(body(&["--min-hold", "1m"])["min_hold_ms"], 60_000);
    assert_eq!(body(&[])["min_hold_ms"], serde_json::Value::Null);
    let semaphore = body(&["-p", "2/10"]);
    assert_eq!(
        (&semaphore["permits"], &semaphore["limit"]),
        (&2.into(), &10.into())
    );
}

#[test]
fn conflict_and_timeout_exit_with_1_or_the_code_of_e() {
    for code in ["lock-held", "wait-timeout", "deadlock", "semaphore-limit"] {
        let sidecar = Sidecar::start(Play::Refuse(409, code), LEASE_MS);
        let plain = output(sidecar.run().args(["-n", "x", "echo", "ran"]));
        assert_eq!(
            (plain.status.code(), plain.stdout.len()),
            (Some(1), 0),
            "{code}"
        );
        let chosen = output(sidecar.run().args(["-n", "-E", "99", "x", "echo", "ran"]));
        assert_eq!(chosen.status.code(), Some(99), "{code}");
    }
}

#[test]
fn no_quorum_or_no_sidecar_exits_with_69() {
    for code in ["no-quorum", "core-unreachable", "draining"] {
        let sidecar = Sidecar::start(Play::Refuse(503, code), LEASE_MS);
        let output = output(sidecar.run().args(["x", "echo", "ran"]));
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(69), 0),
            "{code}"
        );
    }
    let nobody = output(sidelock().args(["run", "--url", "http://127.0.0.1:1", "x", "true"]));
    assert_eq!(nobody.status.code(), Some(69));
}

#[test]
fn what_cannot_be_executed_exits_with_126_or_127_and_releases() {
    for (program, code) in [
        ("/dev/null", 126),
        ("/does/not/exist", 127),
        ("no-such-program", 127),
    ] {
        let sidecar = Sidecar::start(Play::Good, LEASE_MS);
        let output = output(sidecar.run().args(["x", program]));
        assert_eq!(output.status.code(), Some(code), "{program}");
        assert!(
            sidecar
                .asked()
                .last()
                .expect("asked")
                .0
                .starts_with("DELETE"),
            "{program}"
        );
    }
}

#[test]
fn signals_reach_the_command_whose_code_counts() {
    let sidecar = Sidecar::start(Play::Good, LEASE_MS);
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let script = format!("trap 'exit 5' {name}; echo ready; while :; do sleep 0.05; done");
        let mut run = sidecar
            .run()
            .args(["x", "--", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        assert_eq!(first_line(&mut run), "ready");
        kill_process(pid(&run.id().to_string()), signal).expect("it lives");
        assert_eq!(run.wait().expect("it ends").code(), Some(5), "{name}");
    }
}

#[test]
fn a_command_that_dies_of_a_signal_exits_with_128_and_its_number() {
    let sidecar = Sidecar::start(Play::Good, LEASE_MS);
    let output = output(sidecar.run().args(["x", "--", "sh", "-c", "kill -KILL $$"]));
    assert_eq!(output.status.code(), Some(128 + 9));
}

#[test]
fn the_lease_is_renewed_while_the_command_lives() {
    let sidecar = Sidecar::start(Play::Good, 900);
    let mut run = sidecar
        .run()
        .args([
            "--ttl",
            "900ms",
            "x",
            "--",
            "sh",
            "-c",
            "echo ready; read line",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    assert_eq!(first_line(&mut run), "ready");
    let id = sidecar.asked()[0]
        .0
        .strip_prefix("PUT ")
        .expect("the claim")
        .to_owned();
    let renewals = || {
        let renewal = format!("POST {id}/renew");
        sidecar
            .asked()
            .iter()
            .filter(|(line, _)| *line == renewal)
            .count()
    };
    sidecar.wait_for(&format!("POST {id}/renew"));
    let bound = BootClock.now() + Duration::from_secs(20);
    while renewals() < 4 && BootClock.now() < bound {
        std::thread::yield_now();
    }
    // Four renewals at a third of 900 ms each: longer than the lease, so the hold lived on by them.
    assert!(renewals() >= 4);
    drop(run.stdin.take());
    assert_eq!(
        run.wait().expect("it ends").code(),
        Some(1),
        "the code of a read at the end of input"
    );
}

/// Ignores SIGTERM, and so does its own child, in the same group.
const STUBBORN: &str = "trap '' TERM; sleep 600 & echo $$ $!; wait; wait";

#[test]
fn a_lost_lock_ends_the_whole_group_and_exits_with_75() {
    let sidecar = Sidecar::start(Play::Revoke, LEASE_MS);
    let mut run = sidecar
        .run()
        .args(["x", "--", "sh", "-c", STUBBORN])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let pids = first_line(&mut run);
    sidecar.revoke();
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(75));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("revoked") || said.contains("claim-lost"),
        "{said}"
    );
    for id in pids.split(' ') {
        assert_gone(pid(id));
    }
}

#[test]
fn a_silent_sidecar_ends_the_group_before_the_safe_deadline() {
    let lease = Duration::from_millis(2_000);
    let sidecar = Sidecar::start(Play::Silent, 2_000);
    let before = BootClock.now();
    let mut run = sidecar
        .run()
        .args(["--ttl", "2s", "x", "--", "sh", "-c", STUBBORN])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    sidecar.wait_for("PUT");
    let deadline = BootClock.now() + lease;
    let pids: Vec<Pid> = first_line(&mut run).split(' ').map(pid).collect();
    // Both are gone before the deadline of the grant, though they ignore SIGTERM...
    while pids.iter().any(|pid| !is_gone(*pid)) {
        assert!(BootClock.now() < deadline, "still there at the deadline");
        std::thread::sleep(Duration::from_millis(5));
    }
    // ... and not much too early: the work had most of the lease.
    assert!(BootClock.now().since(before) > lease / 2, "ended too early");
    assert_eq!(run.wait().expect("it ends").code(), Some(75));
}

#[test]
fn a_polite_command_may_clean_up_when_the_lock_is_lost() {
    let sidecar = Sidecar::start(Play::Revoke, LEASE_MS);
    let script = "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = sidecar
        .run()
        .args(["x", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(run.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().map(|line| line.expect("text"));
    assert_eq!(next().as_deref(), Some("ready"));
    sidecar.revoke();
    assert_eq!(next().as_deref(), Some("cleaned"));
    assert_eq!(run.wait().expect("it ends").code(), Some(75));
}

/// Whether it is gone, or dead and only waiting for init to notice.
fn is_gone(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    test_kill_process(pid).is_err() || stat.contains(") Z ")
}

fn assert_gone(pid: Pid) {
    let bound = BootClock.now() + Duration::from_secs(5);
    while !is_gone(pid) {
        assert!(BootClock.now() < bound, "{pid} lives on");
        std::thread::yield_now();
    }
}
