//! Ten thousand sidecars over mutual TLS, and the leader is killed: none may come near the end of its lease.
//! In: a cell with certificates, simulated sessions. Out: how many deadlines passed. Never: a session opened anew.

use std::process::Command;

use anyhow::{Context, ensure};
use sidelock::tls::connect::Connector;

use super::bench::number;
use super::fleet::Fleet;
use super::{Bench, Case};
use crate::clients::session::{PING_EVERY, TTL, Way, serving};
use crate::commands::sessions::credentials;
use crate::peers::process::wait_for;
use crate::peers::scratch;
use crate::peers::sidelock::Cell;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let sidecars: usize = bench.by_form(50, 500, 10_000);
    let folder = scratch("certificates")?;
    let binary = &bench.field.binaries().sidelock;
    let made = Command::new(binary)
        .args(["certs", "--out"])
        .arg(folder.path())
        .output()?;
    ensure!(made.status.success(), "{made:?}");
    let paths = |name: &str| {
        [
            format!("{name}.pem"),
            format!("{name}-key.pem"),
            "ca.pem".to_owned(),
        ]
        .map(|file| folder.path().join(file))
    };
    let of_core = paths("core").map(|path| path.display().to_string());
    let flags: Vec<String> = ["--tls-cert", "--tls-key", "--tls-ca"]
        .into_iter()
        .zip(of_core)
        .flat_map(|(flag, path)| [flag.to_owned(), path])
        .collect();
    let mut cell = Cell::launch(binary, &flags)?;
    let cores = cell.cores();
    let of_sidecars = paths("sidecar");
    let way = Way {
        ping: PING_EVERY,
        connector: Connector::new(Some(credentials(&of_sidecars)?)),
    };
    wait_for("a leader", async || serving(&cores, &way).await.is_some()).await?;
    let tls: Vec<String> = std::iter::once("--tls".to_owned())
        .chain(of_sidecars.map(|path| path.display().to_string()))
        .collect();
    let fleet = Fleet::start(&cores, sidecars, &tls).await?;
    tokio::time::sleep(TTL / 2).await;
    let before = fleet.seen()?;
    let leader = serving(&cores, &way).await.context("a leader")?;
    cell.nodes[leader].process.kill();
    // Longer than a lease: whoever was not renewed has run out by then.
    tokio::time::sleep(TTL + TTL / 2).await;
    let after = fleet.seen()?;
    let case = Case::new("jeopardy", format!("{sidecars} sidecars"), number(sidecars));
    let run = case.by("sidelock", 0).figures([
        ("jeopardies_before", f64_of(before.jeopardies)),
        ("jeopardies", f64_of(after.jeopardies - before.jeopardies)),
        (
            "renewals_per_s",
            f64_of(after.acknowledged - before.acknowledged) / (TTL + TTL / 2).as_secs_f64(),
        ),
        ("lost_streams", f64_of(after.lost - before.lost)),
    ]);
    bench.record(run)?;
    let renewed = after.acknowledged > before.acknowledged;
    ensure!(renewed, "nobody was renewed after the leader's death");
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn f64_of(count: u64) -> f64 {
    count as f64
}
