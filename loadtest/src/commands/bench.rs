//! `lockbench bench`: starts the peers, runs scenarios, writes raw data and the report.
//! In: a form, a folder. Out: raw.jsonl, report.md, plots. Never: a process or a temporary file left behind.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sidelock::world::clock::{BootClock, Clock};

use crate::peers::{Binaries, CONTESTANTS, Field, named};
use crate::report;
use crate::report::raw::{Facts, Line, Writer};
use crate::scenarios::{Bench, Form, SCENARIOS, Scenario};

/// What needs no installation.
const SMOKE: [&str; 4] = ["sidelock-kept", "sidelock", "echo", "fdatasync"];

/// Of the long run, unless told.
const LONG_SECONDS: u64 = 1200;

/// Runs scenarios.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How much is measured
    #[arg(long, default_value = "quick")]
    form: Form,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these peers
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// How often each run is made; 1, 3 or 5 by form
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of the long run
    #[arg(long, default_value_t = LONG_SECONDS)]
    seconds: u64,
    /// The binary to measure
    #[arg(long, default_value = "bin/sidelock")]
    sidelock: PathBuf,
    /// Where `peers/install` has put what it built
    #[arg(long, value_name = "DIR")]
    built: Option<PathBuf>,
    /// The day, for the report
    #[arg(long, default_value = "")]
    date: String,
    /// Where to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write the quick table between the markers of this file too
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let scenarios = chosen(&args)?;
    let sidelock = std::path::absolute(&args.sidelock)?;
    if !sidelock.is_file() {
        bail!("{} is not there: `make build` makes it", sidelock.display());
    }
    let binaries = Binaries {
        sidelock,
        built: args.built.clone().map_or_else(built, Ok)?,
    };
    let mut writer = Writer::create(&args.out)?;
    writer.write(&Line::Facts(Facts {
        date: args.date.clone(),
        form: format!("{:?}", args.form).to_lowercase(),
        machine: report::machine::facts(),
    }))?;
    let rounds = args.rounds.unwrap_or(match args.form {
        Form::Smoke => 1,
        Form::Quick => 3,
        Form::Full => 5,
    });
    let peers = match (args.form, args.peers.is_empty()) {
        (Form::Smoke, true) => SMOKE.map(str::to_owned).to_vec(),
        _ => args.peers,
    };
    let mut bench = Bench::new(args.form, rounds, Field::new(binaries), writer, peers);
    bench.long_run_seconds = args.seconds;
    let mut failed = Vec::new();
    // A longer long run may take its time.
    let long = Duration::from_secs(args.seconds.saturating_sub(LONG_SECONDS));
    let until = BootClock.now() + args.form.bound() + long;
    for scenario in scenarios {
        bench.tell(&format!("{}: {}", scenario.name, scenario.about));
        let left = until.since(BootClock.now());
        let done = tokio::time::timeout(left, (scenario.run)(&mut bench)).await;
        bench.field.clear();
        if let Err(error) = done.unwrap_or_else(|_| Err(anyhow!("the time of this form is over"))) {
            bench.tell(&format!("{} failed: {error:#}", scenario.name));
            failed.push(scenario.name);
        }
    }
    bench.finish()?;
    report::write(&args.out, args.readme.as_deref())?;
    println!("{}", args.out.join("report.md").display());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if bench.runs() == 0 {
        bail!("nothing was measured");
    }
    Ok(())
}

/// The scenarios that were asked for by name, else those of the form.
fn chosen(args: &Args) -> anyhow::Result<Vec<&'static Scenario>> {
    let known: Vec<_> = SCENARIOS.iter().map(|one| one.name).collect();
    if let Some(name) = args
        .only
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        bail!("there is no scenario {name:?}, only {}", known.join(", "));
    }
    let peers: Vec<_> = CONTESTANTS.iter().map(|one| one.name).collect();
    let unknown = |name: &&String| named(name).is_none() && *name != "fdatasync";
    if let Some(name) = args.peers.iter().find(unknown) {
        bail!("there is no peer {name:?}, only {}", peers.join(", "));
    }
    let by_name = |one: &&Scenario| args.only.iter().any(|name| name == one.name);
    let by_form = |one: &&Scenario| one.from <= args.form;
    Ok(match args.only.is_empty() {
        true => SCENARIOS.iter().filter(by_form).collect(),
        false => SCENARIOS.iter().filter(by_name).collect(),
    })
}

/// Where `peers/install` puts things, unless told.
fn built() -> anyhow::Result<PathBuf> {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = var("SIDELOCK_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("sidelock")))
        .or_else(|| Some(var("HOME")?.join(".cache/sidelock")))
        .context("neither SIDELOCK_CACHE nor HOME is set")?;
    Ok(cache.join("peers"))
}
