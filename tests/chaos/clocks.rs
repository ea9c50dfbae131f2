//! Wall clocks that jump by days, on every host at once and in both directions: nothing may change.
//! In: libfaketime before every process. Out: leases that last as long as ever. Never: a run in which the
//! clock did not jump.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sidelock::world::clock::{BootClock, Clock};

use crate::cell::Cell;
use crate::pod::Pod;

const LEASE: Duration = Duration::from_secs(3);

/// Where Debian's `libfaketime` puts it.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib")
        .expect("it is there")
        .flatten();
    let found = folders
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    found.expect("Debian's package libfaketime is installed")
}

/// The words before a program whose wall clock shows what this file says.
fn words(file: &Path) -> Vec<String> {
    vec![
        "env".into(),
        format!("LD_PRELOAD={}", library().display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
    ]
}

/// What year such a program thinks it is.
fn year(words: &[String]) -> i32 {
    let shown = Command::new(&words[0])
        .args(&words[1..])
        .args(["date", "+%Y"])
        .output();
    let shown = String::from_utf8(shown.expect("date runs").stdout).expect("digits");
    shown.trim().parse().expect("a year")
}

#[tokio::test]
#[ignore = "slow: needs libfaketime"]
async fn wall_clocks_that_jump_change_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join("clock");
    let set = |to: &str| std::fs::write(&file, to).expect("the file can be written");
    set("+0");
    let words = words(&file);
    let year_now = year(&words);
    let plain: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut cell = Cell::new(3).started_by(&plain);
    cell.start_founders(3);
    cell.leader().await;
    let mut program = Command::new(plain[0]);
    program
        .args(&plain[1..])
        .arg(env!("CARGO_BIN_EXE_sidelock"));
    let pod = Pod::start_with(program, &cell.cores(), &["--session-ttl", "4s"]).await;
    let held = pod.take("held", "lock-held").await;

    for (jump, years) in [("+4000d", 10), ("-4000d", -10), ("+0", 0)] {
        let body = json!({ "lock": "lock-short", "ttl_ms": LEASE.as_millis() as u64 });
        let before = BootClock.now();
        let short = pod.put(&format!("short{years}"), body).await;
        assert_eq!(short.status, 201, "{short:?}");
        set(jump);
        assert!(
            (year(&words) - year_now - years).abs() <= 1,
            "it did not jump"
        );
        let path = format!("/v1/claims/short{years}/events");
        let ended = pod.events(&path).await.until("expired").await;
        let lasted = BootClock.now().since(before);
        assert_eq!(ended["reason"], "ttl-expired", "{ended}");
        assert!(lasted >= LEASE, "a lease of {LEASE:?} lasted {lasted:?}");
        assert!(
            lasted < LEASE + Duration::from_secs(5),
            "a lease of {LEASE:?} lasted {lasted:?}"
        );
        let claim = pod.get("/v1/claims/held").await.body;
        assert_eq!(
            (&claim["state"], &claim["token"]),
            (&json!("granted"), &held["token"])
        );
    }
    let renewed = pod.ask(Method::POST, "/v1/claims/held/renew", None).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
}
