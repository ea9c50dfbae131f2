//! `lockbench flame`: where the processor time of sidecar, leader and follower goes, drawn.
//! In: a binary with line tables; Linux's perf. Out: flame graphs (SVG). Never: a figure for a table, since
//! a process under perf is slower.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;

use crate::measure::load::{self, Locks, Plan};
use crate::peers::scratch;
use crate::peers::sidelock::{Cell, KEPT, Part, UNCACHED};

const WORKERS: usize = 64;
const MEASURED: Duration = Duration::from_secs(8);
/// Beside the load's beginning and end.
const RECORDED_SECONDS: &str = "5";
const SAMPLES_PER_SECOND: &str = "600";
/// Narrower frames, in percent, would only make the file large.
const NARROWEST_PERCENT: f64 = 0.25;

/// Draws where processor time goes, of pairs at 64 workers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The binary
    #[arg(long, default_value = "bin/sidelock")]
    sidelock: PathBuf,
    /// Where the pictures go
    #[arg(long, default_value = "docs/images")]
    out: PathBuf,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.out)?;
    let mut cell = Cell::start(&args.sidelock).await?;
    let leader = cell.leader().await.context("no leader")?;
    let follower = (leader + 1) % cell.nodes.len();
    for (door, more) in [("kept", KEPT), ("core", UNCACHED)] {
        let pod = [cell.pod(more).await?];
        let mut watched = vec![(format!("sidecar-{door}"), pod[0].process.pid())];
        if door == "core" {
            let node = |place: usize| cell.nodes[place].process.pid();
            watched.push(("leader".to_owned(), node(leader)));
            watched.push(("follower".to_owned(), node(follower)));
        }
        let part = Part {
            cell: &cell,
            pods: &pod,
        };
        let plan = Plan {
            locks: Locks::Own(format!("flame/{door}")),
            ..Plan::closed(WORKERS, MEASURED)
        };
        for (name, pid) in watched {
            let folder = scratch("flame")?;
            let samples = folder.path().join("perf.data");
            let recorded = record(pid, &samples);
            let (outcome, recorded) = load::run_watched(&part.target(), &plan, recorded).await?;
            recorded?;
            ensure!(outcome.pairs() > 0, "no pair was done");
            let picture = args.out.join(format!("flame-{name}.svg"));
            draw(&name, &samples, &picture)?;
            println!("{}", picture.display());
        }
    }
    Ok(())
}

/// Samples the stacks of a process. By the unwinding tables: nothing is compiled with frame pointers.
async fn record(pid: u32, samples: &Path) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("perf");
    command
        .args(["record", "--quiet", "--call-graph", "dwarf,16384"])
        .args(["--freq", SAMPLES_PER_SECOND, "--pid", &pid.to_string()])
        .arg("--output")
        .arg(samples)
        .args(["--", "sleep", RECORDED_SECONDS])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let status = command.status().await.context("perf (linux-perf)")?;
    ensure!(status.success(), "perf record: {status}");
    Ok(())
}

fn draw(name: &str, samples: &Path, picture: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("perf");
    command
        .args([
            "script",
            "--no-inline",
            "--fields",
            "comm,tid,time,event,ip,sym,dso",
            "--input",
        ])
        .arg(samples)
        .stderr(Stdio::null());
    let script = command.output().context("perf (linux-perf)")?;
    ensure!(script.status.success(), "perf script: {}", script.status);
    let mut folded = Vec::new();
    Folder::default().collapse(BufReader::new(Cursor::new(script.stdout)), &mut folded)?;
    let mut options = flamegraph::Options::default();
    options.title = format!("{name}, pairs at {WORKERS} workers");
    options.min_width = NARROWEST_PERCENT;
    options.deterministic = true;
    flamegraph::from_reader(&mut options, Cursor::new(folded), File::create(picture)?)?;
    Ok(())
}
