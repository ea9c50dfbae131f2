//! `lockbench`: Sidelock beside its peers, on one machine in one run.
//! In: a command. Out: raw data, a report, plots. Never: load on anything but this machine.

mod clients;
mod commands;
mod measure;
mod peers;
mod report;
mod scenarios;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measures lock services side by side.
#[derive(Debug, Parser)]
#[command(name = "lockbench")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the peers, run scenarios, write raw data and the report.
    Bench(commands::bench::Args),
    /// Load something that runs already, and print a line of JSON.
    Load(commands::load::Args),
    /// Draw where the processor time goes (needs Linux's perf).
    Flame(commands::flame::Args),
    /// Make table and plots again from raw data.
    Report(commands::report::Args),
    /// Serve the bare echo.
    #[command(hide = true)]
    Echo(commands::echo::Args),
    /// Be many idle sidecars.
    #[command(hide = true)]
    Sessions(commands::sessions::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Args::parse().command;
    let work = async {
        match command {
            Command::Bench(args) => commands::bench::run(args).await,
            Command::Load(args) => commands::load::run(args).await,
            Command::Flame(args) => commands::flame::run(args).await,
            Command::Report(args) => commands::report::run(&args),
            Command::Echo(args) => commands::echo::run(args).await,
            Command::Sessions(args) => commands::sessions::run(args).await,
        }
    };
    let mut terminated = signal(SignalKind::terminate())?;
    // Dropping the work ends every process that it started.
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminated.recv() => anyhow::bail!("terminated"),
    }
}
