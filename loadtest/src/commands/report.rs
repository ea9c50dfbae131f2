//! `lockbench report`: table and plots again, from raw data.
//! In: a folder of results. Out: report.md, plots. Never: a run.

use std::path::PathBuf;

/// Makes the report of a folder again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder that `lockbench bench` has written
    folder: PathBuf,
    /// Write the quick table between the markers of this file too
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    crate::report::write(&args.folder, args.readme.as_deref())
}
